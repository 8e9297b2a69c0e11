"""Tests of the formats: what is written, what is loaded back, and what is refused before anything is constructed."""

import errno
import fcntl
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
import zoo
from bodega_model.errors import SerialiseError, UntrustedTypeError
from bodega_model.formats import codecs
from bodega_model.formats.policy import Policy
from bodega_model.formats.trusted_types import PARTIAL, TRUSTED_TYPES
from model_files import Sink, read, same, written
from siblings import SIBLINGS
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).resolve()

every_specimen = pytest.mark.parametrize("specimen", zoo.SPECIMENS, ids=lambda s: s.name)


@pytest.fixture(scope="module")
def model() -> Any:
    """A small fitted model, for the tests that need any."""
    return next(s for s in zoo.SPECIMENS if s.name == "forest").build()


# --- what is written -------------------------------------------------------------------------------------


def test_the_zoo_is_large_and_its_names_are_unique() -> None:
    """The zoo holds at least 48 models, each with a name of its own."""
    names = {s.name for s in zoo.SPECIMENS}

    assert len(names) == len(zoo.SPECIMENS) >= 48


@pytest.mark.slow
@every_specimen
def test_a_model_answers_bit_for_bit_as_before(specimen: zoo.Specimen) -> None:
    """A model that is dumped as skops and loaded answers its example exactly as before, with every method it has."""
    fitted = specimen.build()
    before = zoo.answer(fitted.model, fitted.example)

    after = zoo.answer(read(written(fitted.model)), fitted.example)

    assert before
    assert before.keys() == after.keys()
    assert [name for name in before if not same(before[name], after[name])] == []


@pytest.mark.slow
@every_specimen
def test_two_dumps_of_a_model_are_equal(specimen: zoo.Specimen) -> None:
    """The same model gives the same bytes, although skops itself gives others each time."""
    model = specimen.build().model

    assert written(model) == written(model)


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    """A process with other addresses and another hash seed writes the same models as the same bytes."""
    models = {s.name: s.build().model for s in zoo.SPECIMENS}
    (tmp_path / "models.pickle").write_bytes(pickle.dumps(models))
    program = (
        "import hashlib, json, pathlib, pickle, sys, test_formats; "
        "models = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()); "
        "digests = {n: hashlib.sha256(test_formats.written(m)).hexdigest() for n, m in models.items()}; "
        "json.dump(digests, sys.stdout)"
    )
    theirs = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "models.pickle")],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parents[1])]), "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
    ).stdout

    ours = {name: hashlib.sha256(written(model)).hexdigest() for name, model in models.items()}

    assert json.loads(theirs) == ours


@pytest.mark.slow
def test_a_process_that_knows_only_the_formats_loads_every_model(tmp_path: Path) -> None:
    """A process that imported nothing of a model's libraries, as a server is, loads it and answers the same."""
    fitted = {s.name: s.build() for s in zoo.SPECIMENS}
    files = {name: (written(one.model), one.example) for name, one in fitted.items()}
    (tmp_path / "files.pickle").write_bytes(pickle.dumps(files))
    program = (
        "import io, pathlib, pickle, sys; from bodega_model.formats import codecs, policy; "
        "files = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()); "
        "models = {n: codecs.load(io.BytesIO(c), 'skops', policy.Policy()) for n, (c, _) in files.items()}; "
        "answers = {n: getattr(m, 'predict', None) or getattr(m, 'transform', None) or m.score_samples "
        "for n, m in models.items()}; "
        "sys.stdout.buffer.write(pickle.dumps({n: answers[n](e) for n, (_, e) in files.items()}))"
    )
    answers = pickle.loads(
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "files.pickle")], capture_output=True, check=True
        ).stdout
    )

    ours = {name: zoo.answer(one.model, one.example) for name, one in fitted.items()}

    first = {n: a.get("predict", a.get("transform", a.get("score_samples"))) for n, a in ours.items()}
    assert [name for name in first if not same(first[name], answers[name])] == []


def test_members_are_numbered_and_dated_alike(model: zoo.Fitted) -> None:
    """The archive names its members 0, 1, 2 … and dates them 1980, with the schema last."""
    archive = zipfile.ZipFile(io.BytesIO(written(model.model)))

    members = archive.infolist()

    assert [m.filename.partition(".")[0] for m in members] == [*map(str, range(len(members) - 1)), "schema"]
    assert {m.date_time for m in members} == {(1980, 1, 1, 0, 0, 0)}


