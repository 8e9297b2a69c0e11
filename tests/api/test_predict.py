"""Predicting over HTTP: the forms of a request, the choice of a version, the kinds of values, the shapes of answers."""

import re
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pytest
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_model.signature.infer import learn
from bodega_model.signature.inputs import build_input
from bodega_model.signature.outputs import call
from bodega_model.validation.forms import Columns, Rows
from bodega_model.validation.rows import check_input
from conftest import Api
from gallery import GENTOO, KINDS, Gallery, ask, enter, penguins, plain, problem_of, send, two_labels, weaker_penguins
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from zoo import data

ADELIE = GENTOO | {"island": "Torgersen", "bill_length_mm": 38.0, "flipper_length_mm": 181.0, "body_mass_g": 3500.0}
GAPS = GENTOO | {"sex": None, "bill_depth_mm": None}
KINDS_DTYPES = {
    "year": "int64",
    "small": "uint8",
    "huge": "uint64",
    "ratio": "float32",
    "weight": "float64",
    "heavy": "bool",
    "island": "str",
    "remark": "str",
    "seen": "datetime64[us]",
    "seen_utc": "datetime64[us, UTC]",
    "count": "Int64",
}
# The encoder of the penguins warns at each unknown island; the answer says it too, which is what is looked at.
unknown_island = pytest.mark.filterwarnings("ignore:Found unknown categories:UserWarning")


# --- forms and outputs -------------------------------------------------------------------------------------


def test_rows_are_answered_as_the_model_answers_them(gallery: Gallery) -> None:
    """Rows as objects get exactly the predictions of the fitted model, and the answer names its source."""
    rows = [GENTOO, ADELIE, GAPS]

    answer = gallery.predict(rows, version="1").json()

    assert answer == {
        "model": "penguins",
        "version": 1,
        "sha256": answer["sha256"],
        "chosen": "asked for by number",
        "output": "predict",
        "predictions": plain(penguins().model.predict(pd.DataFrame(rows))),
    }
    detail = gallery.api.client.get("/models/penguins/versions/1").json()
    assert answer["sha256"] == detail["sha256"]


def test_columns_are_answered_like_rows(gallery: Gallery) -> None:
    """The same values as columns, in any order, get the same answer."""
    rows = [GENTOO, ADELIE, GAPS]
    columns = {name: [row[name] for row in rows] for name in reversed(GENTOO)}

    by_columns = ask(gallery.api, {"columns": columns}, model="penguins", output="predict_proba").json()

    assert by_columns == gallery.predict(rows, output="predict_proba").json()


def test_keys_of_a_row_may_come_in_any_order(gallery: Gallery) -> None:
    """A row is an object: its columns find their places by name."""
    shuffled = dict(reversed(GENTOO.items()))

    assert gallery.predict([shuffled]).json() == gallery.predict([GENTOO]).json()


def test_probabilities_come_with_their_classes(gallery: Gallery) -> None:
    """Probabilities are the model's to the last bit, beside the labels they belong to."""
    rows = [GENTOO, ADELIE]

    answer = gallery.predict(rows, version="1", output="predict_proba").json()

    assert answer["classes"] == ["Adelie", "Chinstrap", "Gentoo"]
    assert answer["predictions"] == plain(penguins().model.predict_proba(pd.DataFrame(rows)))


def test_two_targets_are_answered_row_by_row(gallery: Gallery) -> None:
    """A model of two targets answers two labels for each row, and two lists of probabilities with their classes."""
    X = data.two_labels()[0].head(5)
    body = {"columns": {name: X[name].tolist() for name in X}}

    labels = ask(gallery.api, body, model="two-labels").json()
    chances = ask(gallery.api, body, model="two-labels", output="predict_proba").json()

    assert labels["predictions"] == two_labels().model.predict(X).tolist()
    assert chances["predictions"] == plain(two_labels().model.predict_proba(X))
    assert chances["classes"] == [["Adelie", "Chinstrap", "Gentoo"], ["female", "male"]]


