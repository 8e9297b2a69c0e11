"""Checks of the catalog: does Postgres answer, whose clock is right, which schema, and what versions were made with."""

import platform
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from bodega_model.errors import EnvironmentMismatchError
from bodega_model.loading.environment import SKLEARN, minor
from sqlalchemy import text
from sqlalchemy.orm import Session

from bodega_db.catalog import versions
from bodega_db.catalog.schema import check_schema
from bodega_db.catalog.tables import HEAD
from bodega_db.doctor.findings import Finding, State, judge
from bodega_db.errors import CatalogNotMigratedError

OLDEST_SERVER = 15
SAMPLES = 5  # of which the quickest says most: the others waited for something
SKEW_WARNING, SKEW_FAULT = 1.0, 60.0  # seconds
COMPARED = ("python", SKLEARN, "numpy", "pandas", "skops")
MOST_NAMED = 5  # versions

SERVER = text("""
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int / 10000 AS major,
           session_user AS role, current_database() AS database
""")
MOMENT = text("SELECT extract(epoch FROM clock_timestamp())::float8")
# What answers today, or would if nobody said otherwise: the versions in production, and the newest to serve.
ENVIRONMENTS = text("""
    SELECT jsonb_build_object('python', environment->'python') || coalesce(environment->'libraries', '{}') AS made_with,
           array_agg(m.name || '@' || v.number ORDER BY m.name, v.number) AS versions
    FROM version v JOIN model m ON m.id = v.model_id
    WHERE v.status = 'production' OR v.number = (
        SELECT max(o.number) FROM version o WHERE o.model_id = m.id AND o.status IN ('candidate', 'production'))
    GROUP BY made_with ORDER BY min(m.name || '@' || v.number)
""")


def check_database(session: Session) -> Finding:
    """Find which Postgres answers, how fast, and as whom one is logged in."""
    server = session.execute(SERVER).one()
    milliseconds = min(_measure(session)[0] for _ in range(SAMPLES)) * 1000
    found = f"Postgres {server.version}, database {server.database}, logged in as {server.role}"
    return Finding(
        "database",
        judge_server(server.major),
        f"{found}; a round trip takes {milliseconds:.2f} ms.",
        "" if server.major >= OLDEST_SERVER else f"Move the catalog to Postgres {OLDEST_SERVER} or later.",
        dict(server._mapping) | {"round_trip_ms": round(milliseconds, 3)},
    )


def judge_server(major: int) -> State:
    """Return whether the catalog works on a Postgres of this major version."""
    return State.OK if major >= OLDEST_SERVER else State.FAULT


def check_clock(session: Session) -> Finding:
    """Find how far the clock of Postgres is ahead of this machine's, measured at half the round trip."""
    trip, ahead = min(_measure(session) for _ in range(SAMPLES))
    state = judge(abs(ahead), warning=SKEW_WARNING, fault=SKEW_FAULT)
    return Finding(
        "clock",
        state,
        f"Postgres is {_duration(abs(ahead))} {'ahead of' if ahead >= 0 else 'behind'} this machine, "
        f"give or take {_duration(trip / 2)}.",
        "" if state is State.OK else "Have both machines follow a time server (NTP); history tells Postgres' time.",
        {"ahead_s": round(ahead, 4), "uncertainty_s": round(trip / 2, 4)},
    )


def _measure(session: Session) -> tuple[float, float]:
    """Return how many seconds a round trip takes, and how far ahead Postgres' clock is."""
    sent, began = time.time(), time.perf_counter()
    there: float = session.execute(MOMENT).scalar_one()
    trip = time.perf_counter() - began
    return trip, there - (sent + trip / 2)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def check_migrations(session: Session) -> Finding:
    """Find which migration the database is at, beside the one that this program works with."""
    found = versions.get_revision(session)
    figures = {"found": found, "expected": HEAD}
    try:
        check_schema(found)
    except CatalogNotMigratedError as exc:
        return Finding("migrations", State.FAULT, f"{exc.message}.", exc.advice, figures)
    return Finding("migrations", State.OK, f"The database is at migration {HEAD}, as this program.", "", figures)


def check_libraries() -> Finding:
    """Find the Python and the libraries that load models here."""
    here = libraries_here()
    return Finding("libraries", State.OK, f"Here: {_listed(here)}.", "", here)


def check_environments(session: Session) -> Finding:
    """Find what the versions that answer were registered with; another minor version of scikit-learn is a warning."""
    here = libraries_here()
    groups = [(_compared(row.made_with), list(row.versions)) for row in session.execute(ENVIRONMENTS)]
    foreign = [group for group in groups if differs(group[0], here)]
    said = "; ".join(f"{_named(references)} with {_differing(made, here)}" for made, references in foreign or groups)
    return Finding(
        "registered with",
        State.WARNING if foreign else State.OK,
        f"{f'Here is {SKLEARN} {here[SKLEARN]}; ' if foreign else ''}{said}." if said else "There is no version yet.",
        EnvironmentMismatchError.hint if foreign else "",
        {"environments": [{"made_with": made_with, "versions": named} for made_with, named in groups]},
    )


def libraries_here() -> dict[str, str]:
    """Return the versions of Python and of the libraries that are compared, by name."""
    return {"python": platform.python_version()} | {name: version(name) for name in COMPARED[1:]}


def differs(made_with: Mapping[str, Any], here: Mapping[str, str]) -> bool:
    """Tell whether a version was made with another minor version of scikit-learn; one that says none differs not."""
    trained = made_with.get(SKLEARN)
    return trained is not None and minor(trained) != minor(here[SKLEARN])


def _compared(made_with: Mapping[str, Any]) -> dict[str, Any]:
    return {name: made_with.get(name) for name in COMPARED}


def _differing(made_with: Mapping[str, Any], here: Mapping[str, str]) -> str:
    other = {name: number for name, number in made_with.items() if number != here[name]}
    return _listed(other) if other else "the same as here"


def _listed(libraries: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number or 'unknown'}" for name, number in libraries.items())


def _named(references: Iterable[str]) -> str:
    names = list(references)
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
