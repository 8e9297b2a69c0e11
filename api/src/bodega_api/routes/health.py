"""Whether the process lives, and whether it can serve."""

from fastapi import APIRouter, Depends

from bodega_api.http.parameters import only_parameters
from bodega_api.routes.dependencies import Choices, Inspected, Loaded, ModelCalls, Store, Warm
from bodega_api.routes.responses import HealthAnswer, ProblemAnswer

router = APIRouter(tags=["health"], dependencies=[Depends(only_parameters())])


@router.get("/healthz", response_model_exclude_none=True, operation_id="check_health")
def live() -> HealthAnswer:
    """Say that the process answers; it asks nobody else."""
    return HealthAnswer(status="alive")


@router.get("/readyz", responses={"503": {"model": ProblemAnswer}}, operation_id="check_readiness")
def ready(
    store: Store, routes: Choices, loaded: Loaded, calls: ModelCalls, warming: Warm, inspection: Inspected
) -> HealthAnswer:
    """Say that the catalog answers, has the schema of this program, and the volume, and that no calls hang.

    With BODEGA_KEEP_WARM, the versions in production are in memory.
    """
    calls.check()
    generation = store.check_catalog()
    store.check_volume()
    warming.check()
    return HealthAnswer(
        status="ready",
        loaded=loaded.references,
        generation=generation,
        snapshot_age_seconds=routes.age_seconds,
        trouble=inspection.trouble,
    )