def test_a_text_model_takes_one_column_named_text(gallery: Gallery) -> None:
    """A model of texts is asked with the column `text`."""
    lines = data.lines()[0][30:33]

    answer = gallery.predict([{"text": line} for line in lines], "texts").json()

    assert answer["predictions"] == plain(gallery.exhibits["texts"].model.predict(lines))


def test_an_array_model_takes_numbered_columns(gallery: Gallery) -> None:
    """A model that was fitted on a bare array is asked with x0, x1, …, and integers serve as numbers."""
    X = data.wine()[0][:4].round()
    columns = {f"x{place}": [int(value) for value in X[:, place]] for place in range(X.shape[1])}

    answer = ask(gallery.api, {"columns": columns}, model="wine").json()

    assert answer["predictions"] == plain(gallery.exhibits["wine"].model.predict(X))


def test_a_category_column_takes_its_categories(gallery: Gallery) -> None:
    """Text becomes the category dtype that the model was fitted on, nulls included."""
    rows = [GENTOO, ADELIE, GENTOO | {"island": None, "sex": None}]
    frame = pd.DataFrame(rows)
    for name, known in {"island": ["Biscoe", "Dream", "Torgersen"], "sex": ["female", "male"]}.items():
        frame[name] = pd.Categorical(frame[name], categories=known)

    answer = gallery.predict(rows, "categories", output="predict_proba").json()

    assert answer["predictions"] == plain(gallery.exhibits["categories"].model.predict_proba(frame))


def test_a_transformer_answers_with_named_columns(gallery: Gallery) -> None:
    """A model without predict answers its transform, and names the columns of it."""
    row = {name: GENTOO[name] for name in data.NUMBERS}

    answer = gallery.predict([row], "scaler").json()

    assert (answer["output"], answer["columns"]) == ("transform", data.NUMBERS)
    assert answer["predictions"] == plain(gallery.exhibits["scaler"].model.transform(pd.DataFrame([row])))


def test_a_body_without_a_media_type_is_read_as_json(gallery: Gallery) -> None:
    """A request that says nothing of its body, marks it with a BOM, or says some +json, is read as JSON."""
    document = b'{"rows": [{"text": "petal length in cm"}]}'
    answers = [
        gallery.api.client.post("/predict", params={"model": "texts"}, content=document),
        send(gallery.api, b"\xef\xbb\xbf" + document, model="texts"),
        send(gallery.api, document, "application/vnd.bodega+json; charset=utf-8", model="texts"),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 200]


# --- which version answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "number", "why"),
    [
        ("1", 1, "asked for by number"),
        ("002", 2, "asked for by number"),
        ("latest", 2, "the newest version"),
        (None, 2, "none in production: the newest candidate"),
        ("champion", 1, "named by the alias champion"),
        ("best:accuracy", 1, "the highest accuracy: 0.99"),
        ("best:accuracy:max", 1, "the highest accuracy: 0.99"),
        ("best:accuracy:min", 2, "the lowest accuracy: 0.7"),
        ("best:loss:min", 2, "the lowest loss: 0.1"),
    ],
)
def test_the_version_that_was_meant_answers(gallery: Gallery, version: str | None, number: int, why: str) -> None:
    """?version= takes a number, latest, an alias or the best of a metric; a quarantined version is never chosen."""
    chosen = {} if version is None else {"version": version}

    answer = gallery.predict([GENTOO], output="predict_proba", **chosen).json()

    exhibit = penguins() if number == 1 else weaker_penguins()
    assert (answer["version"], answer["chosen"]) == (number, why)
    assert answer["predictions"] == plain(exhibit.model.predict_proba(pd.DataFrame([GENTOO])))


