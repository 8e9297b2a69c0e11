"""Naive Bayes on numbers: its own likelihoods, without a look at the frame."""

import numpy as np
from scipy.special import logsumexp
from sklearn.naive_bayes import GaussianNB

from bodega_model.plans.linear import numbers
from bodega_model.plans.matrices import Array, Block, finite
from bodega_model.plans.registry import Methods, predictor


@predictor(GaussianNB)
def plan_gaussian_bayes(model: GaussianNB) -> Methods:
    """Choose the class with the largest likelihood; probabilities are likelihoods by their sum."""
    classes = model.classes_

    def likelihoods(block: Block) -> Array:
        return finite(model._joint_log_likelihood(numbers(block)))

    def predict_proba(block: Block) -> Array:
        found = likelihoods(block)
        shares: Array = np.exp(found - logsumexp(found, axis=1)[:, None])
        return shares

    return {"predict": lambda block: classes[likelihoods(block).argmax(axis=1)], "predict_proba": predict_proba}
