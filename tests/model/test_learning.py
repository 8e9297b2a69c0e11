"""What is learned from a model and its example, and what is refused because nothing sound could be learned."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from bodega_model.errors import BodegaError, ExampleError, NotFittedError, RegistrationError
from bodega_model.signature.infer import learn
from bodega_model.signature.types import Container, Kind, Signature
from penguins import NUMBERS, WORDS, classifier, data, example
from sklearn.base import BaseEstimator
from sklearn.cluster import DBSCAN
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, MinMaxScaler, OneHotEncoder, StandardScaler

X = np.arange(20.0).reshape(10, 2)


class ListModel(BaseEstimator):
    """A model whose predict answers a plain list, as hand-written ones do."""

    def fit(self, X: Any, y: Any = None) -> "ListModel":
        """Learn how many columns there are."""
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X: Any) -> list[float]:
        """Return the first column."""
        return [float(row[0]) for row in X]


def linear() -> LinearRegression:
    """Return a fitted line."""
    return LinearRegression().fit(X, X[:, 0])


def test_a_signature_knows_columns_and_outputs() -> None:
    """Kinds, nullability, categories and ranges of the columns; kinds, shapes and classes of the outputs."""
    signature, golden = learn(classifier(), example())

    island, bill = signature.column("island"), signature.column("bill_length_mm")
    assert [column.name for column in signature.columns] == NUMBERS + WORDS
    assert (island.kind, island.categories, island.accepts_unknown) == (
        Kind.CATEGORY,
        ("Biscoe", "Dream", "Torgersen"),
        True,
    )
    assert (bill.kind, bill.nullable, bill.minimum, bill.maximum) == (Kind.NUMBER, True, 32.1, 59.6)
    assert signature.outputs["predict"].classes == ("Adelie", "Chinstrap", "Gentoo")
    assert signature.outputs["predict_proba"].shape == (3,)
    assert golden.rows == 20
    assert signature == Signature.from_dict(signature.to_dict())


def test_the_pipeline_decides_what_may_be_missing_or_unknown() -> None:
    """A column that the model cannot take a null in is not nullable, whatever its neighbours are."""
    frame, species = data()
    whole = frame.dropna()
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="error"), ["island"]), (OneHotEncoder(handle_unknown="ignore"), ["sex"]),
        ("passthrough", NUMBERS),
    )  # fmt: skip
    model = make_pipeline(columns, LogisticRegression(max_iter=5000)).fit(whole, species[whole.index])

    signature, _ = learn(model, whole)

    nullable = {column.name for column in signature.columns if column.nullable}
    assert nullable == {"sex"}
    assert signature.column("island").accepts_unknown is False
    assert signature.column("sex").accepts_unknown is True


def test_arrays_and_texts_have_names_too() -> None:
    """Columns of an array are x0, x1, …; a list of texts is one column."""
    texts = ["good", "bad", "fine", "awful"]
    words = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0])

    of_array, _ = learn(linear(), X)
    of_texts, _ = learn(words, texts)

    assert (of_array.container, [column.name for column in of_array.columns]) == (Container.ARRAY, ["x0", "x1"])
    assert (of_texts.container, [column.name for column in of_texts.columns]) == (Container.TEXTS, ["text"])


def test_an_array_for_a_model_fitted_on_a_frame_takes_its_names() -> None:
    """Columns are named as the model knows them."""
    frame = pd.DataFrame(X, columns=["width", "height"])

    signature, _ = learn(LinearRegression().fit(frame, X[:, 0]), X)

    assert (signature.container, [column.name for column in signature.columns]) == ("dataframe", ["width", "height"])


def test_a_predict_that_answers_a_list_is_understood() -> None:
    """One number for each row, in whatever container."""
    signature, golden = learn(ListModel().fit(X), X)

    assert signature.outputs["predict"].kind is Kind.NUMBER
    assert golden.outputs["predict"] == X[:, 0].tolist()


@pytest.mark.parametrize("as_frame", [False, True])
@pytest.mark.parametrize(
    "step", [StandardScaler(copy=False), MinMaxScaler(copy=False), Binarizer(threshold=5, copy=False)], ids=repr
)
def test_a_step_that_works_in_place_is_learned(step: Any, as_frame: bool) -> None:
    """Each output is asked with rows that no other one has changed, and the example stays what it was."""
    numbers = np.random.default_rng(0).normal(5, 1, size=(20, 3))
    rows = pd.DataFrame(numbers, columns=["a", "b", "c"]) if as_frame else numbers
    model = make_pipeline(step, LogisticRegression()).fit(rows.copy(), numbers[:, 0] > 5)
    given = rows.copy()

    _, golden = learn(model, given)

    assert golden.rows == len(rows)
    assert np.array_equal(given, rows)
    assert golden.outputs["predict_proba"] == model.predict_proba(rows.copy()).tolist()
    assert golden.outputs["predict"] == model.predict(rows.copy()).tolist()


def test_a_vectorizer_that_reads_files_is_refused() -> None:
    """Or a client could have the server read any file, by its name."""
    reader = make_pipeline(CountVectorizer(input="filename"), LogisticRegression())
    reader.steps[0][1].set_params(input="content")
    reader.fit(["good words", "bad words"], [0, 1])
    reader.steps[0][1].set_params(input="filename")

    with pytest.raises(RegistrationError, match="reads files"):
        learn(reader, ["/etc/hostname", "/etc/hosts"])


REFUSED: dict[str, tuple[Any, Any, type[BodegaError], str]] = {
    "unfitted": (LinearRegression(), X, NotFittedError, "fit"),
    "a class": (LinearRegression, X, RegistrationError, "class"),
    "no model": (object(), X, RegistrationError, "predict"),
    "no rows": (linear(), X[:0], ExampleError, "no rows"),
    "three dimensions": (linear(), X.reshape(5, 2, 2), ExampleError, "dimensions"),
    "one dimension": (linear(), X[0], ExampleError, "one-dimensional"),
    "dictionaries": (linear(), [{"x": 1}], ExampleError, "no dictionaries"),
    "outliers of the training": (LocalOutlierFactor(2).fit(X), X, RegistrationError, "novelty=True"),
    "clusters of the training": (DBSCAN().fit(X), X, RegistrationError, "cannot answer for new rows"),
    "ragged": (linear(), [[1.0], [1.0, 2.0]], ExampleError, "lengths"),
    "a number": (linear(), 3.0, ExampleError, "float"),
    "a dict": (linear(), {"x": [1]}, ExampleError, "dict"),
    "too few columns": (linear(), X[:, :1], ExampleError, "features"),
    "infinity": (linear(), pd.DataFrame({"x0": [np.inf], "x1": [1.0]}), ExampleError, "infinity"),
    "columns twice": (linear(), pd.DataFrame(X, columns=["a", "a"]), ExampleError, "twice"),
    "mixed types": (linear(), pd.DataFrame({"a": [1, "x"], "b": [1, 2]}, dtype=object), ExampleError, "mixes"),
    "timedeltas": (linear(), pd.DataFrame({"a": pd.to_timedelta([1]), "b": [1]}), ExampleError, "dtype"),
}  # fmt: skip


def test_an_outlier_factor_with_novelty_answers_for_new_rows() -> None:
    """What is advised for a LocalOutlierFactor without predict gives it one."""
    signature, _ = learn(LocalOutlierFactor(2, novelty=True).fit(X), X)

    assert signature.default_output == "predict"


def test_a_table_of_another_library_is_told_how_to_become_one_of_pandas() -> None:
    """A table of Arrow is refused, and `to_pandas` named."""
    table = pytest.importorskip("pyarrow").table({"x0": [1.0], "x1": [1.0]})

    with pytest.raises(ExampleError, match=r"pyarrow\.Table .*pandas\n.*to_pandas"):
        learn(linear(), table)


@pytest.mark.parametrize(("model", "rows", "error", "word"), REFUSED.values(), ids=REFUSED)
def test_what_teaches_nothing_is_refused(model: Any, rows: Any, error: type[BodegaError], word: str) -> None:
    """The error says what is wrong with the model or the example."""
    with pytest.raises(error, match=word):
        learn(model, rows)
