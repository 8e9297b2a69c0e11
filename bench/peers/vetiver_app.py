"""vetiver: `MODEL=pipeline uvicorn vetiver_app:app --port PORT`."""

import os

from models import make, rows
from vetiver import VetiverAPI, VetiverModel

name = os.environ["MODEL"]
app = VetiverAPI(VetiverModel(make(name), "bench", prototype_data=rows(name).head(1)), check_prototype=True).app
