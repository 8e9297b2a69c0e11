"""Manifests beside the artifacts: what a registration leaves there, and what is read of one that somebody changed."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from bodega_db.errors import IdempotencyConflictError, ManifestError
from bodega_db.store import ModelStore
from bodega_db.volume.manifests import Place, VersionManifest
from penguins import classifier, example


def register(store: ModelStore, strength: float = 1.0, **more: Any) -> Any:
    """Register a classifier whose bytes the strength makes different."""
    return store.register(classifier(strength), "penguins", example=example(), **more)


def unfinished(store: ModelStore) -> list[Place]:
    """Return the manifests of registrations that did not end."""
    return list(store.manifests.list_unfinished())


def test_a_registration_leaves_a_manifest_of_its_version(store: ModelStore) -> None:
    """It says what the row says, cannot be written by anybody, and is the only one."""
    version = register(store, note="für Ada", idempotency_key="a key", actor="ada")

    (place,) = store.manifests.list()
    assert (place.reference, place.path) == ("penguins@1", store.manifests.path("penguins", 1))
    assert place.read() == VersionManifest.of(store.get("penguins", version.number))
    assert place.path.stat().st_mode & 0o777 == 0o440
    assert unfinished(store) == []


def test_the_same_registration_again_leaves_the_manifest_as_it_is(store: ModelStore) -> None:
    """What was changed in the catalog since does not come into what the registration said."""
    register(store, idempotency_key="a key")
    before = store.manifests.path("penguins", 1).read_bytes()
    store.describe("penguins@1", note="another word")
    register(store, idempotency_key="a key")

    assert store.manifests.path("penguins", 1).read_bytes() == before


def test_the_same_registration_again_writes_a_manifest_that_is_missing(store: ModelStore) -> None:
    """Whoever was killed behind the commit, and comes again, ends with everything."""
    version = register(store, idempotency_key="a key")
    path = store.manifests.path("penguins", 1)
    path.unlink()
    store.manifests.begin(VersionManifest.of(version))
    register(store, idempotency_key="a key")

    assert Place(path, "penguins", 1).read() == VersionManifest.of(version)
    assert unfinished(store) == []


def test_a_registration_that_is_refused_leaves_none(store: ModelStore) -> None:
    """A key that belongs to other bytes is found out before anything is promised."""
    register(store, idempotency_key="a key")
    with pytest.raises(IdempotencyConflictError):
        register(store, 2.0, idempotency_key="a key")

    assert [place.reference for place in store.manifests.list()] == ["penguins@1"]
    assert unfinished(store) == []


def test_a_version_is_registered_although_its_manifest_cannot_be_finished(store: ModelStore, volume: Path) -> None:
    """The row is committed, so the registration succeeds; a check of the store tells what is missing."""
    (volume / "manifests" / "penguins" / "1.json").mkdir(parents=True)

    assert register(store).number == 1
    assert len(unfinished(store)) == 1


def test_no_changed_bit_of_a_manifest_passes(store: ModelStore) -> None:
    """Every bit of a manifest counts, those of its hash too."""
    register(store)
    path = store.manifests.path("penguins", 1)
    content = path.read_bytes()
    for place in range(0, len(content) * 8, 7):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(ManifestError):
            VersionManifest.from_bytes(bytes(changed), 1)
    assert VersionManifest.from_bytes(content, 1) == Place(path, "penguins", 1).read()


@pytest.mark.parametrize(
    "line", [b"{}", b"[]", b"null", b'{"version": {}}', b"[" * 100_000, b'{"version": null}', b"\xff", b""]
)
def test_what_is_no_manifest_is_told_so(line: bytes) -> None:
    """Also with a hash that fits: anybody can write one."""
    with pytest.raises(ManifestError):
        VersionManifest.from_bytes(line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n", 1)


def test_a_manifest_in_the_folder_of_another_model_is_none(store: ModelStore) -> None:
    """The folder names the model, and a copied file does not make a version of another one."""
    register(store)
    copy = store.manifests.path("others", 1)
    copy.parent.mkdir()
    copy.write_bytes(store.manifests.path("penguins", 1).read_bytes())

    with pytest.raises(ManifestError, match="another model"):
        Place(copy, "others", 1).read()
