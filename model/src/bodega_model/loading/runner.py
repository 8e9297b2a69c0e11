"""A loaded version that predicts: the layer between the store and its callers.

A runner keeps to plain columns in and plain rows out, so that a model can move into a process of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from bodega_model.errors import BodegaError, DeserialiseError, GoldenMismatchError
from bodega_model.formats.codecs import load, measure
from bodega_model.formats.policy import Policy
from bodega_model.golden import Golden
from bodega_model.loading.environment import check_environment, other_versions
from bodega_model.signature.configuration import by_default
from bodega_model.signature.conformance import Contract
from bodega_model.signature.inputs import Wire
from bodega_model.signature.outputs import answer_columns, check_output, same_answer
from bodega_model.signature.types import Signature


@dataclass(frozen=True, slots=True)
class Runner:
    """A model that reproduced its golden predictions; `size_bytes` is about what it takes in memory.

    Its answers are held to its signature, and to what its golden answers show beyond that (`conformance`).
    """

    model: Any
    signature: Signature
    size_bytes: int
    golden: Golden
    contracts: Mapping[str, Contract] = field(init=False)

    def __post_init__(self) -> None:
        contracts = {
            name: Contract.of(name, output, self.golden.outputs.get(name, ()))
            for name, output in self.signature.outputs.items()
        }
        object.__setattr__(self, "contracts", contracts)

    def predict(self, columns: Wire, output: str | None = None) -> list[Any]:
        """Answer for JSON columns that fit the signature: one value or list for each row.

        Raises OutputNotAvailableError, or PredictionError and its kin.
        """
        method = check_output(self.signature, output)
        return answer_columns(self.model, method, self.signature, columns, self.contracts[method])


def start_runner(
    file: BinaryIO,
    fmt: str,
    signature: Signature,
    golden: Golden,
    environment: Mapping[str, Any],
    policy: Policy,
) -> Runner:
    """Load verified bytes and let them prove themselves on the golden rows.

    The steps are, in this order: format, archive, environment, types, load, golden rows. Raises LoadError, which names
    the one that failed; where a part's library has another version here, the advice says so.
    """
    size = measure(file, fmt, policy)
    check_environment(environment, allow_mismatch=policy.allow_sklearn_mismatch)
    try:
        with by_default():
            runner = Runner(load(file, fmt, policy), signature, size, golden)
        with by_default():  # anew: what was imported for the load may have set others, for this thread alone
            check_golden(runner, golden)
    except (DeserialiseError, GoldenMismatchError) as exc:
        others = other_versions(environment)
        raise type(exc)(exc.message, " ".join([*(f"{other}." for other in others), exc.advice])) from exc
    return runner


def check_golden(runner: Runner, golden: Golden) -> None:
    """Raise GoldenMismatchError unless the model repeats every prediction it made when it was registered."""
    for output, expected in golden.outputs.items():
        try:
            actual = runner.predict(golden.inputs, output)
        except BodegaError as exc:
            raise GoldenMismatchError(
                f"The loaded model fails on its golden rows ({output}): {exc.message}",
                "It depends on something beyond its file; register it again with all it needs.",
            ) from exc
        wrong = sum(not same_answer(a, b) for a, b in zip(expected, actual, strict=True))
        if wrong:
            raise GoldenMismatchError(
                f"The loaded model answers {wrong} of {golden.rows} golden rows differently ({output})",
                "It depends on chance or on this environment; fix random_state or register it again from here.",
            )
