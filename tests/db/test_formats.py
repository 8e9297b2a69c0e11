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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io
import zoo
from bodega_db import formats
from bodega_db.errors import DeserialiseError, FormatNotAllowedError, SerialiseError, SettingsError, UntrustedTypeError
from bodega_db.formats import Policy
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_db.trusted import PARTIAL, TRUSTED_TYPES
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

pytestmark = pytest.mark.slow  # every model of the zoo, several times over
BOTH = Policy(formats=frozenset({"skops", "joblib"}))
HERE = Path(__file__).resolve()

every_specimen = pytest.mark.parametrize("specimen", zoo.SPECIMENS, ids=lambda s: s.name)


class Sink:
    """Takes bytes and gives nothing back: no seek, no tell, no read, as a writer that hashes what passes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, piece: Any) -> int:
        """Keep the bytes."""
        self.pieces.append(bytes(piece))
        return len(self.pieces[-1])

    def flush(self) -> None:
        """Do nothing: all is kept already."""


def written(model: Any, fmt: str = "skops") -> bytes:
    """Return the bytes of the model in the format."""
    sink = Sink()
    formats.dump(model, fmt, sink)  # type: ignore[arg-type]
    return b"".join(sink.pieces)


def read(content: bytes, fmt: str = "skops", policy: Policy = BOTH) -> Any:
    """Return the model that the bytes hold."""
    return formats.load(io.BytesIO(content), fmt, policy)


def same(one: Any, two: Any) -> bool:
    """Tell whether two answers are equal bit for bit, of one type and dtype."""
    if isinstance(one, list):
        return isinstance(two, list) and all(map(same, one, two))
    if isinstance(one, pd.DataFrame):
        return isinstance(two, pd.DataFrame) and one.equals(two)
    if sparse.issparse(one):
        one, two = one.toarray(), two.toarray()
    return one.dtype == two.dtype and np.array_equal(one, two)


@pytest.fixture(scope="module")
def model() -> Any:
    """A small fitted model, for the tests that need any."""
    return next(s for s in zoo.SPECIMENS if s.name == "forest").build()


# --- what is written -------------------------------------------------------------------------------------


def test_the_zoo_is_large_and_its_names_are_unique() -> None:
    """The zoo holds at least 48 models, each with a name of its own."""
    names = {s.name for s in zoo.SPECIMENS}

    assert len(names) == len(zoo.SPECIMENS) >= 48


@every_specimen
def test_a_model_answers_bit_for_bit_as_before(specimen: zoo.Specimen) -> None:
    """A model that is dumped as skops and loaded answers its example exactly as before, with every method it has."""
    fitted = specimen.build()
    before = zoo.answer(fitted.model, fitted.example)

    after = zoo.answer(read(written(fitted.model)), fitted.example)

    assert before
    assert before.keys() == after.keys()
    assert [name for name in before if not same(before[name], after[name])] == []


@every_specimen
def test_two_dumps_of_a_model_are_equal(specimen: zoo.Specimen) -> None:
    """The same model gives the same bytes, although skops itself gives others each time."""
    model = specimen.build().model

    assert written(model) == written(model)


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


def test_a_process_that_knows_only_the_formats_loads_every_model(tmp_path: Path) -> None:
    """A process that imported nothing of a model's libraries, as a server is, loads it and answers the same."""
    fitted = {s.name: s.build() for s in zoo.SPECIMENS}
    files = {name: (written(one.model), one.example) for name, one in fitted.items()}
    (tmp_path / "files.pickle").write_bytes(pickle.dumps(files))
    program = (
        "import io, pathlib, pickle, sys; from bodega_db import formats; "
        "files = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()); "
        "models = {n: formats.load(io.BytesIO(c), 'skops', formats.Policy()) for n, (c, _) in files.items()}; "
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

        loaded = formats.load(file, "skops", Policy())

    assert same(loaded.predict(model.example), model.model.predict(model.example))


def test_a_full_disk_is_not_called_a_fault_of_the_model(model: zoo.Fitted) -> None:
    """An error of the disk passes through as it is."""

    class Full(Sink):
        def write(self, piece: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        formats.dump(model.model, "skops", Full())  # type: ignore[arg-type]


# --- what is refused -------------------------------------------------------------------------------------


def test_no_type_is_trusted_without_need() -> None:
    """Every reviewed type is asked for by a specimen, and no specimen asks for more."""
    asked = {t for s in zoo.SPECIMENS for t in skops.io.get_untrusted_types(data=written(s.build().model))}

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


def test_the_policy_comes_from_the_settings(tmp_path: Path) -> None:
    """What a deployment set is what may be loaded."""
    settings = Settings(
        database_url="postgresql://nobody@localhost/none",  # type: ignore[arg-type]
        models=tmp_path,
        formats=frozenset({"joblib"}),
        trusted_types=frozenset({"my.Type"}),
    )

    policy = Policy.of(settings)

    assert policy == Policy(frozenset({"joblib"}), frozenset({"my.Type"}))


def test_joblib_is_refused_before_the_file_is_touched() -> None:
    """Where the policy allows only skops, a joblib file is not even read."""
    closed = io.BytesIO()
    closed.close()

    with pytest.raises(FormatNotAllowedError, match="does not load joblib, only skops"):
        formats.load(closed, "joblib", Policy())


@pytest.mark.parametrize("act", [lambda: written(1, "onnx"), lambda: read(b"", "onnx")], ids=["dump", "load"])
def test_a_format_that_does_not_exist_is_named(act: Callable[[], Any]) -> None:
    """An unknown format is refused with the list of those there are."""
    with pytest.raises(FormatNotAllowedError, match="no format 'onnx'; there are skops, joblib"):
        act()


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda content: b"", "BadZipFile"),
        (lambda content: b"not a model", "BadZipFile"),
        (lambda content: content[: len(content) // 2], "BadZipFile"),
        (lambda content: crafted({"__class__": "dict"}), "KeyError"),
        (lambda content: crafted(7), "AttributeError"),
        (lambda content: archive("[" * 100_000), "RecursionError"),
        (
            lambda content: crafted(node("JsonNode", "builtins", "str", content="1"), protocol=99),
            "ValueError",
        ),
        (
            lambda content: crafted(node("NdArrayNode", "numpy", "ndarray", type="numpy", file="0.npy")),
            "KeyError",
        ),
    ],
    ids=["empty", "text", "half", "no-loader", "no-tree", "too-deep", "newer-skops", "missing-member"],
)
def test_a_broken_file_is_an_error_that_names_the_cause(model: zoo.Fitted, damage: Any, cause: str) -> None:
    """Whatever fails in the loader comes out as one error with the original's name."""
    with pytest.raises(DeserialiseError, match=cause) as caught:
        read(damage(written(model.model)))

    assert len(caught.value.message) < 300


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04N"], ids=["empty", "text", "half"])
def test_a_broken_joblib_file_is_the_same_error(content: bytes) -> None:
    """The joblib loader's failures come out as the same error."""
    with pytest.raises(DeserialiseError, match="joblib file could not be turned into a model"):
        read(content, "joblib")


# --- crafted files ---------------------------------------------------------------------------------------


def node(loader: str, module: str, name: str, **rest: Any) -> dict[str, Any]:
    """Return one node of a skops schema."""
    return {"__class__": name, "__module__": module, "__loader__": loader, **rest}


def text(value: str) -> dict[str, Any]:
    """Return the node of a string."""
    return node("JsonNode", "builtins", "str", content=json.dumps(value))


def several(kind: str, *items: Any) -> dict[str, Any]:
    """Return the node of a list or a tuple."""
    return node(f"{kind.title()}Node", "builtins", kind, content=list(items))


def dictionary(**items: Any) -> dict[str, Any]:
    """Return the node of a dictionary with text keys."""
    keys = several("list", *[node("TypeNode", "builtins", "str") for _ in items])
    return node("DictNode", "builtins", "dict", content=items, key_types=keys)


def partial(func: dict[str, Any], *args: Any) -> dict[str, Any]:
    """Return the node of a functools.partial."""
    nothing = node("JsonNode", "builtins", "str", content="null")
    content = {"func": func, "args": several("tuple", *args), "kwds": dictionary(), "namespace": nothing}
    return node("PartialNode", "functools", "partial", content=content)


def crafted(schema: Any, protocol: int = 2) -> bytes:
    """Return a skops file with the schema and nothing else."""
    if isinstance(schema, dict):
        schema |= {"protocol": protocol, "_skops_version": "0.16.0"}
    return archive(json.dumps(schema))


def archive(schema: str) -> bytes:
    """Return a zip file that holds the text as its schema."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("schema.json", schema)
    return buffer.getvalue()


def calling(module: str, name: str, *args: dict[str, Any]) -> dict[str, Any]:
    """Return a node that calls the function with the arguments while it is constructed."""
    return node("ConstructorFromReduceNode", module, name, content=several("tuple", *args))


def touching(path: Path) -> dict[str, dict[str, Any]]:
    """Return, by what it asks for, nodes of which each would create the file if it were constructed."""
    command = text(f"touch {path}")
    python = text(f"open({str(path)!r}, 'w').close()")
    argv = several("list", text("touch"), text(str(path)))
    return {
        "os.system": calling("os", "system", command),
        "posix.system": calling("posix", "system", command),
        "builtins.eval": calling("builtins", "eval", python),
        "builtins.exec": calling("builtins", "exec", python),
        "subprocess.Popen": calling("subprocess", "Popen", argv),
        "subprocess.check_call": calling("subprocess", "check_call", argv),
    }


def holding(evil: dict[str, Any]) -> dict[str, Any]:
    """Return a fitted-looking FunctionTransformer that holds the node as its function."""
    attributes = dictionary(func=evil, kw_args=dictionary(), _sklearn_version=text(sklearn.__version__))
    return node("ObjectNode", "sklearn.preprocessing._function_transformer", "FunctionTransformer", content=attributes)


@pytest.mark.parametrize("wrap", [lambda n: n, holding, lambda n: several("list", n)], ids=["bare", "held", "listed"])
@pytest.mark.parametrize("name", sorted(touching(Path())))
def test_a_crafted_file_is_refused_before_it_can_act(tmp_path: Path, name: str, wrap: Any) -> None:
    """A file that names a function which runs code is refused by name, and the function was not called."""
    canary = tmp_path / "canary"

    with pytest.raises(UntrustedTypeError) as caught:
        read(crafted(wrap(touching(canary)[name])))

    assert caught.value.types == (name,)
    assert name in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["os.system", "builtins.exec", "subprocess.check_call"])
def test_the_crafted_files_are_dangerous_indeed(tmp_path: Path, name: str) -> None:
    """The same file does run its code where somebody trusts the name: the refusal is all that stands between."""
    canary = tmp_path / "canary"

    read(crafted(touching(canary)[name]), policy=Policy(trusted_types=frozenset({name})))

    assert canary.exists()


@pytest.mark.parametrize(
    ("evil", "name"),
    [
        (node("FunctionNode", "os", "system"), "os.system"),
        (node("TypeNode", "builtins", "eval"), "builtins.eval"),
        (node("TypeNode", "subprocess", "Popen"), "subprocess.Popen"),
        (node("ObjectNode", "subprocess", "Popen"), "subprocess.Popen"),
        (
            node("OperatorFuncNode", "operator", "methodcaller", attrs=several("tuple", text("f"))),
            "operator.methodcaller",
        ),
        (partial(node("FunctionNode", "os", "system"), text("true")), "functools.partial"),
        (partial(node("FunctionNode", "numpy", "log1p")), "functools.partial"),
        (several("list", node("TypeNode", "functools", "partial")), "functools.partial"),
        (
            calling("functools", "partial", node("FunctionNode", "sklearn.utils.validation", "check_array")),
            "functools.partial",
        ),
        (node("ObjectNode", "__main__", "Shift"), "__main__.Shift"),
        (node("ObjectNode", "somewhere.else", "Shift"), "somewhere.else.Shift"),
        (
            node(
                "RandomGeneratorNode",
                "numpy.random",
                "Generator",
                content={"bit_generator": dictionary(bit_generator=text("seed")), "seed_seq": dictionary()},
            ),
            "numpy.random.seed",
        ),
    ],
)
def test_every_way_to_name_a_type_is_audited(evil: dict[str, Any], name: str) -> None:
    """Whichever loader a crafted file chooses, the type is refused by its name."""
    with pytest.raises(UntrustedTypeError) as caught:
        read(crafted(holding(evil)))

    assert name in caught.value.types


def test_a_reviewed_partial_does_not_open_the_door_to_others() -> None:
    """functools.partial around check_array is loaded; one more partial around something else refuses the file."""
    reviewed = partial(node("FunctionNode", "sklearn.utils.validation", "check_array"))
    other = partial(node("FunctionNode", "numpy", "add"))

    loaded = read(crafted(holding(reviewed)))

    assert isinstance(loaded, FunctionTransformer)
    with pytest.raises(UntrustedTypeError, match=r"functools\.partial"):
        read(crafted(several("list", holding(reviewed), holding(other))))


def test_a_partial_cannot_borrow_the_name_of_a_reviewed_function() -> None:
    """A node that carries the id of another one stands for that one: its own name counts for nothing."""
    add = node("FunctionNode", "numpy", "add", __id__=1)
    borrowed = partial(node("FunctionNode", "sklearn.utils.validation", "check_array", __id__=1))

    with pytest.raises(UntrustedTypeError, match=r"functools\.partial"):
        read(crafted(several("list", add, borrowed)))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        (("__main__", "Shift"), "defined in a notebook"),
        (("subprocess", "Popen"), "Python's own"),
        (("my_package.parts", "Shift"), "BODEGA_TRUSTED_TYPES='[\"my_package.parts.Shift\"]'"),
        (("sklearn.metrics._scorer", "_Scorer"), "best_estimator_"),
    ],
)
def test_the_refusal_says_what_to_do_next(name: tuple[str, str], advice: str) -> None:
    """Each kind of type gets the advice that helps."""
    with pytest.raises(UntrustedTypeError) as caught:
        read(crafted(node("ObjectNode", *name)))

    assert advice in str(caught.value)


@pytest.mark.parametrize("database_url", ["postgresql://host:port/db", "postgresql://[::1/db", "nonsense"])
def test_a_database_url_that_is_none_is_a_setting_that_is_wrong(tmp_path: Path, database_url: str) -> None:
    """Whatever is wrong with it, the message names the variable, and never the URL, which may hold a password."""
    with pytest.raises(SettingsError, match="BODEGA_DATABASE_URL is not a database URL"):
        ModelStore.connect(Settings.read(database_url=database_url, models=tmp_path))


def test_a_list_that_is_no_json_is_a_setting_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message shows how a list is written."""
    monkeypatch.setenv("BODEGA_FORMATS", "skops")

    with pytest.raises(SettingsError, match="not written as JSON"):
        Settings.read(database_url="postgresql://host/db", models=tmp_path)
