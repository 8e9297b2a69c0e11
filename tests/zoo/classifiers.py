"""Classifiers of every family, with labels of text, numbers and booleans, one target and several."""

import warnings
from typing import Any

from sklearn import (
    discriminant_analysis,
    dummy,
    ensemble,
    gaussian_process,
    linear_model,
    model_selection,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    semi_supervised,
    svm,
    tree,
)
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline

from zoo import data
from zoo.parts import Specimen, forest, logistic, scaled, specimen


class QuietSVC(svm.SVC):
    """An SVC with probabilities: deprecated since scikit-learn 1.9, and still what many people use."""

    def fit(self, X: Any, y: Any) -> Any:
        """Fit a plain SVC and return that one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return svm.SVC(probability=True, random_state=0).fit(X, y)


CLASSIFIERS: list[Specimen] = [
    specimen("tree", data.iris, lambda: tree.DecisionTreeClassifier(random_state=0)),
    specimen("forest", data.wine_frame, forest),
    specimen("extra-trees", data.wine, lambda: ensemble.ExtraTreesClassifier(8, random_state=0)),
    specimen(
        "gradient-boosting",
        data.iris_frame,
        lambda: ensemble.GradientBoostingClassifier(n_estimators=8, random_state=0),
    ),
    specimen(
        "gradient-boosting-binary",
        data.cancer,
        lambda: ensemble.GradientBoostingClassifier(n_estimators=8, random_state=0),
    ),
    specimen(
        "gradient-boosting-exponential",
        data.cancer,
        lambda: ensemble.GradientBoostingClassifier(loss="exponential", n_estimators=8, random_state=0),
    ),
    specimen("ada-boost", data.iris, lambda: ensemble.AdaBoostClassifier(n_estimators=8, random_state=0)),
    specimen("bagging", data.iris, lambda: ensemble.BaggingClassifier(logistic(), 4, random_state=0)),
    specimen("svc", data.iris_frame, lambda: scaled(svm.SVC())),
    specimen("svc-probability", data.measures, QuietSVC),
    specimen("nu-svc", data.iris, lambda: scaled(svm.NuSVC(nu=0.2))),
    specimen("neighbours", data.iris, neighbors.KNeighborsClassifier),
    specimen("neighbours-ball-tree", data.wine, lambda: neighbors.KNeighborsClassifier(algorithm="ball_tree")),
    specimen("neighbours-float32", data.digits_float32, lambda: neighbors.KNeighborsClassifier(algorithm="brute")),
    specimen(
        "neighbours-float32-tree",
        data.digits_float32,
        lambda: neighbors.KNeighborsClassifier(algorithm="kd_tree"),
    ),
    specimen("neighbours-manhattan", data.wine, lambda: neighbors.KNeighborsClassifier(metric="manhattan")),
    specimen("neighbours-minkowski", data.wine, lambda: neighbors.KNeighborsClassifier(p=3)),
    specimen("nearest-centroid", data.measures, neighbors.NearestCentroid),
    specimen("gaussian-bayes", data.measures, naive_bayes.GaussianNB),
    specimen(
        "bernoulli-bayes",
        data.digits,
        lambda: make_pipeline(preprocessing.Binarizer(threshold=7), naive_bayes.BernoulliNB()),
    ),
    specimen("categorical-bayes", data.digits_integer, lambda: naive_bayes.CategoricalNB(min_categories=17)),
    specimen(
        "mlp",
        data.iris,
        lambda: scaled(neural_network.MLPClassifier((8,), solver="lbfgs", max_iter=5000, random_state=0)),
    ),
    specimen(
        "mlp-adam",
        data.iris,
        lambda: scaled(neural_network.MLPClassifier((8,), tol=0.1, max_iter=500, random_state=0)),
    ),
    specimen(
        "mlp-sgd",
        data.iris,
        lambda: scaled(neural_network.MLPClassifier((8,), solver="sgd", tol=0.1, max_iter=500, random_state=0)),
    ),
    specimen(
        "calibrated-sigmoid",
        data.cancer,
        lambda: CalibratedClassifierCV(scaled(svm.LinearSVC(random_state=0)), cv=3),
    ),
    specimen(
        "calibrated-isotonic",
        data.cancer,
        lambda: CalibratedClassifierCV(naive_bayes.GaussianNB(), method="isotonic", cv=3),
    ),
    specimen(
        "stacking",
        data.wine,
        lambda: ensemble.StackingClassifier(
            [("forest", forest()), ("bayes", naive_bayes.GaussianNB())], logistic(), cv=3
        ),
    ),
    specimen(
        "voting",
        data.measures,
        lambda: ensemble.VotingClassifier(
            [("forest", forest()), ("neighbours", neighbors.KNeighborsClassifier())], voting="soft"
        ),
    ),
    specimen(
        "grid-search",
        data.iris_frame,
        lambda: model_selection.GridSearchCV(scaled(svm.SVC()), {"svc__C": [0.1, 1.0]}, cv=3),
    ),
    specimen("one-vs-rest", data.iris, lambda: multiclass.OneVsRestClassifier(logistic())),
    specimen("one-vs-one", data.iris, lambda: multiclass.OneVsOneClassifier(logistic())),
    specimen("multi-output-text", data.two_labels, lambda: multioutput.MultiOutputClassifier(scaled(logistic()))),
    specimen("two-label-tree", data.two_flags, lambda: tree.DecisionTreeClassifier(max_depth=4, random_state=0)),
    specimen(
        "classifier-chain",
        data.two_flags,
        lambda: multioutput.ClassifierChain(scaled(logistic()), random_state=0),
    ),
    specimen("linear-discriminant", data.iris_frame, discriminant_analysis.LinearDiscriminantAnalysis),
    specimen("quadratic-discriminant", data.iris, discriminant_analysis.QuadraticDiscriminantAnalysis),
    specimen("gaussian-process", data.iris, lambda: gaussian_process.GaussianProcessClassifier(optimizer=None)),
    specimen("ridge-classifier", data.cancer_frame, lambda: scaled(linear_model.RidgeClassifier())),
    specimen(
        "sgd-log-loss",
        data.cancer_frame,
        lambda: scaled(linear_model.SGDClassifier(loss="log_loss", random_state=0)),
    ),
    specimen("label-spreading", data.iris, lambda: semi_supervised.LabelSpreading(kernel="knn")),
    specimen(
        "fixed-threshold",
        data.cancer,
        lambda: model_selection.FixedThresholdClassifier(scaled(logistic()), threshold=0.3),
    ),
    specimen("dummy", data.measures, lambda: dummy.DummyClassifier(strategy="prior")),
]
