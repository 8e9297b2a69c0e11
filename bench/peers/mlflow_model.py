"""Save a model for `mlflow models serve`: `python mlflow_model.py NAME FOLDER`."""

import sys

import mlflow.sklearn
from models import make

mlflow.sklearn.save_model(make(sys.argv[1]), sys.argv[2], serialization_format="cloudpickle")
