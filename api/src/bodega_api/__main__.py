"""Run the API: `python -m bodega_api`, with the settings of the environment."""

import argparse
import contextlib
import gc
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bodega_db.settings import Settings
from bodega_model.errors import BodegaError
from bodega_model.loading.sandbox import shared_rehearsal

from bodega_api.workers.supervisor import CANNOT_START, check_workers, supervise

if TYPE_CHECKING:
    from bodega_api.app import Application

GRACE_SECONDS = 10
# With pandas and scikit-learn in memory a collection of all objects takes a tenth of a second, in which nobody is
# answered. What the libraries bring is set aside (`app`); what requests make is mostly free without a collection.
COLLECT_AFTER = 50_000  # objects made and not freed; Python's own default is 700 to 2000


def make_app() -> "Application":
    """Make the app with the settings of the environment, for any ASGI server: `uvicorn --factory` calls this."""
    settings = Settings.read()
    with contextlib.suppress(OSError):  # whoever needs it will be told
        shared_rehearsal().start()
    return _make(settings)


def _make(settings: Settings) -> "Application":
    from bodega_api.app import create_app

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # A pipeline that meets an unknown category warns at every request; the answer says so itself.
    warnings.filterwarnings("ignore", module="sklearn")
    gc.set_threshold(COLLECT_AFTER)
    return create_app(settings)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal ends it; settings that cannot be read end it at once, with the reason."""
    asked = _parser().parse_args(arguments)
    gc.disable()  # until `_serve`: what is imported is no garbage, and looking for some takes a quarter of the time
    try:
        # What is wrong in the settings is told before anything takes seconds.
        settings = Settings.read(**{name: value for name, value in vars(asked).items() if value is not None})
        check_workers(settings.workers)
        with contextlib.suppress(OSError):  # as above
            shared_rehearsal().fork()  # while there is no thread and no connection yet
        status = _serve(_make(settings), settings)
    except BodegaError as exc:
        sys.exit(str(exc))
    sys.exit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bodega_api",
        description="Serve the API with the settings of the environment (BODEGA_...; docs/settings.md).",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="in place of BODEGA_WORKERS")
    return parser


def _serve(app: "Application", settings: Settings) -> int:
    import uvicorn

    from bodega_api.fastpath.uvicorn_protocol import PredictionProtocol
    from bodega_api.http.connections import raise_descriptor_limit
    from bodega_api.serving.libraries import import_libraries

    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        http=PredictionProtocol,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
        access_log=False,  # `http.access_log` writes it
        proxy_headers=False,  # `proxies` reads them
    )
    raise_descriptor_limit()
    gc.freeze()
    gc.enable()
    import_libraries()
    if settings.workers > 1:
        return supervise(config, app.services.siblings, settings.workers, GRACE_SECONDS)
    server = uvicorn.Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else CANNOT_START


if __name__ == "__main__":
    main()
