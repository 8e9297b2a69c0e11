"""Long bodies in JSON, cut into parts that are documents themselves, so that no parser holds up others for long.

A parser of JSON lets no other thread run before it is done. So a long body is first looked at slice by slice, for its
brackets and commas alone: one that has too many rows is refused as soon as its last allowed row is over, however long
it is, and so is one that no model can take. Then it is cut between rows, or between columns, and parsed in turn.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bodega_model.errors import InputError, TooManyRowsError

from bodega_api.errors import BodyError

LONG = 64 * 1024  # bytes; a parser needs less than a millisecond for so many
DEEPEST = 8  # a document for a prediction has three levels
MOST_NESTED = 100  # values that are lists or objects, which no column takes
LIST, OBJECT = ord("["), ord("{")

_IS_STRUCTURE = np.zeros(256, dtype=bool)
_IS_STRUCTURE[list(b"[]{},")] = True
_STEP = np.zeros(256, dtype=np.int64)
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1
Places = Any  # an array of numpy: offsets


@dataclass(slots=True)
class Parts:
    """A body, and where it is cut: behind commas between `begin` and `end`, where its rows or columns are."""

    data: bytes
    begin: int = 0
    end: int = 0
    cuts: list[int] = field(default_factory=list)
    of_rows: bool = False

    def __iter__(self) -> Iterator[bytes]:
        """Go through documents that have some of the rows or columns each; others may run between them."""
        if not self.cuts:
            yield self.data
            return
        head, tail = self.data[: self.begin], self.data[self.end :]
        for begin, end in self._spans():
            yield head + self.data[begin:end] + tail
            time.sleep(0)

    def place(self, number: int, offset: int) -> tuple[int, int]:
        """Return the line and the column in the body of an offset in a part."""
        if self.cuts and offset >= self.begin:
            begin, end = list(self._spans())[number]
            offset += begin - self.begin
            offset += self.end - end if offset > end else 0
        line = self.data.rfind(b"\n", 0, offset) + 1
        return self.data.count(b"\n", 0, offset) + 1, len(self.data[line:offset].decode("utf-8", "replace")) + 1

    def _spans(self) -> Iterator[tuple[int, int]]:
        yield from zip([self.begin, *(cut + 1 for cut in self.cuts)], [*self.cuts, self.end], strict=True)


def cut(data: bytes, max_rows: int, columns: int) -> Parts:
    """Cut a body that is long; raise what is wrong with it if that can be told without parsing it.

    Raises TooManyRowsError, BodyError, or InputError for one that no model of so many columns takes.
    """
    if len(data) <= LONG:
        return Parts(data)
    scan = _Scan(Parts(data), max_rows, most_keys=2 * columns + 1000)
    for begin in range(0, len(data), LONG):
        if not scan.read(begin):
            return Parts(data)  # it ends here, and the parser tells so
    if scan.depth or scan.in_text:
        raise BodyError("The body ends in the middle of its JSON")
    return scan.parts


class _Scan:
    """What was found up to one slice of a body; `_open` and `_commas` are of the lists and objects that are open."""

    def __init__(self, parts: Parts, max_rows: int, most_keys: int) -> None:
        self.parts = parts
        self.depth = 0
        self.in_text = False
        self._backslashes = 0  # at the end of the slice before
        self._open = [0] * (DEEPEST + 1)  # which bracket, by depth
        self._commas = [0] * (DEEPEST + 1)
        self._nested = 0
        self._most = {LIST: max_rows, OBJECT: most_keys}

    def read(self, begin: int) -> bool:
        """Look at one slice; tell whether the document goes on."""
        data = np.frombuffer(self.parts.data, np.uint8, min(LONG, len(self.parts.data) - begin), begin)
        places, signs = self._structure(data)
        depths = self.depth + np.cumsum(_STEP[signs])
        if depths.size:
            self.depth = int(depths[-1])
            if int(depths.max()) > DEEPEST:
                raise BodyError("The body is nested too deeply")
            opens = (signs == LIST) | (signs == OBJECT)
            for depth in range(1, DEEPEST + 1):
                self._look_at(depth, np.flatnonzero(opens & (depths == depth)), depths, signs)
            self._find_cuts(places + begin, signs, depths, opens)
            self._check_nested(int(np.count_nonzero(opens & (depths > 3))))
            return int(depths.min()) >= 0
        return True

    def _structure(self, data: Places) -> tuple[Places, Places]:
        """Return where brackets and commas are that belong to no text, and which."""
        quotes = self._quotes(data)
        places = np.flatnonzero(_IS_STRUCTURE[data])
        inside = (np.searchsorted(quotes, places) + self.in_text) % 2
        self.in_text = bool((len(quotes) + self.in_text) % 2)
        places = places[inside == 0]
        return places, data[places]

    def _quotes(self, data: Places) -> Places:
        """Return where quotes are that no backslash takes the meaning from."""
        quotes = np.flatnonzero(data == ord('"'))
        backslashes = data == ord("\\")
        if not self._backslashes and not backslashes.any():
            return quotes
        before = -1 - self._backslashes
        others = np.maximum.accumulate(np.where(backslashes, before, np.arange(len(data))))
        last = np.concatenate([[before], others])  # the last other byte before each place
        self._backslashes = len(data) - 1 - int(last[-1])
        return quotes[(quotes - 1 - last[quotes]) % 2 == 0]

    def _look_at(self, depth: int, opened: Places, depths: Places, signs: Places) -> None:
        """Count what the lists and objects of one depth hold."""
        commas = np.flatnonzero((depths == depth) & (signs == ord(",")))
        if not (opened.size or commas.size):
            return
        counts = np.bincount(np.searchsorted(opened, commas), minlength=len(opened) + 1)
        counts[0] += self._commas[depth]
        kinds = [self._open[depth], *signs[opened].tolist()]
        for kind, most in self._most.items():
            of_kind = counts[np.array(kinds) == kind]
            if of_kind.size and int(of_kind.max()) >= most:
                raise self._too_many(kind, depth)
        self._commas[depth], self._open[depth] = int(counts[-1]), kinds[-1]

    def _too_many(self, kind: int, depth: int) -> Exception:
        most = self._most[kind]
        if kind == OBJECT:
            return InputError(f"An object has more than {most} keys, far more than the model has columns")
        if depth == 1:
            return BodyError("The body is a list, not an object")
        return TooManyRowsError(f"There are more than {most} rows, at most {most} are answered at once")

    def _find_cuts(self, places: Places, signs: Places, depths: Places, opens: Places) -> None:
        found = places[opens & (depths == 2)]
        if len(found) > 1 or (len(found) and self.parts.begin):
            raise BodyError("The body needs exactly one key, 'rows' or 'columns'")
        if len(found):
            self.parts.begin = int(found[0]) + 1
            self.parts.of_rows = self.parts.data[found[0]] == LIST
        commas = places[(depths == 2) & (signs == ord(","))]
        if len(commas):
            self.parts.cuts.append(int(commas[-1]))
        closed = places[(depths == 1) & (_STEP[signs] < 0)]
        if len(closed):
            self.parts.end = int(closed[0])

    def _check_nested(self, count: int) -> None:
        self._nested += count
        if self._nested > MOST_NESTED:
            raise InputError(f"More than {MOST_NESTED} values are lists or objects, which no column takes")
