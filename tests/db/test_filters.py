"""The filter grammar: what it takes, what it refuses and where, and that nothing else ever comes out of it."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from bodega_db.errors import InvalidFilterError, InvalidSearchError
from bodega_db.search.fields import SHOWN, read_fields
from bodega_db.search.grammar import FIELDS, SYNONYMS, Condition, parse_filter
from bodega_db.search.ordering import COLUMNS, Order, read_cursor, read_order, write_cursor
from hypothesis import example, given
from hypothesis import strategies as st

GOOD = {
    "status=production": Condition("status", None, "=", ("production",)),
    "metrics.f1 >= .9": Condition("metrics", "f1", ">=", (Decimal("0.9"),)),
    "metrics.val@1.0-loss<1e-3": Condition("metrics", "val@1.0-loss", "<", (Decimal("0.001"),)),
    "tags.team='we are \\'core\\''": Condition("tags", "team", "=", ("we are 'core'",)),
    "tags.team in (core , web)": Condition("tags", "team", "in", ("core", "web")),
    "number != 3": Condition("version", None, "!=", (3,)),
    "created>=2026-11-24": Condition("created_at", None, ">=", (datetime(2026, 11, 24, tzinfo=UTC),)),
    "created<2026-11-24T10:00+01:00": Condition("created_at", None, "<", (datetime(2026, 11, 24, 9, tzinfo=UTC),)),
    "params.C=0.1": Condition("params", "C", "=", (Decimal("0.1"),)),
    'params."a b"="0.1"': Condition("params", "a b", "=", ("0.1",)),
    "params.warm_start=true": Condition("params", "warm_start", "=", (True,)),
    "params.x=null": Condition("params", "x", "=", (None,)),
    "model in(and,in)": Condition("model", None, "in", ("and", "in")),
}
BAD = {
    "": 1,
    "status": 7,
    "status=": 8,
    "status=running": 8,
    "status>production": 1,
    "status.x=production": 1,
    "metrics>3": 1,
    "metrics.f1>high": 12,
    "metrics.f1>'0.9'": 12,
    "metrics.f1>1e9999": 12,
    "metrics.f1>NaN": 12,
    'metrics."f 1">1': 1,
    "colour=red": 1,
    "status=production or version=3": 19,
    "status=production and": 22,
    "status=production version=3": 19,
    "tags.team in core": 14,
    "tags.team in ()": 15,
    "tags.team in (core": 19,
    "tags.team>core": 1,
    'tags.team="core': 11,
    "created>yesterday": 9,
    "created>2026-11-24T10:00": 9,
    "version=-1": 9,
    "version=99999999999": 9,
    "status=candidate; DROP TABLE version": 19,
    "note\0=x": 5,
}


@pytest.mark.parametrize(("text", "condition"), GOOD.items())
def test_a_condition_is_read(text: str, condition: Condition) -> None:
    """Each form of the grammar is what its documentation says."""
    assert parse_filter(text) == (condition,)


def test_conditions_are_joined_by_and() -> None:
    """All must hold, the word may be written in capitals, and blanks do not matter."""
    assert len(parse_filter("status = production and metrics.f1>=0.9 AND\n tags.team=core")) == 3


@pytest.mark.parametrize(("text", "position"), BAD.items())
def test_what_is_not_in_the_grammar_is_refused_where_it_begins(text: str, position: int) -> None:
    """The error names the first character that does not fit, counted from 1, and repeats nothing of the value."""
    with pytest.raises(InvalidFilterError) as refused:
        parse_filter(text)

    assert refused.value.position == position
    assert refused.value.message.startswith(f"At character {position} of the filter: ")
    assert "running" not in str(refused.value)


def test_a_filter_has_bounds() -> None:
    """A long text, many conditions and many values are refused before they become a statement."""
    for text in ("x" * 2001, " and ".join(["version=1"] * 21), f"version in ({','.join(['1'] * 101)})"):
        with pytest.raises(InvalidFilterError):
            parse_filter(text)


SCRAPS = st.lists(
    st.sampled_from(
        [*FIELDS, ".", "f1", "=", "!=", ">=", "<", " in ", "(", ")", ",", " and ", "'", '"', "\\", "1", "1e9", "core"]
    )
)


@given(st.one_of(st.text(max_size=60), SCRAPS.map("".join)))
@example("tags.a='" + "\\" * 50)
@example("(" * 1000)
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    """Whatever is sent, the answer is conditions, or an error with a place in the text or just behind it."""
    try:
        conditions = parse_filter(text)
    except InvalidFilterError as refused:
        assert 1 <= refused.position <= len(text) + 1
    else:
        assert all(condition.field in FIELDS for condition in conditions)


# --- orders and cursors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["created_at", "-created_at", "version", "-version", "metrics.f1", "-metrics.val-loss@2"]
)
def test_an_order_is_read_and_written(text: str) -> None:
    """Each order is written as it was read."""
    assert str(read_order(text, "penguins")) == text


def test_filters_orders_and_fields_know_the_same_names() -> None:
    """What can be ordered by can be filtered by; what can be filtered by is shown, but for aliases; synonyms hold in all."""
    assert set(COLUMNS) <= FIELDS.keys()
    assert FIELDS.keys() - {"alias"} <= set(SHOWN)
    for synonym, name in SYNONYMS.items():
        assert read_order(f"-{synonym}", "m") == read_order(f"-{name}", "m")
        assert read_fields(synonym) == read_fields(name)
        value = {"created_at": "2026-11-24", "version": "3"}[name]
        assert parse_filter(f"{synonym}={value}") == parse_filter(f"{name}={value}")


@pytest.mark.parametrize(
    ("text", "model"), [("", "m"), ("--created", "m"), ("size", "m"), ("metrics.", "m"), ("version", None)]
)
def test_an_order_that_there_is_not_is_refused(text: str, model: str | None) -> None:
    """An unknown order is an error, and so are the numbers of several models."""
    with pytest.raises(InvalidSearchError):
        read_order(text, model)


CREATED = Order("created_at", None, descending=True)


@pytest.mark.parametrize(
    ("order", "place"),
    [
        (CREATED, datetime(2026, 11, 24, 9, 30, 1, 5, tzinfo=UTC)),
        (Order("version", None, descending=False), 7),
        (Order("metrics", "f1", descending=True), Decimal("0.1000000000000000055")),
    ],
)
def test_a_cursor_is_read_as_it_was_written(order: Order, place: datetime | int | Decimal) -> None:
    """A cursor loses nothing of the value that a page ended at, and belongs to its order."""
    cursor = write_cursor(order, place, 12)

    assert read_cursor(cursor, order) == (place, 12)
    with pytest.raises(InvalidSearchError):
        read_cursor(cursor, Order(order.by, order.metric, descending=not order.descending))


@given(st.one_of(st.text(max_size=80), st.binary(max_size=60).map(lambda raw: raw.hex())))
@example("W10")
@example("WyItY3JlYXRlZCIsICIyMDI2IiwgMV0")
def test_no_text_passes_for_a_cursor(text: str) -> None:
    """What no page ended with is refused."""
    with pytest.raises(InvalidSearchError):
        read_cursor(text, CREATED)
