"""Whether a client of one signature can call another one: every difference, and which of them break.

A client sends rows by name, with every column of the signature and no other, and gets JSON back. It relies on what it
was shown (the columns, and the values of the example, missing ones too) and on outputs: the one that answers where
none is named, those that were promised, and those that were asked. What a version can do beyond that, and another one
cannot, is a note. How the model itself takes the rows (order, memory, the null of its data) binds no client.
"""

from collections.abc import Mapping
from datetime import datetime

from bodega_model.signature.compatible_inputs import compare_inputs
from bodega_model.signature.compatible_outputs import compare_outputs
from bodega_model.signature.contracts import relied_outputs
from bodega_model.signature.differences import Change
from bodega_model.signature.types import Signature


def compare_signatures(
    before: Signature, after: Signature, asked: Mapping[str, datetime] | None = None
) -> tuple[Change, ...]:
    """Return every difference that a client of the first signature may meet at the second: input, then output.

    `asked` are the outputs of the first one that were answered, each with the moment of the last time.
    """
    relied = relied_outputs(before, asked or {})
    return (*compare_inputs(before, after), *compare_outputs(before, after, relied))
