"""The commands that check a store or single versions, and say what to do."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from bodega_db.errors import ArtifactError, VolumeError
from bodega_model.errors import BodegaError

from bodega.commands.output import AsJson, opened_store, write_json, write_table
from bodega.completion.words import complete_version

if TYPE_CHECKING:
    from bodega_db.doctor.findings import Finding
    from bodega_db.records import Version
    from bodega_db.store import ModelStore

NO_DATABASE = "postgresql://"  # in place of one that is not asked for here
Known = tuple["Finding", str | None, Path | None]
BITS = {"sound": 0, "corrupt": 1, "unreadable": 4}  # of the status of `verify`, one for each sort of trouble


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(doctor)
    app.command()(verify)


def doctor(as_json: AsJson = False) -> None:
    """Check settings, database, rights, volume, clock and libraries; status 1 if there is a fault."""
    from bodega_db.doctor.findings import State
    from bodega_db.doctor.run import examine

    with _known_settings() as (settings, database_url, models):
        findings = [settings, *examine(database_url, models)]
    if as_json:
        write_json({"findings": [finding.to_dict() for finding in findings]})
    else:
        rows = [(finding.name, finding.state.value, finding.found, finding.advice) for finding in findings]
        write_table(("check", "state", "found", "what to do"), rows, "")
    if any(finding.state is State.FAULT for finding in findings):
        raise typer.Exit(1)


def verify(
    references: Annotated[
        list[str],
        typer.Argument(help="Versions, as in penguins@3 or penguins@latest.", autocompletion=complete_version),
    ],
    as_json: AsJson = False,
) -> None:
    """Hash artifacts again; status 1 if one is not the registered one, 4 if one could not be read, 5 if both."""
    with opened_store() as (store, _):
        store.check_volume()
        versions = [store.find(reference) for reference in references]
        found = [(version, *_verified(store, version)) for version in versions]
    if as_json:
        answers = [
            {"model": v.model, "version": v.number, "sha256": v.digest.hex, "state": state, "detail": detail}
            for v, state, detail in found
        ]
        write_json({"versions": answers})
    else:
        write_table(("version", "state", "found"), [(v.reference, state, detail) for v, state, detail in found], "")
    raise typer.Exit(sum({BITS[state] for _, state, _ in found}))


def _verified(store: "ModelStore", version: "Version") -> tuple[str, str]:
    try:
        store.verify(version.digest, version.size_bytes)
    except ArtifactError as exc:
        return "corrupt", f"{exc.message}. {exc.advice}"
    except VolumeError as exc:
        return "unreadable", f"{exc.message}. {exc.advice}"
    return "sound", f"{version.size_bytes} bytes with the sha256 that was registered"


@contextmanager
def _known_settings() -> Iterator[Known]:
    """Yield what the settings say, the database and the volume; None for what they do not say."""
    from bodega_db.doctor.findings import Finding, State

    from bodega.local.find_catalog import catalog_settings, is_configured

    with ExitStack() as stack:
        try:
            settings = stack.enter_context(catalog_settings())
        except BodegaError as exc:
            finding = Finding("settings", State.FAULT, f"{exc.message}.", exc.advice)
            yield (finding, _database(), _volume()) if is_configured() else (finding, None, None)
            return
        said = "BODEGA_DATABASE_URL names the catalog" if is_configured() else "The catalog of this checkout is meant"
        found = f"{said}; the volume is {settings.models}."
        finding = Finding("settings", State.OK, found, "", {"models": str(settings.models)})
        yield finding, settings.database_url.get_secret_value(), settings.models


def _database() -> str | None:
    from bodega_db.settings import Settings

    try:
        return Settings.read(models=Path()).database_url.get_secret_value()
    except BodegaError:
        return None


def _volume() -> Path | None:
    from bodega_db.settings import Settings

    try:
        return Settings.read(database_url=NO_DATABASE).models
    except BodegaError:
        return None
