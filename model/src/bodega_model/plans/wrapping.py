"""Models around a model: searches, which answer by the best they found, and regressors of a changed target."""

from typing import Any

from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

from bodega_model.plans.matrices import Array, Block
from bodega_model.plans.registry import Methods, plan_methods, predictor


@predictor(GridSearchCV, RandomizedSearchCV)
def plan_search(search: Any) -> Methods:
    """Answer by the best estimator."""
    return plan_methods(search.best_estimator_)


@predictor(TransformedTargetRegressor)
def plan_transformed_target(model: TransformedTargetRegressor) -> Methods:
    """Change the answers of the regressor back."""
    predict = plan_methods(model.regressor_)["predict"]
    inverse, is_flat = model.transformer_.inverse_transform, model._training_dim == 1

    def predict_back(block: Block) -> Array:
        answers = predict(block)
        found: Array = inverse(answers.reshape(-1, 1) if answers.ndim == 1 else answers)
        return found.squeeze(axis=1) if is_flat and found.ndim == 2 and found.shape[1] == 1 else found

    return {"predict": predict_back}
