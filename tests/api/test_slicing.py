"""Long bodies are refused as soon as they have too much, and read in parts like short ones."""

import json
import random
import threading
import time
from typing import Any

import pytest
from bodega_api.errors import BodyError
from bodega_api.http.slicing import LONG, Parts, cut
from bodega_api.http.strict_json import read_body
from bodega_model.errors import InputError, TooManyRowsError
from gallery import GENTOO, MAX_ROWS, Gallery, ask, problem_of, send

WORDS = ["a", "}{][,", '"', "\\", "\\\\", '\\"', "ä", "😀", "\n", ",,,", "x" * 300, ""]


def written(document: Any, random_: random.Random) -> bytes:
    """Write JSON as one of many writers does."""
    text = json.dumps(document, ensure_ascii=random_.random() < 0.5, indent=random_.choice([None, 1]))
    return random_.choice([b"", b"\xef\xbb\xbf"]) + text.encode()


@pytest.mark.parametrize("seed", range(6))
def test_a_body_in_parts_is_read_like_a_whole_one(seed: int) -> None:
    """Rows and columns with every kind of text and number, whatever stands where a slice ends."""
    random_ = random.Random(seed)
    values = [lambda: random_.choice(WORDS) * random_.randrange(4), random_.random, lambda: None, lambda: True]
    names = [random_.choice(WORDS) + str(place) for place in range(random_.choice([1, 5, 300]))]
    rows = [{name: random_.choice(values)() for name in names} for _ in range(200_000 // len(names) // 8)]
    columns = {name: [row[name] for row in rows] for name in names}

    for document in ({"rows": rows}, {"columns": columns}):
        data = written(document, random_)
        parts = cut(data, max_rows=len(rows), columns=len(names))

        assert len(data) > LONG
        assert read_body(parts) == read_body(data)
        assert len(list(parts)) > 1 or len(names) < 300
        with pytest.raises(TooManyRowsError):
            cut(data, max_rows=len(rows) - 1, columns=len(names))


FILLING = '{"a": 1, "b": "x"}, ' * 10_000


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"rows": [' + FILLING, BodyError),
        ('{"rows": [' + FILLING + '{"a": "', BodyError),
        ('{"rows": [' + FILLING + '{"a": x}]}', BodyError),
        ('{"rows": [' + FILLING + '{"a": 1}]}]', BodyError),
        ('{"rows": [' + FILLING + '{"a": 1}], "rows": []}', BodyError),
        ('{"columns": {"a": [1]}, "x": [' + FILLING + "{}]}", BodyError),
        ("[" + FILLING + "{}]", BodyError),
        ("[" + "1," * 100_000 + "1]", BodyError),
        ("[" * 100_000, BodyError),
        ('{"rows":' * 100_000, BodyError),
        ('{"rows": ["' + "\\" * 100_001, BodyError),
        ("]" * 100_000, BodyError),
        ('"' + "x" * 100_000 + '"', BodyError),
        ('{"rows": [' + "1," * 100_000 + "1]}", TooManyRowsError),
        ('{"r\\u006fws": [' + "1," * 100_000 + "1]}", TooManyRowsError),
        ('{"rows": [{"a": [' + "1," * 100_000 + "1]}]}", TooManyRowsError),
        ('{"rows": [' + "{}," * 100_000, TooManyRowsError),
        ('{"columns": {"a": [' + "1," * 100_000, TooManyRowsError),
        ('{"columns": {"b": [1], "a": [' + "[]," * 100_000 + "1]}}", TooManyRowsError),
        ('{"columns": {' + '"a": [],' * 100_000 + '"a": []}}', InputError),
        ('{"rows": [{' + '"a": 1,' * 100_000 + '"a": 1}]}', InputError),
        ('{"rows": [' + '{"a": [1]},' * 20_000 + "{}]}", InputError),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_no_model_takes_is_not_parsed(text: str, error: type[Exception]) -> None:
    """A long body that has too many rows, keys, lists or brackets is refused, whatever of JSON it is in."""

    def read() -> None:
        read_body(cut(text.encode(), max_rows=20_000, columns=2))

    with pytest.raises(error):
        read()


def test_an_error_in_a_part_is_told_where_it_is_in_the_body() -> None:
    """Line and column of what is no JSON, as for a body that was parsed as a whole."""
    lines = ['{"rows": [', *['{"ä": "😀", "b": 1},'] * 20_000, '{"ä": 1, "b": x},', *['{"ä": 1},'] * 9000, "{}]}"]
    data = "\n".join(lines).encode()

    with pytest.raises(BodyError) as whole:
        read_body(Parts(data))
    with pytest.raises(BodyError) as parted:
        read_body(cut(data, 10**6, 2))

    assert parted.value.message == whole.value.message
    assert "line 20002, column 15" in whole.value.message


def test_rows_in_parts_are_answered_like_each_alone(gallery: Gallery) -> None:
    """A long body gets the answers of its rows, in their order; with a fault, the fault with its row."""
    rows = [GENTOO | {"island": "x" * 700, "body_mass_g": 3000.0 + place} for place in range(MAX_ROWS)]
    assert len(json.dumps(rows)) > LONG
    by_column = {name: [row[name] for row in rows] for name in rows[0]}

    answer = ask(gallery.api, {"rows": rows}, model="penguins", output="predict_proba").json()
    alone = gallery.predict(rows[-1:], output="predict_proba").json()
    columns = ask(gallery.api, {"columns": by_column}, model="penguins", output="predict_proba").json()
    wrong = ask(gallery.api, {"rows": [*rows[:-1], rows[0] | {"year": "none"}]}, model="penguins")

    assert len(answer["predictions"]) == MAX_ROWS
    assert answer["predictions"][-1] == pytest.approx(alone["predictions"][0], rel=1e-12)
    assert answer["predictions"] == columns["predictions"]
    assert problem_of(wrong, 422, "input")["errors"][0]["row"] == MAX_ROWS - 1


def test_a_hostile_body_holds_up_nobody(gallery: Gallery) -> None:
    """While bodies of megabytes are refused one after the other, a row is answered within a tenth of a second."""
    hostile = b'{"rows": [' + b'{"a": 1},' * 30_000 + b"{}]}"
    done = threading.Event()

    def attack() -> None:
        while not done.is_set():
            problem_of(send(gallery.api, hostile, model="penguins"), 413, "too-many-rows")

    attackers = [threading.Thread(target=attack) for _ in range(2)]
    for attacker in attackers:
        attacker.start()
    seconds = []
    for _ in range(30):
        began = time.perf_counter()
        assert gallery.predict([GENTOO]).status_code == 200
        seconds.append(time.perf_counter() - began)
    done.set()
    for attacker in attackers:
        attacker.join()

    assert sorted(seconds)[len(seconds) // 2] < 0.1
