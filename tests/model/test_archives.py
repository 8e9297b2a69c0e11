"""What an archive may ask for: each border from both sides, and every fault by its own words."""

import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bodega_model.errors import ArchiveError
from bodega_model.formats import archive_limits
from bodega_model.formats.archive_limits import check_archive
from harmful import ARCHIVES, MOST_MODEL_BYTES, packed, repacked, sound

SCHEMA = b'{"a": 1}'
MANY = 66_000  # more than 16 bits count


def check(content: bytes, largest: int = MOST_MODEL_BYTES) -> int:
    """Check an archive, and that its file is left at its beginning."""
    file = io.BytesIO(content)
    file.seek(3)
    try:
        return check_archive(file, largest)
    finally:
        assert file.tell() == 0


def sizes(content: bytes) -> int:
    """Return how many bytes an archive's members have, by Python's own count."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return sum(len(archive.read(name)) for name in archive.namelist())


def stored(**members: bytes) -> bytes:
    """Pack members without compressing them, behind a schema."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("schema.json", SCHEMA)
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def array(value: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", version: tuple[int, int] = (1, 0)) -> bytes:
    """Write an array as numpy does."""
    file = io.BytesIO()
    np.lib.format.write_array(file, value, version=version)
    return file.getvalue()


def test_a_model_that_loads_passes_and_is_measured() -> None:
    """What is returned is the size of everything in it once it is inflated, to the byte; as much may be allowed."""
    content = sound()
    size = sizes(content)

    assert check(content) == size
    assert check(content, size) == size
    with pytest.raises(ArchiveError, match=rf"would inflate to {size} bytes, and {size - 1} are allowed"):
        check(content, size - 1)


@pytest.mark.parametrize(
    ("make", "said"),
    list(
        zip(
            ARCHIVES,
            (
                *("would inflate to", "would inflate to", "has a directory of", "claims another size"),
                *("claims another size", "Python objects", "more than 200 deep", "named like a path"),
                *("not end with its directory", "not end with its directory", "not end with its directory"),
                *("does not begin with its first member", "not end with its directory", "not end with its directory"),
            ),
            strict=True,
        )
    ),
)
def test_what_would_harm_is_refused_by_its_own_words(make: Callable[[Path], bytes], said: str, tmp_path: Path) -> None:
    """No kind is refused only because of something else that is wrong with it."""
    with pytest.raises(ArchiveError, match=f"^The archive.* {said}"):
        check(make(tmp_path / "trace"))


def bits_of(archive: bytes, offset: int, value: int) -> bytes:
    """Set two bytes of the first entry of an archive's directory."""
    place = archive.index(b"PK\1\2") + offset
    return archive[:place] + value.to_bytes(2, "little") + archive[place + 2 :]


def twice() -> bytes:
    """Return an archive with one name twice: readers differ in which they take."""
    file = io.BytesIO(stored(a=b"1"))
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file, "a") as archive:
        archive.writestr("a", b"2")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (packed({}), "has no schema"),
        (packed({"other.json": SCHEMA}), "has no schema"),
        (twice(), "has a member twice"),
        (bits_of(stored(), 8, 1), "has an encrypted member"),
        (bits_of(stored(), 10, zipfile.ZIP_BZIP2), "is compressed in a way"),
        (b"x" + stored(), "does not begin"),
        (stored(**{"a/b": b""}), "has a member that is named like a path"),
        (stored(**{"a\\b": b""}), "has a member that is named like a path"),
        (stored(**{"..": b""}), "has a member that is named like a path"),
        (stored(**{".": b""}), "has a member that is named like a path"),
        (stored(**{"0.npy": array(np.zeros(3), (3, 0))}), "has an array in a format that numpy does not write"),
        (stored(**{"0.npy": array(np.zeros(3)) + b"\0"}), "has an array whose header claims another size"),
        (stored(**{"0.npy": array(np.zeros(3))[:-1]}), "has an array whose header claims another size"),
        (stored(**{"0.npy": b"no array"}), "is not a whole skops archive"),
    ],
)
def test_a_fault_is_named(content: bytes, said: str) -> None:
    """Each fault is found by itself."""
    with pytest.raises(ArchiveError, match=f"^The (archive|file) {said}"):
        check(content)


def test_the_header_of_an_array_may_be_long() -> None:
    """A dtype with hundreds of names is written as a long text, which numpy itself would refuse to read."""
    many = np.zeros(2, dtype=[(f"a_rather_long_name_{place}", "f8") for place in range(400)])

    assert check(stored(**{"0.npy": array(many)})) > 2 * 400 * 8


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_arrays_of_both_formats_pass(version: tuple[int, int]) -> None:
    """Those that numpy writes; a member of another kind is not looked into."""
    assert check(stored(**{"0.npy": array(np.zeros((3, 4)), version), "text": b"no array"})) > 96


def test_a_deep_schema_has_a_border() -> None:
    """Brackets count where they nest, not where they stand beside one another or in a text."""
    deepest = b"[" * 199 + b'{"[[[": "\\"[[["}, {}, []' + b"]" * 199

    assert check(packed({"schema.json": deepest})) == len(deepest)
    for deeper in (b"[" + deepest + b"]", b"[" + b"[]," * 150 + b"[" * 200 + b"]" * 201):
        with pytest.raises(ArchiveError, match="more than 200 deep"):
            check(packed({"schema.json": deeper}))


def test_a_directory_has_a_border(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is what the archive's end says, also with a count of members that needs the larger form."""
    for content in (sound(), stored(**{str(place): b"" for place in range(MANY)})):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            end = len(content) - 22 - (76 if len(archive.namelist()) >= 0xFFFF else 0)
            size = end - archive.start_dir
        monkeypatch.setattr(archive_limits, "LARGEST_DIRECTORY", size)
        check(content)
        monkeypatch.setattr(archive_limits, "LARGEST_DIRECTORY", size - 1)
        with pytest.raises(ArchiveError, match=f"has a directory of {size} bytes, and {size - 1} are allowed"):
            check(content)
    # Python's reader goes by the larger form where there is one, whatever the smaller one says.
    with pytest.raises(ArchiveError, match=f"has a directory of {size} bytes"):
        check(content[:-10] + bytes(4) + content[-6:])


def test_a_schema_has_a_border(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read as a whole, so it may not be of any size."""
    monkeypatch.setattr(archive_limits, "LARGEST_SCHEMA", len(SCHEMA))
    check(stored())
    monkeypatch.setattr(archive_limits, "LARGEST_SCHEMA", len(SCHEMA) - 1)
    with pytest.raises(ArchiveError, match=f"a schema of more than {len(SCHEMA) - 1} bytes"):
        check(stored())


def test_what_inflates_has_a_border_that_small_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that is more than small may not become more than so many times its size."""
    content = repacked(lambda members: members.update({"x": bytes(1_000_000)}))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        ratio = sum(m.file_size for m in archive.infolist()) / sum(m.compress_size for m in archive.infolist())
    check(content)
    monkeypatch.setattr(archive_limits, "SMALL", sizes(content))
    monkeypatch.setattr(archive_limits, "LARGEST_RATIO", 1)
    check(content)
    monkeypatch.setattr(archive_limits, "SMALL", sizes(content) - 1)
    with pytest.raises(ArchiveError, match="1 times its size or more"):
        check(content)
    monkeypatch.setattr(archive_limits, "LARGEST_RATIO", ratio)
    check(content)
