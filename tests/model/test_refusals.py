"""Files that are refused before anything is constructed: formats, broken ones, types that nobody reviewed."""

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import narwhals
import numpy as np
import pandas as pd
import pytest
import sklearn
from bodega_model.errors import (
    ArchiveError,
    DeserialiseError,
    FormatNotAllowedError,
    SerialiseError,
    UntrustedTypeError,
)
from bodega_model.formats import codecs
from bodega_model.formats.policy import Policy
from bodega_model.formats.trusted_types import advise
from fitting import fit_tree
from model_files import read, written
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler


def test_joblib_is_refused_before_the_file_is_touched() -> None:
    """Where the policy allows only skops, a joblib file is not even read."""
    closed = io.BytesIO()
    closed.close()

    with pytest.raises(FormatNotAllowedError, match="does not load joblib, only skops"):
        codecs.load(closed, "joblib", Policy())


def test_a_review_constructs_nothing_and_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """It refuses what a load would refuse of its format, archive and types, and lets pass what a load would."""
    canary = tmp_path / "canary"
    file = io.BytesIO(crafted(touching(canary)["os.system"]))
    file.seek(5)

    with pytest.raises(UntrustedTypeError, match=r"os\.system"):
        codecs.review(file, "skops", Policy())
    codecs.review(file, "skops", Policy(trusted_types=frozenset({"os.system"})))
    with pytest.raises(ArchiveError, match="would inflate"):
        codecs.review(file, "skops", Policy(max_model_bytes=10))
    with pytest.raises(FormatNotAllowedError):
        codecs.review(file, "joblib", Policy())
    assert not canary.exists()


def test_a_pickle_is_measured_by_its_file() -> None:
    """As much may be allowed as it has; it is not read, and is as it was."""
    file = io.BytesIO(b"x" * 100)
    file.seek(3)
    joblib = frozenset({"joblib"})

    assert codecs.measure(file, "joblib", Policy(joblib, max_model_bytes=100)) == 100
    assert file.tell() == 0
    codecs.review(file, "joblib", Policy(joblib))
    with pytest.raises(ArchiveError, match="The file has 100 bytes, and 99 are allowed"):
        codecs.measure(file, "joblib", Policy(joblib, max_model_bytes=99))
    with pytest.raises(FormatNotAllowedError):
        codecs.measure(file, "joblib", Policy())


def test_a_policy_survives_the_way_to_another_process() -> None:
    """Each of its parts."""
    policy = Policy(frozenset({"joblib"}), frozenset({"my.Type"}), True, 7, 8.5)

    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy


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
def test_a_broken_file_is_an_error_that_names_the_cause(damage: Any, cause: str) -> None:
    """Whatever fails in the loader comes out as one error with the original's name."""
    with pytest.raises(DeserialiseError, match=cause) as caught:
        read(damage(written(fit_tree().model)))

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
        (("sklearn.metrics._scorer", "_Scorer"), "set that attribute to None"),
    ],
)
def test_the_refusal_says_what_to_do_next(name: tuple[str, str], advice: str) -> None:
    """Each kind of type gets the advice that helps."""
    with pytest.raises(UntrustedTypeError) as caught:
        read(crafted(node("ObjectNode", *name)))

    assert advice in str(caught.value)


def test_several_types_are_one_line_of_the_settings() -> None:
    """It names what is trusted already, too: two lines would overwrite each other."""
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    model.kept_ = [narwhals.Schema(), narwhals.Int8()]
    content = written(model)
    trusting = Policy(trusted_types=frozenset({"my.Type"}))

    with pytest.raises(UntrustedTypeError) as caught:
        read(content, policy=trusting)

    line = re.search(r"BODEGA_TRUSTED_TYPES='(.*?)'", caught.value.advice)
    assert line
    assert caught.value.advice.count("BODEGA_TRUSTED_TYPES") == 1
    trusted = frozenset(json.loads(line[1]))
    assert "my.Type" in trusted
    assert f"trusted_types={line[1]}" in caught.value.advice
    assert read(content, policy=Policy(trusted_types=trusted)).predict([[2.0]]) == pytest.approx(2.0)


