"""Run the API: `python -m bodega_api`, with the settings of the environment."""

import logging
import sys
import warnings

import uvicorn
from bodega_db.errors import BodegaError
from bodega_db.settings import Settings

from bodega_api.app import create_app

GRACE_SECONDS = 10


def main() -> None:
    """Serve until a signal ends it; settings that cannot be read end it at once, with the reason."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # A pipeline that meets an unknown category warns at every request; the answer says so itself.
    warnings.filterwarnings("ignore", module="sklearn")
    try:
        settings = Settings.read()
        app = create_app(settings)
    except BodegaError as exc:
        sys.exit(str(exc))
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )


if __name__ == "__main__":
    main()