def test_plain_skops_reads_the_canonical_form(model: zoo.Fitted) -> None:
    """What Bodega writes is an ordinary skops file."""
    loaded = skops.io.loads(written(model.model), trusted=["sklearn.tree._tree.Tree"])

    assert same(loaded.predict(model.example), model.model.predict(model.example))


def test_keys_that_look_like_the_formats_own_survive() -> None:
    """A dictionary whose keys are words of the format is not mistaken for a part of it."""
    value = {"__id__": 3, "file": "9.npy", "__loader__": "JsonNode", "content": {"file": [1, 2]}}

    assert read(written(value)) == value


def test_what_was_one_object_stays_one_object() -> None:
    """An array that is used twice is one array after loading, and two equal arrays stay two."""
    array = np.arange(3.0)

    loaded = read(written({"one": array, "same": array, "other": array.copy()}))

    assert loaded["one"] is loaded["same"]
    assert loaded["one"] is not loaded["other"]


def test_joblib_goes_through_the_same_narrow_door(model: zoo.Fitted) -> None:
    """The joblib format too writes to a sink that only takes bytes, and loads where the policy allows it."""
    loaded = read(written(model.model, "joblib"), "joblib")

    assert same(loaded.predict(model.example), model.model.predict(model.example))


def test_a_sealed_memfd_can_be_loaded(model: zoo.Fitted) -> None:
    """A model loads from private memory that nobody can change any more."""
    if not hasattr(os, "memfd_create"):
        pytest.skip("memfd is Linux's")
    fd = os.memfd_create("model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(fd, "r+b") as file:
        file.write(written(model.model))
        file.flush()
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        file.seek(0)

        loaded = codecs.load(file, "skops", Policy())

    assert same(loaded.predict(model.example), model.model.predict(model.example))


def test_a_full_disk_is_not_called_a_fault_of_the_model(model: zoo.Fitted) -> None:
    """An error of the disk passes through as it is."""

    class Full(Sink):
        def write(self, piece: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        codecs.dump(model.model, "skops", Full())  # type: ignore[arg-type]


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_type_is_trusted_without_need() -> None:
    """Every reviewed type is asked for by a specimen, or by one of many alike, and no specimen asks for more."""
    models = (*(s.build().model for s in zoo.SPECIMENS), *(s.model for s in SIBLINGS))
    asked = {t for model in models for t in skops.io.get_untrusted_types(data=written(model))}

    # Whether skops asks for this one depends on whether it was enabled before skops was imported.
    experimental = {"sklearn.impute._iterative.IterativeImputer"}
    assert asked | experimental == TRUSTED_TYPES | {PARTIAL}


@pytest.mark.parametrize("refused", [r for r in zoo.REFUSED if SerialiseError in r.errors], ids=lambda r: r.name)
def test_what_no_other_process_could_load_is_not_written(refused: zoo.Refused) -> None:
    """A lambda, a class of a notebook and an estimator that skops cannot write are refused at the dump."""
    with pytest.raises(SerialiseError) as caught:
        written(refused.build().model)

    assert refused.word in str(caught.value)


@pytest.mark.parametrize("refused", [r for r in zoo.REFUSED if UntrustedTypeError in r.errors], ids=lambda r: r.name)
def test_what_was_turned_down_in_the_review_is_not_loaded(refused: zoo.Refused) -> None:
    """A type that was reviewed and turned down is refused at the load, with the way out."""
    content = written(refused.build().model)

    with pytest.raises(UntrustedTypeError) as caught:
        read(content)

    assert refused.word in str(caught.value)


def test_a_class_inside_a_function_is_not_written() -> None:
    """A class that only a running function knows is refused at the dump, and named."""

    class Hidden(LogisticRegression):
        pass

    with pytest.raises(SerialiseError, match=r"Hidden, which no other process can import"):
        written(Hidden().fit([[0.0], [1.0]], [0, 1]))


def test_the_settings_can_trust_one_more_type() -> None:
    """A type that the policy names is loaded, also when it was not reviewed."""
    fitted = next(r for r in zoo.REFUSED if r.name == "bisecting-k-means").build()
    content = written(fitted.model)
    with pytest.raises(UntrustedTypeError) as caught:
        read(content)

    loaded = read(content, policy=Policy(trusted_types=frozenset(caught.value.types)))

    assert same(loaded.predict(fitted.example), fitted.model.predict(fitted.example))