def test_many_types_are_named_once_and_listed_in_the_lines() -> None:
    """A library's vectorizer has dozens: the sentence counts them, and the lines hold each."""
    names = [f"strange.parts.Part{number}" for number in range(24)]

    (told,) = advise(names, {}, ())

    assert told.startswith("24 types of strange were not reviewed: ")
    assert all(told.count(f'"{name}"') == 2 for name in names)


class Joining(BaseEstimator):  # type: ignore[misc]
    """Keeps a table to join with, as transformers of other libraries do."""

    def __init__(self, table: Any = None) -> None:
        self.table = table

    def fit(self, X: Any, y: Any = None) -> "Joining":
        return self

    def transform(self, X: Any) -> Any:
        return X.merge(self.table, on="key")[["value"]]


def test_a_table_that_a_part_keeps_is_named_and_not_what_is_inside_of_it() -> None:
    """And the rest of the pipeline, which takes rows that went through the step, is written and gives the same."""
    rows = pd.DataFrame({"key": ["a", "b", "a", "b"]})
    joining = Joining(pd.DataFrame({"key": ["a", "b"], "value": [1.0, 2.0]}))
    model = make_pipeline(joining, LinearRegression()).fit(rows, [1.0, 3.0, 1.0, 3.0])

    with pytest.raises(SerialiseError, match=r"because of Joining\.table \(of type DataFrame\)") as caught:
        written(model)

    assert "take the step that needs the table out of the model, and send rows that went through it" in str(
        caught.value
    )
    assert (read(written(model[1:])).predict(joining.transform(rows)) == model.predict(rows)).all()


def test_a_lambda_of_another_library_is_not_told_to_be_moved() -> None:
    """It is not the person's: an option that does without it is what helps. One's own stands beside it as ever."""
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    theirs, mine = (lambda: 0.0), (lambda: 1.0)
    theirs.__module__, mine.__module__ = "narwhals.functions", "__main__"

    def advice(*kept: Any) -> list[str]:
        model.kept_ = list(kept)
        with pytest.raises(SerialiseError, match="<lambda>, which no other process can import") as caught:
            written(model)
        return str(caught.value.advice).splitlines()

    assert [line.strip()[:20] for line in advice(theirs)] == ["What is of narwhals "]
    assert [line.strip()[:12] for line in advice(mine)] == ["Move lambdas"]
    assert len(advice(theirs, mine)) == 2


def test_a_series_that_a_part_keeps_is_named_with_its_place() -> None:
    """And its values as an array are written and loaded."""
    model = make_pipeline(StandardScaler(), LinearRegression()).fit([[0.0], [1.0]], [0.0, 1.0])
    model[0].means_ = pd.Series([1.0, 2.0])

    with pytest.raises(UntrustedTypeError, match=r"pandas\.Series \(in StandardScaler\.means_\) .* to_numpy\(\)"):
        read(written(model))
    model[0].means_ = model[0].means_.to_numpy()
    assert read(written(model))[0].means_.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "wrap", [lambda m: m, lambda m: make_pipeline(StandardScaler(), m)], ids=["alone", "in-a-pipeline"]
)
def test_a_part_that_cannot_be_written_is_named(wrap: Any) -> None:
    """Routed metadata cannot: the part and the reason are named, and the advice gives the same model."""
    weights = np.arange(1.0, 5.0)
    rows, labels = np.arange(4.0).reshape(4, 1), [0, 1, 0, 1]
    with config_context(enable_metadata_routing=True):
        routed = LogisticRegression().set_fit_request(sample_weight=True).fit(rows, labels, sample_weight=weights)
    plain = LogisticRegression().fit(rows, labels, sample_weight=weights)

    with pytest.raises(SerialiseError, match=r"because of LogisticRegression\._metadata_request ") as caught:
        written(wrap(routed))

    assert "metadata routing switched off" in caught.value.advice
    assert read(written(plain)).predict_proba(rows).tolist() == routed.predict_proba(rows).tolist()
