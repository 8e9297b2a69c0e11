"""What a model returns, held to its signature: so many rows, of that shape, with values of those kinds and labels.

A signature is learned from a few rows, and a model of any code may answer others in another way. What does not keep to
the signature is an error: it is never cut, turned, or read as something else.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from bodega_model.errors import BrokenSignatureError
from bodega_model.signature.types import Kind, Output

TYPES: dict[Kind, type] = {Kind.BOOLEAN: bool, Kind.INTEGER: int, Kind.NUMBER: float, Kind.STRING: str}
DTYPES: dict[str, type] = {"b": bool, "i": int, "u": int, "f": float, "U": str}
EXACT_FLOAT = 2**53  # where a number is due, an integer must be one that a floating point number holds
Form = tuple["Form", ...] | None  # of a row: None for a value, or the form of each part


@dataclass(frozen=True, slots=True)
class Contract:
    """What each row of an answer is: its form, and the types and labels of its values.

    `types` and `labels` are one set for all values of a row, or one for each of them in order.
    """

    method: str
    shape: tuple[int, ...]
    form: Form
    types: tuple[frozenset[type], ...]
    labels: tuple[frozenset[Any], ...] | None = None

    @classmethod
    def of(cls, method: str, output: Output, examples: Sequence[Any] = ()) -> Self:
        """Make the contract of an output; answers that were given at registration show what the signature leaves out.

        That are the kinds of values in a row that mixes them, and targets with unlike numbers of classes.
        """
        form = _form_of(examples[0]) if examples else _form_of_shape(output.shape)
        types = types_of(examples) if examples else (_widened({TYPES[output.kind]}),)
        return cls(method, output.shape, form, types, labels_of(method, output, examples))

    def check_array(self, array: "np.ndarray[Any, Any]") -> None:
        """Raise BrokenSignatureError unless an array with a row for each answer keeps to the contract."""
        if array.shape[1:] != self.shape:
            raise self._broken(f"rows of the shape {array.shape[1:]}, and {self.shape} is due")
        found = DTYPES[array.dtype.kind]
        for types in self.types:
            self._check_types({found}, types)
        if found is int and float in self.types[0] and array.size:
            self._check_exact(int(array.min()), int(array.max()))

    def check_rows(self, rows: Sequence[Any]) -> None:
        """Raise BrokenSignatureError unless plain values, or lists of them, keep to the contract."""
        if any(_form_of(row) != self.form for row in rows):
            raise self._broken("a row of another shape than the signature has")
        for types, values in self._by_place(self.types, rows):
            self._check_types(set(map(type, values)), types)
            if float in types:
                self._check_exact(*(value for value in values if type(value) is int))

    def check_labels(self, rows: Sequence[Any]) -> None:
        """Raise BrokenSignatureError if a class is answered that is none of those in the signature."""
        if self.labels is None:
            return
        for labels, values in self._by_place(self.labels, rows):
            if not labels.issuperset(values):
                raise self._broken("a label that is none of the classes in the signature")

    def _by_place(self, rules: tuple[Any, ...], rows: Sequence[Any]) -> Iterator[tuple[Any, list[Any]]]:
        if len(rules) == 1:
            yield rules[0], values_of(rows)
        else:
            places = list(zip(*(flat(row) for row in rows), strict=True)) or [()] * len(rules)
            yield from ((rule, list(values)) for rule, values in zip(rules, places, strict=True))

    def _check_types(self, found: set[type], due: frozenset[type]) -> None:
        if not found <= due:
            names = " or ".join(sorted(_named(one) for one in due if one is not int or float not in due))
            raise self._broken(f"{_named(next(iter(found - due)))}, and {names} is due")

    def _check_exact(self, *values: int) -> None:
        if any(abs(value) > EXACT_FLOAT for value in values):
            raise self._broken("an integer that no floating point number holds, where the signature has a number")

    def _broken(self, what: str) -> BrokenSignatureError:
        return BrokenSignatureError(f"The model's {self.method} answers otherwise than its signature says: {what}")


def labels_of(method: str, output: Output, examples: Iterable[Any]) -> tuple[frozenset[Any], ...] | None:
    """Return the labels that `predict` may answer, for each target; None where the examples show others.

    A matrix with a column for each class (of several labels at once) holds no labels.
    """
    if method != "predict" or output.classes is None:
        return None
    classes: Any = output.classes if output.per_target else (output.classes,)
    if output.shape != ((len(classes),) if output.per_target else ()):
        return None
    labels = tuple(frozenset(target) for target in classes)
    shown = all(value in of for row in examples for value, of in zip(flat(row), labels, strict=True))
    return labels if shown else None


def types_of(rows: Sequence[Any]) -> tuple[frozenset[type], ...]:
    """Return the types of the values in some rows: of all alike, or else of each place in a row."""
    together = _widened(set(map(type, values_of(rows))))
    if len(together - {int}) <= 1:
        return (together,)
    return tuple(_widened(set(map(type, values))) for values in zip(*map(flat, rows), strict=True))


def have_one_form(rows: Sequence[Any]) -> bool:
    """Tell whether all rows are of the same form."""
    return len(set(map(_form_of, rows))) <= 1


def _form_of(value: Any) -> Form:
    return tuple(map(_form_of, value)) if isinstance(value, list) else None


def values_of(rows: Sequence[Any]) -> list[Any]:
    """Return the values of some rows, one after another."""
    return [value for row in rows for value in flat(row)] if any(isinstance(row, list) for row in rows) else list(rows)


def flat(value: Any) -> Iterator[Any]:
    """Go through the values of a row, one after another."""
    if isinstance(value, list):
        for part in value:
            yield from flat(part)
    else:
        yield value


def _form_of_shape(shape: tuple[int, ...]) -> Form:
    return (_form_of_shape(shape[1:]),) * shape[0] if shape else None


def _widened(types: set[type]) -> frozenset[type]:
    """An integer is a number too, as in JSON."""
    return frozenset(types | {int} if float in types else types)


def _named(of: type) -> str:
    return next(f"{'an' if kind.value[0] in 'aeiou' else 'a'} {kind.value}" for kind, one in TYPES.items() if one is of)
