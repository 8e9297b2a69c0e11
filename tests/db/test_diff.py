"""What differs between two versions, and whether a client of the one can call the other."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from bodega_db.catalog.diff import Difference, compare
from bodega_db.lifecycle import Status
from bodega_db.records import Digest, Version
from bodega_model.errors import InputError
from bodega_model.golden import Golden
from bodega_model.signature.compatibility import compare_signatures
from bodega_model.signature.contracts import relied_outputs
from bodega_model.signature.differences import Change, Grade
from bodega_model.signature.types import Column, Container, Kind, Output, Signature
from bodega_model.validation.forms import Rows
from bodega_model.validation.rows import check_input
from hypothesis import assume, given, settings
from hypothesis import strategies as st

SPECIES = ("Adelie", "Chinstrap", "Gentoo")
ISLAND = Column("island", Kind.STRING, "str", categories=("Biscoe", "Dream"), accepts_unknown=False)
MASS = Column("mass", Kind.NUMBER, "float64", nullable=True, minimum=2700.0, maximum=6300.0)
YEAR = Column("year", Kind.INTEGER, "int64")
LABELS = Output(Kind.STRING, classes=SPECIES)
SHARES = Output(Kind.NUMBER, shape=(3,), classes=SPECIES)
PENGUINS = Signature(Container.DATAFRAME, (ISLAND, MASS, YEAR), {"predict": LABELS, "predict_proba": SHARES})
VERSION = Version(
    model="penguins",
    number=2,
    status=Status.PRODUCTION,
    digest=Digest.of(b"two"),
    size_bytes=1000,
    format="skops",
    path="",
    metrics={"accuracy": 0.9, "loss": 0.3},
    params={"C": 1.0, "warm_start": False},
    tags={"team": "birds"},
    note=None,
    created_at=datetime(2026, 1, 31, tzinfo=UTC),
    created_by="ada",
    generation=7,
    signature=PENGUINS,
    golden=Golden({}, {}),
    environment={"python": "3.13.1", "libraries": {"numpy": "2.3", "scikit-learn": "1.8.0"}},
    lineage={},
    idempotency_key=None,
)


def takes(*columns: Column, container: Container = Container.DATAFRAME) -> Signature:
    """Make a signature of columns that answers as the penguins do."""
    return replace(PENGUINS, container=container, columns=columns)


def answers(**outputs: Output) -> Signature:
    """Make a signature of outputs that takes penguins."""
    return replace(PENGUINS, outputs=outputs)


def told(before: Signature, after: Signature) -> list[tuple[str, bool]]:
    """Return the place of each change, and whether it is breaking."""
    return [(change.what, change.breaking) for change in compare_signatures(before, after)]


# --- what a client sends ---------------------------------------------------------------------------------

COLUMNS: dict[str, tuple[Column, Column, list[bool]]] = {
    "null lost, of a version that does not say": (MASS, replace(MASS, nullable=False), [True]),
    "null lost, that was shown": (replace(MASS, null_shown=True), replace(MASS, nullable=False), [True]),
    "null lost, that was not shown": (replace(MASS, null_shown=False), replace(MASS, nullable=False), [False]),
    "null shown no more": (replace(MASS, null_shown=True), replace(MASS, null_shown=False), []),
    "null gained": (YEAR, replace(YEAR, nullable=True), [False]),
    "a new category": (ISLAND, replace(ISLAND, categories=("Biscoe", "Dream", "Torgersen")), [False]),
    "a lost category": (ISLAND, replace(ISLAND, categories=("Biscoe",)), [True]),
    "a lost category, of those told only": (
        replace(ISLAND, accepts_unknown=True), replace(ISLAND, categories=("Biscoe",), accepts_unknown=True), [False],
    ),
    "categories in another order": (ISLAND, replace(ISLAND, categories=("Dream", "Biscoe")), []),
    "unknown categories refused": (replace(ISLAND, accepts_unknown=True), ISLAND, [False]),
    "unknown categories taken": (ISLAND, replace(ISLAND, accepts_unknown=True), [False]),
    "categories where there were none": (replace(ISLAND, categories=None), ISLAND, [True, False]),
    "categories no more": (ISLAND, replace(ISLAND, categories=None, accepts_unknown=True), [False, False]),
    "text to a pandas category": (
        replace(ISLAND, accepts_unknown=True), replace(ISLAND, kind=Kind.CATEGORY, dtype="category", accepts_unknown=True), [False],
    ),
    "text to a category of numbers": (
        replace(ISLAND, categories=None), Column("island", Kind.CATEGORY, "category", categories=(1, 2)), [True, False],
    ),
    "flags to a category of numbers": (
        Column("x", Kind.CATEGORY, "category", categories=(False, True)), Column("x", Kind.CATEGORY, "category", categories=(0, 1)), [True],
    ),
    "integer to number": (YEAR, Column("year", Kind.NUMBER, "float64"), [False]),
    "integer to a narrow number": (YEAR, Column("year", Kind.NUMBER, "float16"), [True]),
    "number to integer": (MASS, Column("mass", Kind.INTEGER, "int64", nullable=True), [True]),
    "number to text": (MASS, Column("mass", Kind.STRING, "str", nullable=True), [True]),
    "number to boolean": (MASS, Column("mass", Kind.BOOLEAN, "bool", nullable=True), [True]),
    "a narrower integer": (YEAR, replace(YEAR, dtype="int32"), [True]),
    "an integer without sign": (YEAR, replace(YEAR, dtype="uint64"), [True]),
    "a wider integer": (replace(YEAR, dtype="uint8"), replace(YEAR, dtype="Int16"), [False]),
    "a narrower float": (replace(MASS, maximum=1e300), replace(MASS, dtype="Float32"), [True]),
    "a narrower float that takes what was shown": (MASS, replace(MASS, dtype="Float32"), [False]),
    "a float of unknown range, narrower": (replace(MASS, minimum=None), replace(MASS, dtype="Float32"), [True]),
    "a narrower integer that takes what was shown": (
        replace(YEAR, minimum=2007.0, maximum=2009.0), replace(YEAR, dtype="uint16"), [False],
    ),
    "a narrower integer that does not": (replace(YEAR, minimum=-1.0, maximum=2009.0), replace(YEAR, dtype="uint16"), [True]),
    "a wider float": (replace(MASS, dtype="float16"), MASS, [False]),
    "another dtype of text": (replace(ISLAND, dtype="object"), ISLAND, [False]),
    "an observed range": (MASS, replace(MASS, minimum=0.0, maximum=1.0), []),
    "how the data write null": (MASS, replace(MASS, null="none"), []),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "breaking"), COLUMNS.values(), ids=COLUMNS)
def test_a_column_that_changed(before: Column, after: Column, breaking: list[bool]) -> None:
    """A column breaks a client when it refuses a value that it took."""
    assert told(takes(before), takes(after)) == [(f"column {before.name}", flag) for flag in breaking]


@pytest.mark.parametrize(
    ("before", "after", "breaking"),
    [("ns", "us", True), ("us", "ns", True), ("s", "us", False), ("us", "ms", True), ("us", "us, UTC", True),
     ("us, UTC", "us", True), ("us, UTC", "us, Europe/Berlin", False)],
)  # fmt: skip
def test_a_datetime_that_changed(before: str, after: str, breaking: bool) -> None:
    """A coarser unit refuses fractions, nanoseconds refuse far years, and a zone is demanded or refused."""
    was, now = (Column("at", Kind.DATETIME, f"datetime64[{unit}]", null="nat") for unit in (before, after))

    assert told(takes(was), takes(now)) == [("column at", breaking)]


@pytest.mark.parametrize(
    ("after", "last", "breaking"),
    [("ns", "2026-01-31T12:00:00", False), ("ns", "2500-01-01T00:00:00", True), ("s", "2026-01-31T12:00:00", True)],
)
def test_a_datetime_that_was_shown(after: str, last: str, breaking: bool) -> None:
    """Years that the example did not reach are not missed; of fractions it cannot be told."""
    was = Column("at", Kind.DATETIME, "datetime64[us]", null="nat", minimum="1999-12-31T00:00:00", maximum=last)

    assert told(takes(was), takes(replace(was, dtype=f"datetime64[{after}]"))) == [("column at", breaking)]


def test_columns_come_and_go() -> None:
    """Every column is due in every row, also one that may be null, and no other is taken: both break a client."""
    assert told(takes(YEAR), takes(YEAR, MASS)) == [("column mass", True)]
    assert told(takes(YEAR, MASS), takes(YEAR)) == [("column mass", True)]
    assert told(takes(YEAR), takes(MASS)) == [("column year", True), ("column mass", True)]


@pytest.mark.parametrize("container", [Container.DATAFRAME, Container.ARRAY])
def test_order_of_columns(container: Container) -> None:
    """Columns are sent by name, for arrays too: their order breaks nobody."""
    before, after = (takes(*columns, container=container) for columns in ((YEAR, MASS), (MASS, YEAR)))

    assert told(before, after) == [("columns", False)]
    assert told(takes(YEAR, MASS), takes(ISLAND, YEAR, MASS)) == [("column island", True)]


def test_another_container() -> None:
    """Rows look the same to a client whatever the server makes of them."""
    assert told(takes(YEAR), takes(YEAR, container=Container.ARRAY)) == [("container", False)]


# --- what a client gets ----------------------------------------------------------------------------------

FLAG, SIGN = Output(Kind.STRING, classes=("no", "yes")), Output(Kind.NUMBER)
TWO = Output(Kind.STRING, shape=(2,), classes=(("a", "b"), ("c", "d")), per_target=True)
NAMED = Output(Kind.NUMBER, shape=(2,), columns=("pca0", "pca1"))
P, S = "output predict", "output predict_proba"
OUTPUTS: dict[str, tuple[dict[str, Output], dict[str, Output], list[tuple[str, bool]]]] = {
    "gone": ({"predict": LABELS, "predict_proba": SHARES}, {"predict": LABELS}, [(S, True)]),
    "new": ({"predict": LABELS}, {"predict": LABELS, "predict_proba": SHARES}, [(S, False)]),
    "another by default": (
        {"predict": LABELS, "predict_proba": SHARES}, {"predict_proba": SHARES, "predict": LABELS}, [("default output", True)],
    ),
    "kind": ({"predict": Output(Kind.INTEGER)}, {"predict": Output(Kind.NUMBER)}, [(P, True)]),
    "shape": ({"predict": Output(Kind.NUMBER)}, {"predict": Output(Kind.NUMBER, shape=(2,))}, [(P, True)]),
    "columns": ({"transform": NAMED}, {"transform": replace(NAMED, columns=None)}, [("output transform", True)]),
    "labels in another order": ({"predict": LABELS}, {"predict": replace(LABELS, classes=SPECIES[::-1])}, [(P, False)]),
    "one more label": ({"predict": LABELS}, {"predict": replace(LABELS, classes=(*SPECIES, "Rockhopper"))}, [(P, False)]),
    "one label less": ({"predict": LABELS}, {"predict": replace(LABELS, classes=SPECIES[:2])}, [(P, True)]),
    "a label renamed": ({"predict": LABELS}, {"predict": replace(LABELS, classes=(*SPECIES[:2], "gentoo"))}, [(P, True), (P, True)]),
    "labels untold": ({"predict": LABELS}, {"predict": replace(LABELS, classes=None)}, [(P, False)]),
    "vector in another order": ({"predict_proba": SHARES}, {"predict_proba": replace(SHARES, classes=SPECIES[::-1])}, [(S, True)]),
    "vector of one class more": (
        {"predict_proba": SHARES}, {"predict_proba": replace(SHARES, shape=(4,), classes=(*SPECIES, "Rockhopper"))}, [(S, True), (S, True)],
    ),
    "vector of unknown classes": ({"predict_proba": SHARES}, {"predict_proba": replace(SHARES, classes=None)}, [(S, True)]),
    "flags became numbers": (
        {"predict_proba": replace(SHARES, shape=(2,), classes=(False, True))},
        {"predict_proba": replace(SHARES, shape=(2,), classes=(0, 1))},
        [(S, True), (S, True)],
    ),
    "the sign of two classes": (
        {"predict": FLAG, "decision_function": SIGN},
        {"predict": replace(FLAG, classes=("yes", "no")), "decision_function": SIGN},
        [(P, False), ("output decision_function", True)],
    ),
    "one target's labels": ({"predict": TWO}, {"predict": replace(TWO, classes=(("a", "b"), ("c", "d", "e")))}, [(P, False)]),
    "one target less": ({"predict": TWO}, {"predict": replace(TWO, shape=(1,), classes=(("a", "b"),))}, [(P, True), (P, False)]),
    "per target": (
        {"predict": replace(TWO, classes=(("a", "b"),))}, {"predict": replace(TWO, classes=("a", "b"), per_target=False)}, [(P, True)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "expected"), OUTPUTS.values(), ids=OUTPUTS)
def test_an_output_that_changed(
    before: dict[str, Output], after: dict[str, Output], expected: list[tuple[str, bool]]
) -> None:
    """An output that clients rely on breaks them when its answers look otherwise, or mean something else."""
    assert told(replace(answers(**before), promised=tuple(before)), answers(**after)) == expected


@pytest.mark.parametrize(("before", "after", "expected"), OUTPUTS.values(), ids=OUTPUTS)
def test_an_output_that_nobody_relies_on_breaks_nobody(
    before: dict[str, Output], after: dict[str, Output], expected: list[tuple[str, bool]]
) -> None:
    """The same changes of an output beside the default one are notes, as long as it was neither promised nor asked."""
    number = {"score_samples": Output(Kind.NUMBER)}
    was, now = answers(**number, **before), answers(**number, **after)
    asked = replace(was, promised=("score_samples",))

    assert {grade for _, grade in told(was, now)} <= {False}
    assert told(asked, now) == told(was, now)
    for change in compare_signatures(was, now):
        assert change.grade is Grade.SAME or change.grade is Grade.NOTE
    breaking = {place for place, breaks in expected if breaks and place.startswith("output")}
    names = {place.removeprefix("output ") for place in breaking}
    moments = dict.fromkeys(names, datetime(2026, 11, 27, tzinfo=UTC))
    assert {change.what for change in compare_signatures(was, now, moments) if change.breaking} == breaking


def test_why_an_output_is_relied_on_is_said() -> None:
    """The reason stands beside what is gone: the default, a promise, or when it was last asked; else that none is."""
    before = replace(answers(predict=LABELS, predict_proba=SHARES, transform=NAMED), promised=("predict_proba",))
    moment = {"transform": datetime(2026, 11, 27, 23, 59, tzinfo=UTC), "never": datetime(2026, 1, 1, tzinfo=UTC)}
    after = answers(predict=LABELS)

    assert compare_signatures(before, after, moment) == (
        Change(S, "is gone; predict_proba was promised when it was registered", Grade.BREAKING),
        Change("output transform", "is gone; transform was asked over HTTP, last on 2026-11-27", Grade.BREAKING),
    )
    assert compare_signatures(before, after)[1] == Change(
        "output transform", "is gone; it was neither promised nor asked", Grade.NOTE
    )
    assert relied_outputs(before, moment) == {
        "predict": "answers where no output is named",
        "predict_proba": "was promised when it was registered",
        "transform": "was asked over HTTP, last on 2026-11-27",
    }


def test_a_change_is_said_in_words() -> None:
    """A detail says what was and what is; of many values it shows the first ones."""
    many = tuple(f"island {number}" for number in range(8))
    retyped = takes(replace(YEAR, dtype="int32"), replace(ISLAND, categories=(*many, *ISLAND.categories)))
    turned = answers(predict_proba=replace(SHARES, classes=SPECIES[::-1]))

    assert compare_signatures(takes(YEAR, ISLAND), retyped) == (
        Change(
            "column year",
            "integer (int64) became integer (int32), which does not take all that was taken",
            Grade.BREAKING,
        ),
        Change(
            "column island",
            "new categories: 'island 0', 'island 1', 'island 2', 'island 3', 'island 4' and 3 more",
            Grade.NOTE,
        ),
    )
    assert compare_signatures(answers(predict_proba=SHARES), turned) == (
        Change("output predict_proba", "class order: now 'Gentoo', 'Chinstrap', 'Adelie'", Grade.BREAKING),
    )


# --- two versions ----------------------------------------------------------------------------------------


def test_a_version_does_not_differ_from_itself() -> None:
    """Nothing is listed, and a client can call it."""
    assert compare(VERSION, VERSION) == Difference(
        "penguins@2",
        "penguins@2",
        (),
        {},
        {},
        {},
        {},
        (1000, 1000),
        ("skops", "skops"),
        same_bytes=True,
        relied={"predict": "answers where no output is named"},
    )
    assert compare(VERSION, VERSION).compatible
    assert compare(VERSION, VERSION).verdict is Grade.SAME


def test_the_verdict_has_three_grades() -> None:
    """Nothing that a client notices is the same; wider or narrower beyond what was used is a note; the worst counts."""
    turned = takes(*PENGUINS.columns[::-1])
    wider = replace(turned, columns=(YEAR, replace(ISLAND, accepts_unknown=True), MASS))
    narrower = replace(wider, outputs={"predict": LABELS})
    verdicts = [
        compare(VERSION, replace(VERSION, signature=signature)).verdict
        for signature in (turned, wider, narrower, takes(YEAR))
    ]

    assert verdicts == ["same", "note", "note", "breaking"]


def test_only_what_differs_is_listed() -> None:
    """Values stand side by side, with None where there is none; libraries are named with a dot."""
    after = replace(
        VERSION,
        number=3,
        digest=Digest.of(b"three"),
        size_bytes=1200,
        format="joblib",
        metrics={"accuracy": 0.95, "loss": 0.3},
        params={"C": 1, "warm_start": 0},
        tags={},
        environment={"python": "3.13.1", "libraries": {"numpy": "2.3", "scikit-learn": "1.9.0"}},
    )

    found = compare(VERSION, after)

    assert found.metrics == {"accuracy": (0.9, 0.95)}
    assert found.params == {"warm_start": (False, 0)}
    assert found.tags == {"team": ("birds", None)}
    assert found.environment == {"libraries.scikit-learn": ("1.8.0", "1.9.0")}
    assert (found.size_bytes, found.format, found.same_bytes) == ((1000, 1200), ("skops", "joblib"), False)
    assert found.compatible


def test_a_breaking_change_is_a_verdict() -> None:
    """One breaking change is enough, and it is told apart from the others."""
    after = replace(
        VERSION, number=3, signature=takes(ISLAND, replace(MASS, nullable=False), replace(YEAR, nullable=True))
    )

    found = compare(VERSION, after)

    assert not found.compatible
    assert [change.what for change in found.signature] == ["column mass", "column year"]
    assert found.breaking == found.signature[:1]


def test_a_difference_as_json() -> None:
    """It travels as plain JSON values, the verdict included."""
    after = replace(
        VERSION, number=3, metrics={"loss": 0.3}, signature=takes(ISLAND, MASS, replace(YEAR, nullable=True))
    )

    written = compare(VERSION, after).to_dict()

    assert json.loads(json.dumps(written)) == written
    assert written == {
        "before": "penguins@2",
        "after": "penguins@3",
        "verdict": "note",
        "compatible": True,
        "relied": {"predict": "answers where no output is named"},
        "signature": [
            {"what": "column year", "detail": "takes missing values now", "grade": "note", "breaking": False}
        ],
        "metrics": {"accuracy": {"before": 0.9, "after": None}},
        "params": {},
        "environment": {},
        "tags": {},
        "size_bytes": {"before": 1000, "after": 1000},
        "format": {"before": "skops", "after": "skops"},
        "same_bytes": True,
    }


# --- any signatures --------------------------------------------------------------------------------------

DTYPES: dict[Kind, list[str]] = {
    Kind.NUMBER: ["float16", "float32", "float64", "Float32", "object"],
    Kind.INTEGER: ["int8", "uint8", "int32", "Int32", "int64", "uint64", "object"],
    Kind.BOOLEAN: ["bool", "boolean"],
    Kind.STRING: ["str", "object"],
    Kind.CATEGORY: ["category"],
    Kind.DATETIME: [f"datetime64[{unit}{zone}]" for unit in ("s", "ms", "us", "ns") for zone in ("", ", UTC")],
}
POOLS: dict[Kind, list[Any]] = {
    Kind.NUMBER: [0.5, 1.0, 2.0, 1],
    Kind.INTEGER: [0, 1, 2, 100],
    Kind.BOOLEAN: [False, True],
    Kind.STRING: ["a", "b", "", "2026-01-31"],
}
# Beyond 2**53 an integer may not be held by a number: the one loss that is told and not called breaking.
INTEGERS = [-(2**53), -(2**31) - 1, -129, -1, 128, 255, 70000, 2**31, 2**53]
VALUES: list[Any] = [
    None, *INTEGERS, 65504.0, 70000.0, 1e300, *(value for pool in POOLS.values() for value in pool), "2026-01-31T12:00:00",
    "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.001", "2026-01-31T12:00:00.000001Z", "2026-01-31T12:00:00.000000001",
    "1066-10-14T09:00:00", "1066-10-14T09:00:00Z", "2500-01-01T00:00:00.123456",
]  # fmt: skip
RANGES: dict[Kind, list[tuple[Any, Any]]] = {
    Kind.NUMBER: [(None, None), (0.0, 1.0), (-1.0, 70000.0), (0.0, 1e300)],
    Kind.INTEGER: [(None, None), (0.0, 100.0), (-129.0, 255.0), (0.0, float(2**31))],
    Kind.DATETIME: [(None, None), ("2026-01-31T12:00:00", "2026-02-01T00:00:00"), ("1066-10-14T09:00:00", "2500-01-01T00:00:00")],
}  # fmt: skip
names = st.lists(st.sampled_from("abc"), unique=True, min_size=1)


@st.composite
def columns(draw: Callable[..., Any], name: str) -> Column:
    """Make any column that a signature may hold."""
    kind = draw(st.sampled_from(Kind))
    category = kind is Kind.CATEGORY
    pool = POOLS.get(draw(st.sampled_from(list(POOLS))) if category else kind)
    known = st.lists(st.sampled_from(pool), unique=True, min_size=1).map(tuple) if pool else st.none()
    categories = draw(known if category else st.none() | known)
    assume(not category or len({type(value) for value in categories}) == 1)
    dtype = draw(st.sampled_from(DTYPES[kind]))
    lowest, highest = draw(st.sampled_from(RANGES.get(kind, [(None, None)])))
    nullable, shown = draw(st.sampled_from([(True, True), (True, False), (True, None), (False, False), (False, None)]))
    return Column(
        name,
        kind,
        dtype,
        nullable,
        categories,
        accepts_unknown=draw(st.booleans()),
        minimum=lowest,
        maximum=highest,
        null_shown=shown,
    )


def was_shown(column: Column, value: Any) -> bool:
    """Tell whether the example may have had a value: within what was observed of it, as far as that is known."""
    if value is None:
        return column.null_shown is not False
    if column.categories is not None and not any(type(value) is type(c) and value == c for c in column.categories):
        return False
    if column.minimum is None:
        return True
    if isinstance(value, str):
        return str(column.minimum)[:4] <= value[:4] <= str(column.maximum)[:4]
    return column.minimum <= value <= column.maximum


def signatures() -> st.SearchStrategy[Signature]:
    """Make any signature."""
    some = names.flatmap(lambda chosen: st.tuples(*(columns(name) for name in chosen)))
    output = st.builds(
        Output,
        kind=st.sampled_from(Kind),
        shape=st.sampled_from([(), (2,), (3,)]),
        classes=st.none() | st.lists(st.sampled_from([*SPECIES, 1, True]), min_size=1).map(tuple),
        columns=st.none() | st.just(("x", "y")),
    )
    outputs = st.dictionaries(st.sampled_from(["predict", "decision_function", "transform"]), output, min_size=1)
    return st.builds(Signature, st.sampled_from(Container), some, outputs)


ANY = signatures()


@settings(deadline=None)
@given(ANY)
def test_no_signature_differs_from_itself(signature: Signature) -> None:
    """Whatever a signature holds, it is like itself, also after a stay in the catalog."""
    assert compare_signatures(signature, signature) == ()
    assert compare_signatures(signature, Signature.from_dict(signature.to_dict())) == ()


@settings(deadline=None)
@given(ANY, ANY)
def test_what_differs_one_way_differs_the_other(before: Signature, after: Signature) -> None:
    """A change is at the same place whichever version comes first."""
    there, back = compare_signatures(before, after), compare_signatures(after, before)

    assert {change.what for change in there} == {change.what for change in back}


def fits(signature: Signature, row: dict[str, Any]) -> bool:
    """Tell whether a row fits the signature, as the API decides it."""
    try:
        check_input(Rows([row]), signature, 1)
    except InputError:
        return False
    return True


@settings(deadline=None)
@given(st.lists(columns("x"), min_size=8, max_size=12))
def test_the_verdict_is_that_of_validation(versions: list[Column]) -> None:
    """What was shown to one version fits every compatible one, and all that fitted one that is the same."""
    taken = [
        (column, {place for place, value in enumerate(VALUES) if fits(takes(column), {"x": value})})
        for column in versions
    ]

    for (before, was), (after, now) in permutations(taken, 2):
        grade = Grade.worst([change.grade for change in compare_signatures(takes(before), takes(after))])
        shown = {place for place in was if was_shown(before, VALUES[place])}
        assert shown <= now or grade is Grade.BREAKING
        assert was == now or grade is not Grade.SAME


@settings(deadline=None)
@given(names, names)
def test_the_verdict_on_names_is_that_of_validation(before: list[str], after: list[str]) -> None:
    """A row of the one version is taken by the other exactly where no column came or went."""
    was, now = (takes(*(replace(MASS, name=name) for name in chosen)) for chosen in (before, after))

    compatible = not any(change.breaking for change in compare_signatures(was, now))

    assert fits(now, dict.fromkeys(before)) == compatible


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [(True, False, "are answered together now"), (False, True, "each is answered by itself now")],
)
def test_whether_rows_are_answered_together_is_a_note(before: bool, after: bool, words: str) -> None:
    """A caller can call on, and is told; nothing is said where it is the same, or of an older version not known."""

    def changes(was: bool | None, now: bool | None) -> tuple[Change, ...]:
        return compare_signatures(replace(PENGUINS, row_wise=was), replace(PENGUINS, row_wise=now))

    [change] = changes(before, after)

    assert (change.what, change.grade) == ("rows", Grade.NOTE)
    assert words in change.detail
    assert changes(before, before) == changes(None, after) == changes(before, None) == ()
