"""Whether a model answers as another one did: outputs, their shapes, and what their values stand for."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from bodega_model.signature.differences import Change, Grade, beyond, grade_of, listed
from bodega_model.signature.types import Output, Scalar, Signature

Label = tuple[bool, Scalar]
PREDICT = "predict"
ALONE = "each is answered by itself now, whatever rows are asked with it"
TOGETHER = "are answered together now: an answer depends on the other rows of its request"
NEVER_ASKED = "it was neither promised nor asked"


def compare_outputs(before: Signature, after: Signature, relied: Mapping[str, str]) -> Iterator[Change]:
    """Go through what differs in what a client gets; what breaks the clients of an output needs some who rely on it."""
    for name, output in before.outputs.items():
        if name not in after.outputs:
            why = f"{name} {relied[name]}" if name in relied else NEVER_ASKED
            yield Change(f"output {name}", f"is gone; {why}", grade_of(name in relied))
            continue
        changes = (
            *_compare_forms(f"output {name}", output, after.outputs[name]),
            *_compare_classes(name, before, after),
        )
        yield from changes if name in relied else map(_noted, changes)
    for name in after.outputs:
        if name not in before.outputs:
            yield Change(f"output {name}", "is new", Grade.NOTE)
    if before.row_wise != after.row_wise and None not in (before.row_wise, after.row_wise):
        yield Change("rows", ALONE if after.row_wise else TOGETHER, Grade.NOTE)
    if before.outputs and after.outputs and before.default_output != after.default_output:
        detail = f"{after.default_output} answers in place of {before.default_output} where none is named"
        yield Change("default output", detail, Grade.BREAKING)


def _noted(change: Change) -> Change:
    """Turn what would break the clients of an output into a note, for there are none."""
    return Change(change.what, f"{change.detail}; {NEVER_ASKED}", Grade.NOTE) if change.breaking else change


def _compare_forms(place: str, before: Output, after: Output) -> Iterator[Change]:
    if before.kind is not after.kind:
        yield Change(place, f"{before.kind} became {after.kind}", Grade.BREAKING)
    if before.shape != after.shape:
        yield Change(place, f"the shape of a row {before.shape} became {after.shape}", Grade.BREAKING)
    if before.columns != after.columns:
        # Also where there were no names before: nothing says that the values still mean the same.
        yield Change(place, "its columns have other names", Grade.BREAKING)
    if before.per_target != after.per_target:
        now = "for each target" if after.per_target else "once for all targets"
        yield Change(place, f"its classes are listed {now}", Grade.BREAKING)


def _compare_classes(name: str, before: Signature, after: Signature) -> Iterator[Change]:
    """Compare what the values stand for: the labels that `predict` answers, or the place of a class in a vector."""
    place, by_place = f"output {name}", name != PREDICT
    was, now = _classes_by_target(before, name), _classes_by_target(after, name)
    if len(was) != len(now):
        # The classes are not part of what `predict` answers: its labels may stay what they are.
        yield Change(place, f"lists of classes: {len(was)} became {len(now)}", grade_of(by_place))
        return
    for labels_before, labels_after in zip(was, now, strict=True):
        new, lost = beyond(labels_after, labels_before), beyond(labels_before, labels_after)
        # A client reads a label of `predict` by itself, and one more is what a model learns with new data. One that
        # never comes again, or comes under another name, is what a client may wait for in vain.
        if new:
            yield Change(place, f"new classes: {_shown_labels(new)}", grade_of(by_place or bool(lost)))
        if lost:
            yield Change(place, f"lost classes: {_shown_labels(lost)}", Grade.BREAKING)
        if not new and not lost and labels_before != labels_after:
            grade = Grade.BREAKING if by_place else Grade.SAME
            yield Change(place, f"class order: now {_shown_labels(labels_after)}", grade)


def _classes_by_target(signature: Signature, name: str) -> tuple[tuple[Label, ...], ...]:
    output = signature.outputs[name]
    if output.classes is None and name == "decision_function" and PREDICT in signature.outputs:
        # Of two classes it answers a single value without classes, whose sign means the second one of `predict`.
        output = signature.outputs[PREDICT]
    if output.classes is None:
        return ()
    targets: Any = output.classes if output.per_target else (output.classes,)
    return tuple(tuple(_label(value) for value in labels) for labels in targets)


def _label(value: Any) -> Label:
    """Tell True from 1, which Python holds to be equal and JSON does not; 1 and 1.0 are one number in both."""
    return isinstance(value, bool), value


def _shown_labels(labels: Collection[Label]) -> str:
    return listed([value for _, value in labels])
