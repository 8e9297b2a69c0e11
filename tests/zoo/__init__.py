"""Fitted scikit-learn pipelines of every sort, and models that a registration must refuse.

`SPECIMENS` are models that a person would register, each with the example that person would pass; `REFUSED` are
models that Bodega turns away, with the error it must give. Each is fitted on first use, once per process.
"""

from zoo.classifiers import CLASSIFIERS
from zoo.ensembles import ENSEMBLES
from zoo.others import OTHERS, TEXTS
from zoo.parts import Fitted, Refused, Specimen, answer
from zoo.refused import REFUSED
from zoo.regressors import REGRESSORS
from zoo.tables import TABLES

SPECIMENS: list[Specimen] = [*TABLES, *CLASSIFIERS, *REGRESSORS, *ENSEMBLES, *OTHERS, *TEXTS]

__all__ = ["REFUSED", "SPECIMENS", "Fitted", "Refused", "Specimen", "answer"]