def test_the_production_version_answers_before_newer_candidates(
    store: ModelStore, api: Api, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """With one model in the catalog ?model= may be left out, and its version in production answers."""
    enter(store, "penguins", penguins())
    enter(store, "penguins", weaker_penguins())
    sql_connection.execute("UPDATE version SET status = 'production' WHERE number = 1")

    unnamed = ask(api, {"rows": [GENTOO]}).json()
    named = ask(api, {"rows": [GENTOO]}, version="production").json()

    assert (unnamed["model"], unnamed["version"], unnamed["chosen"]) == ("penguins", 1, "in production")
    assert named == unnamed
    assert ask(api, {"rows": [GENTOO]}, version="latest").json()["version"] == 2


# --- kinds of values ---------------------------------------------------------------------------------------


def kinds_frame(row: dict[str, Any]) -> pd.DataFrame:
    """Make the frame that the model of all kinds was fitted on the like of."""
    columns = {name: pd.Series([row[name]], dtype="object") for name in KINDS_DTYPES}
    if row["huge"] is None:
        columns["huge"] = pd.Series([0], dtype="object")  # the model does not look at it, and uint64 has no null
    columns |= {name: pd.to_datetime(columns[name], utc=name == "seen_utc") for name in ("seen", "seen_utc")}
    return pd.DataFrame({name: columns[name].astype(dtype) for name, dtype in KINDS_DTYPES.items()})


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"year": 2007.0},
        {"year": -(2**63)},
        {"year": 2**63 - 1},
        {"small": 0},
        {"small": 255},
        {"huge": 0},
        {"huge": 2**64 - 1},
        {"huge": None},
        {"ratio": 1},
        {"ratio": 0.1},
        {"ratio": float(np.finfo("float32").max)},
        {"weight": 4000},
        {"weight": 2**53},
        {"weight": -1.5e-300},
        {"heavy": False},
        {"remark": ""},
        {"remark": None},
        {"remark": "Größe 🐧 \x00 \ue000"},
        {"seen": None},
        {"seen": "2026-01-31"},
        {"seen": "2026-01-31 12:00"},
        {"seen": "0001-01-01"},
        {"seen": "9999-12-31T23:59:59.999999"},
        {"seen": "2026-01-31T12:00:00.123456000"},
        {"seen_utc": "2026-01-31T12:00:00Z"},
        {"seen_utc": "2026-01-31T12:00:00.5-05:30"},
        {"count": 2**63 - 1},
        {"count": 3.0},
    ],
    ids=str,
)
def test_a_value_of_its_kind_is_answered_exactly(gallery: Gallery, change: dict[str, Any]) -> None:
    """What fits the column reaches the model unchanged: the prediction is that of a frame built by hand."""
    row = KINDS | change

    answer = gallery.predict([row], "kinds")

    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == plain(gallery.exhibits["kinds"].model.predict(kinds_frame(row)))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("year", "1"),
        ("year", True),
        ("year", 1.5),
        ("year", None),
        ("year", 2**63),
        ("year", -(2**63) - 1),
        ("year", 1e300),
        ("year", 2.0**53),
        ("small", -1),
        ("small", 256),
        ("huge", -1),
        ("huge", 2**64),
        ("ratio", "0.5"),
        ("ratio", False),
        ("ratio", None),
        ("ratio", 1e39),
        ("ratio", -1e39),
        ("weight", "4000"),
        ("weight", True),
        ("weight", 2**53 + 1),
        ("weight", 10**400),
        ("weight", []),
        ("weight", {}),
        ("heavy", 1),
        ("heavy", 0.0),
        ("heavy", "true"),
        ("heavy", None),
        ("island", 1),
        ("island", None),
        ("island", "biscoe"),
        ("remark", 5),
        ("remark", False),
        ("remark", ["x"]),
        ("seen", 0),
        ("seen", ""),
        ("seen", "yesterday"),
        ("seen", "2026-01-31T12:00:00Z"),
        ("seen", "2026-02-30"),
        ("seen", "2026-01-31T24:00:00"),
        ("seen", "2026-01-31T12"),
        ("seen", "0000-01-01"),
        ("seen", "2026-01-31T12:00:00.1234567"),
        ("seen", "２０２６-01-31"),
        ("seen", "2026-W05-6"),
        ("seen", "now"),
        ("seen", "NaT"),
        ("seen_utc", "2026-01-31T12:00:00"),
        ("seen_utc", "2026-01-31"),
        ("seen_utc", "2026-01-31T12:00:00+25:00"),
        ("seen_utc", "0001-01-01T00:00:00+01:00"),
        ("seen_utc", "9999-12-31T23:59:59-01:00"),
        ("count", 0.5),
        ("count", "3"),
        ("count", 2**63),
    ],
)
def test_a_value_of_another_kind_is_refused(gallery: Gallery, column: str, value: Any) -> None:
    """Nothing is converted that could lose something; the problem names the row and the column."""
    problem = problem_of(gallery.predict([KINDS, KINDS | {column: value}], "kinds"), 422, "input")

    assert problem["errors"] == [{"row": 1, "column": column, "detail": problem["errors"][0]["detail"]}]
    assert problem["detail"] == f"row 1, column {column}: {problem['errors'][0]['detail']}"


