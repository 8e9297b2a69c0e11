"""What callers of a version rely on: the output by default, those that were promised, those that were asked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches

from bodega_model.errors import RegistrationError
from bodega_model.signature.types import Signature


def promise(signature: Signature, outputs: Sequence[str] | str | None) -> Signature:
    """Return the signature with the outputs that callers may rely on; raise RegistrationError for one there is not."""
    named = (outputs,) if isinstance(outputs, str) else tuple(dict.fromkeys(outputs or ()))
    for name in named:
        if name not in signature.outputs:
            raise RegistrationError(
                f"The model has no output {name!r:.40}, which was to be promised", _did_you_mean(name, signature)
            )
    return replace(signature, promised=named)


def _did_you_mean(name: object, signature: Signature) -> str:
    close = get_close_matches(name, signature.outputs, 1) if isinstance(name, str) else []
    there = f"It has: {', '.join(signature.outputs)}."
    return f"Did you mean {close[0]!r}? {there}" if close else there


def relied_outputs(signature: Signature, asked: Mapping[str, datetime]) -> dict[str, str]:
    """Return the outputs that callers rely on, each with the reason; `asked` says when one was last answered."""
    relied = {signature.default_output: "answers where no output is named"} if signature.outputs else {}
    for output in signature.promised:
        relied.setdefault(output, "was promised when it was registered")
    for output, moment in asked.items():
        if output in signature.outputs:
            relied.setdefault(output, f"was asked over HTTP, last on {moment:%Y-%m-%d}")
    return relied
