"""Plans: a fitted scikit-learn model as direct numpy steps, for the rows that the API answers one by one.

Nearly all of what scikit-learn spends on one row is checking it: that it is a DataFrame with the right columns, that
its values are finite, for each step of a pipeline again. A request was checked against the signature already. A plan
holds the fitted numbers and calls the estimators' own kernels on them.

Two rules keep a plan honest. It is made only of estimators that it knows by their exact type, and serves only after it
gave the model's own answers to rows that are chosen to find a difference (`gate`). And where it meets anything that
it was not made for, it steps aside (`AsideError`), and the model itself answers or refuses.

A family of estimators is a module here; `registry` says what one looks like, and `matrices` keeps the types of numbers.
"""

from bodega_model.plans.compiling import Plan, compile_plan
from bodega_model.plans.gate import agrees, check_plan
from bodega_model.plans.matrices import AsideError, NoPlanError

__all__ = ["AsideError", "NoPlanError", "Plan", "agrees", "check_plan", "compile_plan"]