def test_moments_of_very_different_years_fit_in_one_column(gallery: Gallery) -> None:
    """Years that nanoseconds cannot hold stand beside fractions of seconds, where the column's unit holds both."""
    rows = [KINDS | {"seen": "1500-01-01"}, KINDS | {"seen": "2026-01-31T12:00:00.123456000"}]

    assert gallery.predict(rows, "kinds").status_code == 200


@unknown_island
def test_an_unknown_category_is_answered_with_a_warning(gallery: Gallery) -> None:
    """Where the encoder takes an unknown value, the model's answer comes with a warning that does not repeat it."""
    rows = [GENTOO, GENTOO | {"island": "Atlantis"}, GENTOO | {"island": "Mu"}]

    answer = gallery.predict(rows, version="1", output="predict_proba").json()

    assert answer["predictions"] == plain(penguins().model.predict_proba(pd.DataFrame(rows)))
    (warning,) = answer["warnings"]
    assert warning.startswith("column island: 2 of 3 values are not among the categories")
    assert "first in row 1" in warning
    assert "Atlantis" not in warning


def test_an_unknown_category_of_a_category_column_is_answered_with_a_warning(gallery: Gallery) -> None:
    """A column of the category dtype treats an unknown value alike."""
    answer = gallery.predict([GENTOO | {"island": "Atlantis"}], "categories").json()

    assert len(answer["warnings"]) == 1


def test_an_unknown_category_is_refused_where_the_encoder_would_fail(gallery: Gallery) -> None:
    """Where the encoder raises, the problem says so by row, also behind a row with another fault."""
    rows = [KINDS | {"island": 1}, KINDS, KINDS | {"island": "Atlantis"}]

    problem = problem_of(gallery.predict(rows, "kinds"), 422, "input")

    assert [(error["row"], error["column"]) for error in problem["errors"]] == [(0, "island"), (2, "island")]
    assert problem["errors"][1]["detail"] == "is not one of the 3 categories the model knows"


def test_a_zoned_moment_is_the_same_in_every_zone(gallery: Gallery) -> None:
    """The offset that a client writes does not change the moment that the model sees."""
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    rows = [KINDS | {"seen_utc": noon.astimezone(timezone(timedelta(hours=h))).isoformat()} for h in (-8, 0, 5)]

    predictions = gallery.predict(rows, "kinds").json()["predictions"]

    assert len(set(predictions)) == 1


def test_no_more_rows_than_the_settings_allow_are_answered(
    make_settings: Callable[..., Settings], start_api: Callable[..., Api]
) -> None:
    """As many rows as BODEGA_MAX_ROWS says are answered, one more is refused with both numbers."""
    with closing(ModelStore.connect(make_settings())) as store:
        enter(store, "penguins", penguins())
    api = start_api(max_rows=3)

    answered = ask(api, {"rows": [GENTOO] * 3})
    refused = ask(api, {"columns": {name: [value] * 4 for name, value in GENTOO.items()}})

    assert len(answered.json()["predictions"]) == 3
    problem = problem_of(refused, 413, "too-many-rows")
    assert problem["detail"] == "There are 4 rows, at most 3 are answered at once"


def test_an_integer_too_large_for_a_float_does_not_stand_beside_a_null(gallery: Gallery) -> None:
    """A null makes floats of a whole column of integers: one that would be rounded is refused, others are not."""
    large, null = GENTOO | {"year": 2**53 + 1}, GENTOO | {"year": None}

    problem = problem_of(gallery.predict([null, large]), 422, "input")

    assert [(error["row"], error["column"]) for error in problem["errors"]] == [(1, "year")]
    assert gallery.predict([large]).status_code == 200
    assert gallery.predict([null, large | {"year": 2**53}]).status_code == 200


