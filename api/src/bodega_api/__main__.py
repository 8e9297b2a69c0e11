"""Run the API: `python -m bodega_api`, with the settings of the environment."""

import contextlib
import gc
import logging
import sys
import warnings
from typing import TYPE_CHECKING

from bodega_db.errors import BodegaError
from bodega_db.rehearsal import shared_rehearsal
from bodega_db.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

GRACE_SECONDS = 10
# With pandas and scikit-learn in memory a collection of all objects takes a tenth of a second, in which nobody is
# answered. What the libraries bring is set aside (`app`); what requests make is mostly free without a collection.
COLLECT_AFTER = 50_000  # objects made and not freed; Python's own default is 700 to 2000


def make_app() -> "FastAPI":
    """Make the app with the settings of the environment, for any ASGI server: `uvicorn --factory` calls this."""
    settings = Settings.read()
    with contextlib.suppress(OSError):  # whoever needs it will be told
        shared_rehearsal().start()
    return _make(settings)


def _make(settings: Settings) -> "FastAPI":
    from bodega_api.app import create_app

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # A pipeline that meets an unknown category warns at every request; the answer says so itself.
    warnings.filterwarnings("ignore", module="sklearn")
    gc.set_threshold(COLLECT_AFTER)
    return create_app(settings)


def main() -> None:
    """Serve until a signal ends it; settings that cannot be read end it at once, with the reason."""
    try:
        settings = Settings.read()  # what is wrong there is told before anything takes seconds
        with contextlib.suppress(OSError):  # as above
            shared_rehearsal().fork()  # while there is no thread and no connection yet
        app = _make(settings)
    except BodegaError as exc:
        sys.exit(str(exc))
    import uvicorn

    from bodega_api.protocol import PredictionProtocol

    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        http=PredictionProtocol,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
        access_log=False,  # `access` writes it
    )


if __name__ == "__main__":
    main()
