"""The face of a store: its verbs are told of where a caller looks for them."""

import inspect

import pytest
from bodega_db.store import ModelStore
from bodega_db.store.lifecycle import Lifecycle
from bodega_db.store.maintenance import Maintenance
from bodega_db.store.register import Registrar
from bodega_db.store.retention import Retention
from bodega_db.store.transfer import Transfer

PARTS = (Registrar, Lifecycle, Retention, Transfer, Maintenance)
INTERNAL = {"admit", "check_numbers", "find_earlier"}  # what one part does for another
VERBS = [(part, name) for part in PARTS for name in vars(part) if not name.startswith("_") and name not in INTERNAL]


@pytest.mark.parametrize(("part", "name"), VERBS, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_help_tells_of_a_verb_what_its_part_says(part: type, name: str) -> None:
    """A verb has the signature, the types and the docstring of the method that does it."""
    face, method = getattr(ModelStore, name), getattr(part, name)

    assert inspect.getdoc(face) == inspect.getdoc(method)
    assert inspect.signature(face) == inspect.signature(method)
    assert face.__annotations__ == method.__annotations__


def test_every_verb_has_a_docstring() -> None:
    """No method of a store is without one."""
    public = {name: member for name, member in vars(ModelStore).items() if not name.startswith("_")}

    assert [name for name, member in public.items() if not inspect.getdoc(member)] == []
