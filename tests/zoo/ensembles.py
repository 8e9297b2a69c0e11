"""Models made of models that were fitted side by side, on frames and tables, where each of them knows the columns."""

from typing import Any

from sklearn import ensemble, linear_model, multioutput, naive_bayes, svm, tree
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from zoo import data
from zoo.parts import Specimen, forest, logistic, numbers, scaled, specimen, table, weighing, words


def on_the_table(model: Any) -> Any:
    """Return a pipeline that makes numbers of penguins for a model."""
    return make_pipeline(table(numbers(), words(OneHotEncoder(handle_unknown="ignore"))), model)


ENSEMBLES: list[Specimen] = [
    specimen(
        "voting-table",
        data.penguins,
        lambda: ensemble.VotingClassifier(
            [("linear", on_the_table(logistic())), ("forest", on_the_table(forest()))], voting="soft", weights=[2, 1]
        ),
    ),
    specimen(
        "voting-majority",
        data.wine_frame,
        lambda: ensemble.VotingClassifier(
            [("linear", scaled(logistic())), ("forest", forest()), ("bayes", naive_bayes.GaussianNB())]
        ),
    ),
    specimen(
        "stacking-table",
        data.penguins,
        lambda: ensemble.StackingClassifier(
            [("linear", on_the_table(logistic())), ("forest", on_the_table(forest()))], logistic(), cv=3
        ),
    ),
    specimen(
        "stacking-two-classes",
        data.cancer_frame,
        lambda: ensemble.StackingClassifier(
            [("forest", forest()), ("linear", scaled(svm.LinearSVC(random_state=0)))],
            ensemble.GradientBoostingClassifier(n_estimators=8, random_state=0),
            cv=3,
            passthrough=True,
        ),
    ),
    specimen(
        "calibrated-table",
        data.penguins,
        lambda: CalibratedClassifierCV(on_the_table(svm.LinearSVC(random_state=0)), cv=3),
    ),
    specimen(
        "calibrated-frame",
        data.cancer_frame,
        lambda: CalibratedClassifierCV(naive_bayes.GaussianNB(), method="isotonic", cv=3),
    ),
    specimen("two-label-forest", data.two_flags, forest),
    specimen("two-label-table", data.two_labels, lambda: multioutput.MultiOutputClassifier(forest())),
    specimen("forest-float32", data.digits_float32, forest),
    specimen(
        "voting-weight",
        data.weights,
        lambda: ensemble.VotingRegressor(
            [("ridge", weighing(linear_model.Ridge())), ("lasso", weighing(linear_model.Lasso()))], weights=[1, 3]
        ),
    ),
    specimen(
        "stacking-regressor",
        data.diabetes_frame,
        lambda: ensemble.StackingRegressor(
            [("ridge", linear_model.Ridge()), ("tree", tree.DecisionTreeRegressor(max_depth=3, random_state=0))],
            linear_model.Ridge(),
            cv=3,
        ),
    ),
]
