"""The services of one API: what its endpoints, its fast path and its metrics share, and in which order it starts."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Thread

from bodega_db.errors import SettingsError
from bodega_db.records import Version
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from prometheus_client import CollectorRegistry

from bodega_api.http.credentials import Token, read_token
from bodega_api.http.guesses import Guesses
from bodega_api.http.traffic import Traffic
from bodega_api.serving.counters import Tallies
from bodega_api.serving.engine import Engine
from bodega_api.serving.executor import Calls
from bodega_api.serving.inspection import Inspection
from bodega_api.serving.libraries import import_libraries, set_libraries_aside
from bodega_api.serving.model_cache import LoadedVersions
from bodega_api.serving.preload import Warming
from bodega_api.serving.scrubber import Scrub
from bodega_api.serving.usage import Usage
from bodega_api.serving.version_router import Routes
from bodega_api.workers.ipc import Siblings
from bodega_api.workers.malloc import Allocator
from bodega_api.workers.shared_arrays import SharedArrays

# Time limit for a free connection, for a new one, and for an answer, each in seconds: together less than ten.
CATALOG_SECONDS = 3
# Of the ten connections of the role that may write; several replicas share them.
WRITING_CONNECTIONS = 2


@dataclass(slots=True)
class Administration:
    """What writes over HTTP need: the token, who has guessed it wrongly, and the store to write with."""

    token: Token
    guesses: Guesses
    store: ModelStore


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one API."""

    settings: Settings
    store: ModelStore
    routes: Routes
    loaded: LoadedVersions[Engine]
    calls: Calls
    warming: Warming
    inspection: Inspection
    scrub: Scrub
    usage: Usage
    tallies: Tallies
    siblings: Siblings
    administration: Administration | None  # only where the settings name a token file
    traffic: Traffic = field(default_factory=Traffic)
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)  # of this API: a process may have several
    # More at once would only take the lock of the interpreter from each other.
    long_bodies: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    def start(self) -> None:
        """Start what runs beside the requests."""
        self.routes.start()
        self.store.start_rehearsal()
        Thread(target=import_libraries, name="imports", daemon=True).start()
        self.warming.start()
        self.inspection.start()
        self.scrub.start()
        self.usage.start()

    def stop(self) -> None:
        """Stop it again, the last one first."""
        self.usage.stop()
        self.scrub.stop()
        self.inspection.stop()
        self.warming.stop()
        self.routes.stop()  # before the loads, which it asks for
        self.loaded.close()
        self.store.close()
        if self.administration:
            self.administration.store.close()


def build_services(settings: Settings) -> Services:
    """Make the services that the settings describe; nothing is connected or started yet. Raises SettingsError."""
    token = None if settings.admin_token_file is None else read_token(settings.admin_token_file)
    store = ModelStore.connect(settings, patience=CATALOG_SECONDS)
    administration = None
    if token is not None:
        administration = Administration(token, Guesses(settings.workers), _connect_writing(settings, store))
    tallies, usage, siblings = Tallies(), Usage(store), Siblings()
    loaded = LoadedVersions(_engine_opener(settings, store, tallies, usage, siblings), settings.cache_bytes)
    routes = Routes(store, settings.max_stale, load=loaded.request)
    return Services(
        settings=settings,
        store=store,
        routes=routes,
        loaded=loaded,
        calls=Calls(settings.predict_seconds, settings.max_waiting),
        warming=Warming(store, routes, loaded, wanted=settings.keep_warm),
        inspection=Inspection(store, routes),
        scrub=Scrub(
            store,
            loaded,
            pause_seconds=settings.scrub_seconds,
            bytes_per_second=max(1, settings.scrub_bytes_per_second // settings.workers),
            quarantine=settings.scrub_quarantine,
        ),
        usage=usage,
        tallies=tallies,
        siblings=siblings,
        administration=administration,
    )


def _connect_writing(settings: Settings, store: ModelStore) -> ModelStore:
    """Return the store to write with: one of a role of its own where the settings name one, else the given one."""
    if settings.admin_database_url is None:
        return store
    changes = {"database_url": settings.admin_database_url, "pool_size": WRITING_CONNECTIONS}
    try:
        return ModelStore.connect(settings.model_copy(update=changes), patience=CATALOG_SECONDS)
    except SettingsError as exc:
        advice = "Write postgresql://user:password@host:port/database."
        raise SettingsError("BODEGA_ADMIN_DATABASE_URL is not the URL of a Postgres database", advice) from exc


def _engine_opener(
    settings: Settings, store: ModelStore, tallies: Tallies, usage: Usage, siblings: Siblings
) -> Callable[[Version], Engine]:
    """Return what opens a version; if the settings say so, it shares large arrays with the other workers."""
    allocator, shared = Allocator(), SharedArrays(siblings) if settings.share_arrays else None

    def open_engine(version: Version) -> Engine:
        tally = tallies.of(version.model, version.number)

        def load(tried: bool) -> Engine:
            runner = store.open(version, rehearse=not tried)
            return Engine.start(runner, version.golden, tally, usage.of(version.model, version.number))

        with allocator.apart():
            engine = shared.load(version, load) if shared else load(False)
        set_libraries_aside()
        return engine

    return open_engine
