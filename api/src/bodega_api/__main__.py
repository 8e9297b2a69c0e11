"""Run the API: `python -m bodega_api`, with the settings of the environment."""

import logging
import sys
import warnings
from http import HTTPStatus

import uvicorn
from bodega_db.errors import BodegaError
from bodega_db.settings import Settings
from fastapi import FastAPI

from bodega_api.app import create_app

GRACE_SECONDS = 10
PROBES = ("/healthz", "/readyz", "/metrics")


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Tell whether a line of the access log tells anything: a probe that went well, every few seconds, does not."""
    try:
        _, _, path, _, status = record.args  # type: ignore[misc]
    except (TypeError, ValueError):  # not a line of uvicorn's access log
        return True
    return path not in PROBES or status != HTTPStatus.OK


def make_app() -> FastAPI:
    """Make the app with the settings of the environment, for any ASGI server: `uvicorn --factory` calls this."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # A pipeline that meets an unknown category warns at every request; the answer says so itself.
    warnings.filterwarnings("ignore", module="sklearn")
    logging.getLogger("uvicorn.access").addFilter(is_worth_a_line)
    return create_app(Settings.read())


def main() -> None:
    """Serve until a signal ends it; settings that cannot be read end it at once, with the reason."""
    try:
        app = make_app()
    except BodegaError as exc:
        sys.exit(str(exc))
    settings: Settings = app.state.settings
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )


if __name__ == "__main__":
    main()