# --- what the encoders of a pipeline know ------------------------------------------------------------------


def lower(frame: pd.DataFrame) -> pd.DataFrame:
    """Write text in lower case."""
    return frame.apply(lambda column: column.str.lower())


def cased_words() -> tuple[Any, pd.DataFrame]:
    """Return a pipeline whose encoder sees text that a step before it has changed, and refuses what it does not know."""
    frame = pd.DataFrame({"word": ["Tern", "TERN", "auk", "Auk"] * 5})
    steps = (FunctionTransformer(lower, feature_names_out="one-to-one"), OneHotEncoder())
    return make_pipeline(*steps, LogisticRegression()).fit(frame, [0, 0, 1, 1] * 5), frame


def scaled_years() -> tuple[Any, pd.DataFrame]:
    """Return a pipeline whose encoder sees numbers that a scaler has changed."""
    frame = pd.DataFrame({"year": [2007, 2008, 2009] * 6})
    return make_pipeline(StandardScaler(), OneHotEncoder(), LogisticRegression()).fit(frame, [0, 1, 1] * 6), frame


def one_sided_flags() -> tuple[Any, pd.DataFrame]:
    """Return a pipeline whose encoder has seen one of the two booleans, and takes the other one."""
    frame = pd.DataFrame({"flag": [True] * 6, "size": [1.0, 2.0, 3.0] * 2})
    table = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["flag"]), remainder="passthrough")
    return make_pipeline(table, LogisticRegression()).fit(frame, [0, 1, 1] * 2), frame


def empty_categories() -> tuple[Any, pd.DataFrame]:
    """Return a model that was fitted on a category column without any category."""
    frame = pd.DataFrame({"word": pd.Categorical([None] * 6, categories=[]), "size": [1.0, 2.0, 3.0] * 2})
    return HistGradientBoostingClassifier(max_iter=2, random_state=0).fit(frame, [0, 1, 1] * 2), frame


@unknown_island
@pytest.mark.parametrize(
    ("make", "row"),
    [
        (cased_words, {"word": "tErN"}),
        (scaled_years, {"year": 2008}),
        (one_sided_flags, {"flag": False, "size": 2.0}),
        (empty_categories, {"word": None, "size": 2.0}),
    ],
)
def test_what_the_model_takes_the_signature_takes(
    make: Callable[[], tuple[Any, pd.DataFrame]], row: dict[str, Any]
) -> None:
    """A value that the model answers is not refused because an encoder inside was shown something else."""
    model, frame = make()

    signature, golden = learn(model, frame)

    taken = check_input(Rows([row]), signature, 10)
    answer = call(model, "predict", build_input(signature, taken.columns))
    assert answer == plain(model.predict(pd.DataFrame([row]).astype(frame.dtypes.to_dict())))
    example = check_input(Columns(dict(golden.inputs)), signature, 100)
    assert call(model, "predict", build_input(signature, example.columns)) == golden.outputs["predict"]


def test_an_answer_tells_how_long_it_took_if_asked(gallery: Gallery) -> None:
    """Three steps in milliseconds, which are no more than the whole; and nothing for whoever does not ask."""
    began = time.perf_counter()
    timed = gallery.api.client.post("/predict", params={"model": "penguins", "timing": True}, json={"rows": [GENTOO]})
    whole = 1000 * (time.perf_counter() - began)
    steps = dict(re.findall(r"(\w+);dur=([\d.]+)", timed.headers["Server-Timing"]))

    assert list(steps) == ["read", "load", "predict"]
    assert 0 < sum(map(float, steps.values())) <= whole
    assert float(steps["predict"]) > 0
    plain = gallery.api.client.post("/predict", params={"model": "penguins"}, json={"rows": [GENTOO]})
    assert "Server-Timing" not in plain.headers
    assert plain.json() == timed.json()
