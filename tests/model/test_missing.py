"""Which missing value a signature says: the one that the model's encoders know, or a refusal with the reason."""

import io
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bodega_model.errors import ExampleError
from bodega_model.signature.infer import learn
from bodega_model.signature.inputs import build_input
from bodega_model.signature.outputs import call
from bodega_model.signature.types import Container, Kind, Signature
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, LabelEncoder, OneHotEncoder, OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

pytestmark = pytest.mark.filterwarnings("ignore")


def frame(*values: Any) -> pd.DataFrame:
    """Return forty rows of an object column and a number."""
    return pd.DataFrame({"coupon": pd.Series(list(values) * (40 // len(values)), dtype=object), "n": range(40)})


def bought(X: pd.DataFrame) -> Any:
    """Label the rows: who has no coupon buys, and where all have one, who has the first."""
    gaps = X["coupon"].isna()
    return np.where(gaps if gaps.any() else X["coupon"] == X["coupon"].iloc[0], "bought", "left")


def encoded(X: pd.DataFrame, *steps: Any) -> Any:
    """Fit a pipeline that takes the coupon through these steps; an encoder that ignores what it does not know."""
    steps = steps or (OneHotEncoder(handle_unknown="ignore"),)
    table = make_column_transformer((make_pipeline(*steps), ["coupon"]), remainder="passthrough")
    return make_pipeline(table, LogisticRegression(max_iter=2000)).fit(X, bought(X))


def null_of(model: Any, example: Any) -> str:
    """Return what a signature says that a null in the coupon is."""
    return learn(model, example)[0].column("coupon").null


def answer(model: Any, signature: Signature, null: Any = None) -> Any:
    """Answer for a row without a coupon as the API does."""
    return call(model, "predict", build_input(signature, {"coupon": [null], "n": [2]}))[0]


def as_string_of_pyarrow(X: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with texts that pyarrow holds; pyarrow belongs to the other members."""
    pytest.importorskip("pyarrow")
    return X.astype({"coupon": "string[pyarrow]"})


EXAMPLES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "the training data": lambda X: X,
    "rows without a gap": lambda X: X.dropna(),
    "rows without a gap, inferred anew": lambda X: X.dropna().infer_objects(),
    "read back from CSV": lambda X: pd.read_csv(io.StringIO(X.to_csv(index=False))),
    "as str": lambda X: X.astype({"coupon": "str"}),
    "as string": lambda X: X.astype({"coupon": "string"}),
    "as string of pyarrow": as_string_of_pyarrow,
    "as category": lambda X: X.astype({"coupon": "category"}),
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
@pytest.mark.parametrize(("missing", "null"), [(None, "none"), (np.nan, "nan")])
def test_a_null_is_what_the_encoder_knows_whatever_the_example_has(
    missing: Any, null: str, example: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    """An example without a gap, or one that writes gaps otherwise, changes nothing in what the encoder learned."""
    X = frame("a", "b", missing, missing)
    model = encoded(X)
    signature, golden = learn(model, example(X))

    coupon = signature.column("coupon")
    assert (coupon.null, coupon.nullable, coupon.null_is_unknown) == (null, True, False)
    assert answer(model, signature) == "bought"
    gaps = [value is None for value in golden.inputs["coupon"]]
    assert golden.outputs["predict"] == ["bought" if gap else "left" for gap in gaps]


@pytest.mark.parametrize("missing", [None, np.nan])
@pytest.mark.parametrize("values", [(True, False), (1, 2), (1.5, 2.5)], ids=["booleans", "integers", "numbers"])
def test_columns_of_objects_that_are_no_text_have_their_missing_value_too(
    values: tuple[Any, Any], missing: Any
) -> None:
    """Pandas makes an object column of booleans with a gap by itself."""
    X = frame(*values, missing, missing)
    model = encoded(X)

    for example in (X, X.dropna()):
        signature, _ = learn(model, example)
        assert answer(model, signature) == "bought"


def test_an_array_of_objects_has_its_missing_value_too() -> None:
    """What a model was fitted on need not be a frame."""
    rows = frame("a", "b", None, None)[["coupon"]].to_numpy(dtype=object)
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    model.fit(rows, [value is None for value in rows[:, 0]])

    for example in (rows, rows[:2], rows[:2].astype(str)):
        signature, _ = learn(model, example)

        assert (signature.container, signature.columns[0].null) == (Container.ARRAY, "none")
        assert call(model, "predict", build_input(signature, {"x0": [None, "a", None]})) == [True, False, True]


IMPUTERS = [
    (SimpleImputer(strategy="most_frequent"), "nan"),
    (SimpleImputer(missing_values=None, strategy="most_frequent"), "none"),
    (SimpleImputer(missing_values=pd.NA, strategy="most_frequent"), "nan"),
]


@pytest.mark.parametrize(("imputer", "null"), IMPUTERS)
def test_an_imputer_says_what_it_fills_in_where_no_encoder_knows_a_gap(imputer: Any, null: str) -> None:
    """A value that the imputer passes on would reach the encoder as an unknown one."""
    model = encoded(frame("a", "b"), imputer, OneHotEncoder(handle_unknown="ignore"))

    column = learn(model, frame("a", "b"))[0].column("coupon")

    assert (column.null, column.null_is_unknown) == (null, False)


def test_an_encoder_behind_an_imputer_says_what_the_imputer_let_pass() -> None:
    """An imputer of NaN leaves None alone, and the encoder learned it."""
    X = frame("a", "b", "a", None)
    model = encoded(X, SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))

    assert null_of(model, X.dropna()) == "none"


def test_what_an_encoder_does_not_know_is_said_to_be_unknown() -> None:
    """A gap that no encoder saw is answered as any unknown value; one that is filled in or known is not."""
    known, filled = frame("a", "b", None, None), frame("a", "b")
    ignoring = OneHotEncoder(handle_unknown="ignore")

    assert learn(encoded(filled), filled)[0].column("coupon").null_is_unknown
    assert not learn(encoded(known), known)[0].column("coupon").null_is_unknown
    assert (
        not learn(encoded(filled, SimpleImputer(strategy="most_frequent"), ignoring), filled)[0]
        .columns[0]
        .null_is_unknown
    )
    assert not learn(encoded(filled, OneHotEncoder()), filled)[0].column("coupon").nullable


# --- refused ---------------------------------------------------------------------------------------------


def test_an_encoder_that_knows_two_missing_values_is_refused_and_told_what_to_do() -> None:
    """A null can only be one of them, and each has an answer of its own; written in one way all is well."""
    X = frame("a", None, np.nan, "b")
    model = encoded(X)

    for example in (X, X.dropna(), X[X["coupon"].map(lambda value: value is not None)]):
        with pytest.raises(ExampleError) as caught:
            learn(model, example)
        assert "'coupon'" in str(caught.value)
        assert "NaN and None" in str(caught.value)

    assert "X['coupon'] = X['coupon'].where(X['coupon'].notna(), None)" in caught.value.advice
    X["coupon"] = X["coupon"].where(X["coupon"].notna(), None)
    model = encoded(X)
    assert answer(model, learn(model, X)[0]) == "bought"


def test_two_parts_that_know_different_missing_values_are_refused() -> None:
    """Models that were fitted apart need not have seen the same data."""
    parts = [("a", encoded(frame("a", "b", None, None))), ("b", encoded(frame("a", "b", np.nan, np.nan)))]
    voting = VotingClassifier([(name, FrozenEstimator(part)) for name, part in parts], voting="soft")
    X = frame("a", "b", None, None)
    voting.fit(X, bought(X))

    with pytest.raises(ExampleError, match="knows two missing values in column 'coupon', NaN and None"):
        learn(voting, X)


def test_an_example_with_two_missing_values_is_refused_where_they_matter() -> None:
    """A model that makes the same of both takes both; one that knows one of them does not."""
    both = frame("a", None, np.nan, "b")

    with pytest.raises(ExampleError, match="of the example holds NaN and None"):
        learn(encoded(frame("a", "b", None, None)), both)
    assert learn(encoded(frame("a", "b")), both)[0].column("coupon").nullable


def is_none(X: pd.DataFrame) -> pd.DataFrame:
    """Tell None from all else, as a function of one's own may."""
    return X.map(lambda value: float(value is None))


def test_a_function_that_tells_them_apart_is_refused_unless_the_example_says_which() -> None:
    """Nothing can be read from a function; the advice is to show a gap, and that is enough."""
    X = frame("a", "b", None, None)
    model = encoded(X, FunctionTransformer(is_none))

    for example in (X.dropna(), X.dropna().infer_objects()):
        with pytest.raises(ExampleError, match="neither its encoders nor the example tell") as caught:
            learn(model, example)
    assert "Pass an example with a missing value in this column" in caught.value.advice
    assert answer(model, learn(model, X)[0]) == "bought"


# --- what asking costs, and leaves -----------------------------------------------------------------------


class Counted(BaseEstimator):
    """A model that counts how often it is asked, for how many rows."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.calls: list[int] = []

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: Any) -> Any:
        """Answer as the model does."""
        self.calls.append(len(X))
        return self.model.predict(X)


def test_a_wide_table_is_asked_in_few_predictions_and_settled_all_the_same() -> None:
    """Columns are asked together, also those that an encoder refuses; what is too much is read from the encoders."""
    wide = pd.DataFrame(
        {f"c{place}": pd.Series(["a", "b", None if place % 2 else "a"] * 4, dtype=object) for place in range(100)}
    )
    labels = LabelEncoder().fit_transform(wide["c1"].isna())
    model = make_pipeline(OneHotEncoder(), DecisionTreeClassifier()).fit(wide, labels)
    counted = Counted(model)

    signature, _ = learn(counted, wide.dropna())

    assert [column.null for column in signature.columns] == ["nan", "none"] * 50
    assert [column.nullable for column in signature.columns] == [False, True] * 50
    assert len(counted.calls) < 60
    very_wide = pd.concat([wide.add_prefix(f"{copy}-") for copy in range(6)], axis=1)
    model = make_pipeline(OneHotEncoder(), DecisionTreeClassifier()).fit(very_wide, labels)
    assert [column.null for column in learn(model, very_wide)[0].columns] == ["nan", "none"] * 300


def test_a_model_is_left_as_it_was() -> None:
    """Parts that were watched answer by their own methods afterwards, also where the registration is refused."""
    X = frame("a", None, np.nan, "b")
    encoder = OneHotEncoder(handle_unknown="ignore")
    with pytest.raises(ExampleError):
        learn(encoded(X, encoder), X)
    model = encoded(frame("a", "b"), SimpleImputer(strategy="most_frequent"), OrdinalEncoder())
    learn(model, frame("a", "b"))

    inner = model.named_steps["columntransformer"].named_transformers_["pipeline"]
    assert all("transform" not in vars(step) for _, step in inner.steps)


def test_a_signature_from_before_means_what_it_meant() -> None:
    """Versions that were registered earlier say nothing of unknown nulls, and keep their missing value."""
    X = frame("a", "b", None, None)
    signature, _ = learn(encoded(X), X)
    stored = signature.to_dict()
    for column in stored["columns"]:
        del column["null_is_unknown"]
    stored["columns"][0]["null"] = "nan"

    column = Signature.from_dict(stored).columns[0]

    assert (column.kind, column.null, column.null_is_unknown) == (Kind.CATEGORY, "nan", False)


def test_a_model_is_not_changed_while_its_parts_are_watched() -> None:
    """While another thread learns about a model it holds nothing new, and can be written and asked."""
    X = frame("a", "b", None, None)
    model = encoded(X, SimpleImputer(missing_values=None, strategy="constant", fill_value="?"), OneHotEncoder())
    before = pickle.dumps(model)
    changed = []
    with ThreadPoolExecutor(4) as threads:
        learning = [threads.submit(learn, model, X) for _ in range(4)]
        while not all(each.done() for each in learning):
            changed += [True] if pickle.dumps(model) != before else []
    signatures = [each.result()[0] for each in learning]

    assert not changed
    assert [signature == signatures[0] for signature in signatures] == [True] * 4
