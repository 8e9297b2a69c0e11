"""The doctor: every check of a store in its order, none of which keeps the others from running."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from bodega_model.errors import BodegaError
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from bodega_db.catalog.connections import create_catalog_engine
from bodega_db.catalog.failures import translate_errors
from bodega_db.catalog.roles import API
from bodega_db.doctor.catalog import check_clock, check_database, check_environments, check_libraries, check_migrations
from bodega_db.doctor.findings import Finding, State
from bodega_db.doctor.rights import check_public, check_rights
from bodega_db.doctor.volume import check_folder, check_manifests, check_marker, check_space, check_writing
from bodega_db.errors import CatalogUnavailableError, SettingsError

PATIENCE = 5  # seconds without an answer after which a catalog does not answer
Check = Callable[["Doctor"], Finding]

# What each check needs to be well, and how it is done; in the order in which people read the findings.
CHECKS: dict[str, tuple[tuple[str, ...], Check]] = {
    "database": ((), lambda doctor: doctor.ask(check_database)),
    "clock": (("database",), lambda doctor: doctor.ask(check_clock)),
    "migrations": (("database",), lambda doctor: doctor.ask(check_migrations)),
    "rights": (("database",), lambda doctor: doctor.ask(check_rights)),
    "public": (("rights",), lambda doctor: doctor.ask(check_public)),
    "volume": ((), lambda doctor: check_folder(doctor.volume)),
    "marker": (("migrations", "volume"), lambda doctor: doctor.ask(lambda s: check_marker(s, doctor.volume))),
    "manifests": (("marker",), lambda doctor: doctor.ask(lambda s: check_manifests(s, doctor.volume))),
    "writing": (("volume",), lambda doctor: doctor.check_writing()),
    "space": (("volume",), lambda doctor: check_space(doctor.volume)),
    "libraries": ((), lambda doctor: check_libraries()),
    "registered with": (("migrations",), lambda doctor: doctor.ask(check_environments)),
}


def examine(database_url: str | None, models: Path | None) -> list[Finding]:
    """Return what every check finds in a catalog and its volume; what is None is not checked, and raises nothing."""
    with contextlib.closing(Doctor(database_url, models)) as doctor:
        return list(doctor.examine())


class Doctor:
    """A catalog and a volume, as far as they are known, and what was found in them so far."""

    def __init__(self, database_url: str | None, models: Path | None) -> None:
        self._url, self._models = database_url, models
        self._engine: Engine | None = None
        self._findings: dict[str, Finding] = {}

    def examine(self) -> Iterator[Finding]:
        """Go through the checks; one whose needs are not met is a finding too."""
        for name, (needed, check) in CHECKS.items():
            unmet = [need for need in needed if not self._findings[need].is_usable]
            finding = (
                _not_checked(name, f"It needs what is checked as {unmet[0]}.") if unmet else self._run(name, check)
            )
            self._findings[name] = finding
            yield finding

    def ask(self, check: Callable[[Session], Finding]) -> Finding:
        """Run a check in a transaction of its own, so that one which fails leaves nothing broken to the next."""
        if self._url is None:
            raise NotGivenError("Which database is meant is not known")
        if self._engine is None:
            self._engine = _connect(self._url)
        with translate_errors(), Session(self._engine) as session:
            return check(session)

    @property
    def volume(self) -> Path:
        """The folder of the volume."""
        if self._models is None:
            raise NotGivenError("Which volume is meant is not known")
        return self._models

    def check_writing(self) -> Finding:
        """Check that the volume can be written; the services of the API's role need only read it."""
        needed = self._findings["rights"].figures.get("role") != API
        return check_writing(self.volume, needed=needed, marker=self._findings["marker"].state)

    def close(self) -> None:
        """Give back the connection."""
        if self._engine is not None:
            self._engine.dispose()

    def _run(self, name: str, check: Check) -> Finding:
        try:
            return check(self)
        except NotGivenError as exc:
            return _not_checked(name, f"{exc}.")
        except CatalogUnavailableError as exc:
            return Finding(name, State.FAULT, f"{exc.message}{_reason(exc)}.", exc.advice)
        except BodegaError as exc:
            return Finding(name, State.FAULT, f"{exc.message}.", exc.advice)
        except Exception as exc:  # noqa: BLE001 (whoever asks a doctor wants to hear of the other parts all the same)
            return Finding(name, State.FAULT, f"The check itself failed: {type(exc).__name__}.", "Please report it.")


class NotGivenError(LookupError):
    """What a check looks at is not known: the settings that name it are wrong."""


def _connect(url: str) -> Engine:
    try:
        return create_catalog_engine(url, pool_size=1, patience=PATIENCE, application="bodega doctor")
    except ValueError as exc:  # a port that is no number
        hint = "Write postgresql://user:password@host:port/database."
        raise SettingsError("BODEGA_DATABASE_URL is not a database URL", hint) from exc


def _not_checked(name: str, why: str) -> Finding:
    return Finding(name, State.NOT_CHECKED, why, "Fix that first.")


def _reason(exc: CatalogUnavailableError) -> str:
    """Return what the driver says in its first line, which names host, port and user, and never a password."""
    said = str(getattr(exc.__cause__, "orig", "") or "").strip()
    return f": {said.splitlines()[0].strip()}" if said else ""
