"""The commands that keep a store in order: check it, collect garbage, restore lost catalog entries."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from bodega_model.errors import BodegaError

from bodega.commands.output import AsJson, opened_store, write_json, write_table
from bodega.display.progress import shown_progress

if TYPE_CHECKING:
    from bodega_db.maintenance.fsck import Report
    from bodega_db.maintenance.gc import Plan
    from bodega_db.maintenance.rebuild import Lost

COULD_NOT_CHECK = 4
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
Apply = Annotated[bool, typer.Option("--apply", help="Apply the changes; without it nothing changes.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    for command in (fsck, gc, rebuild):
        app.command()(command)


def fsck(
    read_data: Annotated[bool, typer.Option("--read-data", help="Hash all artifacts too.")] = False,
    read_data_subset: Annotated[
        str | None, typer.Option("--read-data-subset", metavar="SHARE", help="Hash a sample of them, as in 5%.")
    ] = None,
    write_manifests: Annotated[bool, typer.Option("--write-manifests", help="Write missing manifests.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the whole store; status 1: corrupt, 2: cannot be loaded here, 4: could not check, 8: orphans, or a sum."""
    share = 1.0 if read_data else _share(read_data_subset)
    with _unchecked_is(COULD_NOT_CHECK), opened_store() as (store, _), shown_progress() as progress:
        written = store.write_manifests() if write_manifests else []
        report = store.fsck(share=share, progress=progress)
    if as_json:
        write_json(_report_answer(report, written))
    else:
        _tell_report(report, written)
    raise typer.Exit(report.status)


def gc(
    grace: Annotated[
        str, typer.Option("--grace", help="How long the trash keeps an artifact, as in 12h or 30d.")
    ] = "7d",
    apply: Apply = False,
    force: Annotated[bool, typer.Option("--force", help="Also remove more than a tenth of all artifacts.")] = False,
    as_json: AsJson = False,
) -> None:
    """List artifacts that no version names; with --apply move them to the trash, and empty it after a grace."""
    with opened_store() as (store, _), shown_progress() as progress:
        plan = store.gc(grace=_period(grace), apply=apply, force=force, progress=progress)
    if as_json:
        write_json(plan.to_dict() | {"applied": apply})
    else:
        _tell_plan(plan, apply)


def rebuild(apply: Apply = False, as_json: AsJson = False) -> None:
    """List versions on the volume that the catalog has lost; with --apply restore them, archived."""
    with opened_store() as (store, _), shown_progress() as progress:
        lost = store.rebuild(apply=apply, progress=progress)
    if as_json:
        write_json(lost.to_dict() | {"applied": apply})
    else:
        _tell_lost(lost, apply)


@contextmanager
def _unchecked_is(status: int) -> Iterator[None]:
    try:
        yield
    except BodegaError as exc:
        typer.echo(f"bodega: {exc}", err=True)
        raise typer.Exit(status) from exc


def _share(text: str | None) -> float:
    if text is None:
        return 0.0
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)%", text)
    if not match or not 0 < float(match[1]) <= 100:
        raise typer.BadParameter(f"{text!r} is not a share as in '5%'", param_hint="--read-data-subset")
    return float(match[1]) / 100


def _period(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not match:
        raise typer.BadParameter(f"{text!r} is not a period as in '30m', '12h' or '7d'", param_hint="--grace")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def _report_answer(report: "Report", written: list[str]) -> dict[str, object]:
    return {
        "versions": report.versions,
        "artifacts": report.artifacts,
        "hashed": report.hashed,
        "hashed_bytes": report.hashed_bytes,
        "manifests_written": written,
        "troubles": [trouble.to_dict() for trouble in report.troubles],
        "status": report.status,
    }


def _tell_report(report: "Report", written: list[str]) -> None:
    if written:
        typer.echo(f"Wrote the manifests of {len(written)} versions.")
    rows = [(t.sort.word, t.subject, t.found, t.advice) for t in report.troubles]
    write_table(("state", "what", "found", "what to do"), rows, "No trouble was found.")
    hashed = f"{report.hashed} of them ({report.hashed_bytes} bytes) hashed" if report.hashed else "none of them hashed"
    typer.echo(f"{report.versions} versions, {report.artifacts} artifacts, {hashed}.")


def _tell_plan(plan: "Plan", applied: bool) -> None:
    rows = [
        ("into the trash", len(plan.discard), "no version names them"),
        ("out of the trash, for good", len(plan.destroy), "longer there than the grace"),
        ("out of the trash, into place", len(plan.put_back), "a version lacks them"),
        ("stay in the trash", len(plan.waiting), "not there for long enough"),
        ("partial files removed", len(plan.parts), "a writer that was killed left them"),
        ("manifests of deleted versions", len(plan.retire), "only the number stays"),
        ("manifests finished", len(plan.finish), "the registration was interrupted behind its commit"),
        ("forgotten versions", len(plan.forgotten), "nothing is done: `bodega rebuild` shows them"),
    ]
    some = [row for row in rows if row[1]]
    write_table(("what", "how many", "why"), some, f"Nothing to collect among {plan.artifacts} artifacts.")
    if some and not applied:
        typer.echo("Nothing was changed: --apply does it.")


def _tell_lost(lost: "Lost", applied: bool) -> None:
    state = "restored, archived" if applied else "can be restored"
    rows = [(manifest.version.reference, state, manifest.version.created_by) for manifest in lost.restore]
    rows += [(reference, "cannot be restored", why) for reference, why in lost.refused]
    rows += [(name, "unfinished", "It is unknown whether this registration ended.") for name in lost.unfinished]
    restored = {manifest.version.reference for manifest in lost.restore}
    ends = [f"{name}@{number}" for name, number in lost.behind.items() if f"{name}@{number}" not in restored]
    rows += [(reference, "its number stays taken", "It was given out, as were those before it.") for reference in ends]
    write_table(("version", "state", "by, or why"), rows, "The catalog lacks nothing that the volume knows.")
    if lost.restore or lost.behind:
        said = "`bodega promote` what shall answer." if applied else "Nothing was changed: --apply does it."
        typer.echo(said)
