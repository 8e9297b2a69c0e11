"""What is neither classifier nor regressor: clusters, densities, outliers, projections, selections, texts."""

from sklearn import (
    cluster,
    covariance,
    decomposition,
    ensemble,
    feature_selection,
    kernel_approximation,
    linear_model,
    mixture,
    naive_bayes,
    neighbors,
    preprocessing,
    svm,
)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from zoo import data
from zoo.parts import Specimen, forest, logistic, scaled, specimen, table

OTHERS: list[Specimen] = [
    specimen("k-means", data.iris, lambda: scaled(cluster.KMeans(3, n_init=2, random_state=0))),
    specimen("mini-batch-k-means", data.wine_frame, lambda: cluster.MiniBatchKMeans(3, n_init=2, random_state=0)),
    specimen("gaussian-mixture", data.iris, lambda: mixture.GaussianMixture(3, random_state=0)),
    specimen("isolation-forest", data.cancer, lambda: ensemble.IsolationForest(n_estimators=10, random_state=0)),
    specimen("one-class-svm", data.wine, lambda: scaled(svm.OneClassSVM())),
    specimen("outlier-factor", data.wine, lambda: neighbors.LocalOutlierFactor(novelty=True)),
    specimen("elliptic-envelope", data.iris, lambda: covariance.EllipticEnvelope(random_state=0)),
    specimen("kernel-density", data.iris, neighbors.KernelDensity),
    specimen("pca", data.wine_frame, lambda: scaled(decomposition.PCA(3))),
    specimen(
        "pca-logistic",
        data.digits_float32,
        lambda: make_pipeline(decomposition.PCA(10, random_state=0), logistic()),
    ),
    specimen("nmf", data.digits, lambda: decomposition.NMF(5, init="nndsvda", tol=0.05, random_state=0)),
    specimen(
        "select-k-best",
        data.cancer_frame,
        lambda: make_pipeline(
            feature_selection.SelectPercentile(percentile=30), preprocessing.MinMaxScaler(), logistic()
        ),
    ),
    specimen(
        "select-f-regression",
        data.diabetes_frame,
        lambda: make_pipeline(
            feature_selection.SelectKBest(feature_selection.f_regression, k=4),
            linear_model.LinearRegression(),
        ),
    ),
    specimen(
        "select-chi2",
        data.digits_integer,
        lambda: make_pipeline(feature_selection.SelectKBest(feature_selection.chi2, k=20), naive_bayes.MultinomialNB()),
    ),
    specimen(
        "select-from-model",
        data.cancer_frame,
        lambda: make_pipeline(feature_selection.SelectFromModel(forest()), preprocessing.MaxAbsScaler(), logistic()),
    ),
    specimen(
        "rfe",
        data.wine,
        lambda: scaled(logistic(), feature_selection.RFE(logistic(), n_features_to_select=5, step=4)),
    ),
    specimen(
        "nystroem",
        data.digits,
        lambda: make_pipeline(
            preprocessing.Normalizer(),
            kernel_approximation.Nystroem(n_components=20, random_state=0),
            logistic(),
        ),
    ),
]

TEXTS: list[Specimen] = [
    specimen("tf-idf", data.lines, lambda: make_pipeline(TfidfVectorizer(), logistic())),
    specimen(
        "tf-idf-stop-words",
        data.lines,
        lambda: make_pipeline(
            TfidfVectorizer(stop_words="english", ngram_range=(1, 2)),
            linear_model.SGDClassifier(random_state=0),
        ),
    ),
    specimen(
        "counts",
        data.lines,
        lambda: make_pipeline(CountVectorizer(analyzer="char_wb", ngram_range=(2, 3)), naive_bayes.MultinomialNB()),
    ),
    specimen(
        "hashing",
        data.lines,
        lambda: make_pipeline(HashingVectorizer(n_features=256, alternate_sign=False), naive_bayes.ComplementNB()),
    ),
    specimen(
        "topics",
        data.lines,
        lambda: make_pipeline(TfidfVectorizer(), decomposition.TruncatedSVD(5, random_state=0), logistic()),
    ),
    specimen(
        "latent-dirichlet",
        data.lines,
        lambda: make_pipeline(
            CountVectorizer(), decomposition.LatentDirichletAllocation(3, max_iter=3, random_state=0)
        ),
    ),
    specimen(
        "text-neighbours",
        data.lines,
        lambda: make_pipeline(TfidfVectorizer(), neighbors.KNeighborsClassifier()),
    ),
    specimen(
        "text-and-number",
        data.line_table,
        lambda: make_pipeline(
            table(("text", TfidfVectorizer(), "text"), ("length", StandardScaler(), ["length"])), logistic()
        ),
    ),
]
