"""Whether the process lives, and whether it can serve."""

from fastapi import APIRouter, Depends

from bodega_api.http.parameters import only_parameters
from bodega_api.routes.dependencies import Served
from bodega_api.routes.responses import HealthAnswer, ProblemAnswer

router = APIRouter(tags=["health"], dependencies=[Depends(only_parameters())])


@router.get("/healthz", response_model_exclude_none=True, operation_id="check_health")
def live() -> HealthAnswer:
    """Report that the process responds; nothing else is checked."""
    return HealthAnswer(status="alive")


@router.get("/readyz", responses={"503": {"model": ProblemAnswer}}, operation_id="check_readiness")
def ready(services: Served) -> HealthAnswer:
    """Report whether the catalog responds with the right schema, the volume is readable, and no calls hang.

    With BODEGA_KEEP_WARM, the versions in production are in memory.
    """
    services.calls.check()
    generation = services.store.check_catalog()
    services.store.check_volume()
    services.warming.check()
    return HealthAnswer(
        status="ready",
        loaded=services.loaded.references,
        generation=generation,
        snapshot_age_seconds=services.routes.age_seconds,
        trouble=services.inspection.trouble,
    )
