"""The base of every change of a registered version: actor and reason are recorded, and the model is locked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bodega_model.loading.environment import default_actor
from sqlalchemy.orm import Session

from bodega_db.catalog import resolve, transitions, versions
from bodega_db.catalog.access import CatalogAccess
from bodega_db.errors import InvalidReferenceError, StatusMoveError
from bodega_db.lifecycle import Status, may_move
from bodega_db.records import Version
from bodega_db.reference import Default, Selector, parse_reference


@dataclass(frozen=True, slots=True)
class Move:
    """A version of a locked model, and the number of the one in production."""

    session: Session
    model_id: int
    version: Version
    production: int | None

    def to(self, status: Status) -> Version:
        """Give the version a status and return it anew; raise StatusMoveError where there is no such move."""
        before = self.version.status
        if before is status:
            return self.version
        if not may_move(before, status):
            raise StatusMoveError(f"{self.version.reference} is {before.value} and cannot become {status.value}")
        transitions.set_status(self.session, self.model_id, self.version.number, status)
        return versions.get_version(self.session, self.version.model, self.version.number)

    def into_production(self) -> Version:
        """Put the version in the place of the one in production, which is archived."""
        if not may_move(self.version.status, Status.PRODUCTION):
            return self.to(Status.PRODUCTION)  # says why not, before the former one is touched
        if self.production is not None:
            transitions.set_status(self.session, self.model_id, self.production, Status.ARCHIVED)
        return self.to(Status.PRODUCTION)


@contextmanager
def recorded(catalog: CatalogAccess, reason: str | None, actor: str | None) -> Iterator[Session]:
    """Open a transaction whose events name the actor (the person who is logged in, unless given) and the reason."""
    with catalog.transaction() as session:
        versions.set_actor(session, actor or default_actor(), reason)
        yield session


@contextmanager
def moving(catalog: CatalogAccess, reference: str, reason: str | None, actor: str | None) -> Iterator[Move]:
    """Open a recorded transaction in which a version, and the one in production, is locked."""
    name, selector = parse_explicit(reference)
    with recorded(catalog, reason, actor) as session:
        yield lock(session, transitions.lock_model(session, name), name, selector)


def parse_explicit(reference: str) -> tuple[str, Selector]:
    """Read a reference that says which version it means; raise InvalidReferenceError for a model's name alone."""
    name, selector = parse_reference(reference)
    if isinstance(selector, Default):
        raise InvalidReferenceError(
            "A change needs to know which version", "Name it, as in 'penguins@3' or 'penguins@latest'."
        )
    return name, selector


def lock(session: Session, model_id: int, name: str, selector: Selector) -> Move:
    """Lock a version of a model that is locked, and the one in production; raise VersionNotFoundError and its kin."""
    number = resolve.find_version(session, name, selector).number
    production = transitions.lock_versions(session, model_id, number)
    # Anew: a quarantine may have come between the choice and the lock.
    return Move(session, model_id, versions.get_version(session, name, number), production)
