"""What models need of other libraries: imported before the first load, and set aside from the garbage collector."""

import gc
from functools import cache

from bodega_model.loading.sandbox_worker import import_what_models_need
from bodega_model.plans.compiling import import_families


def import_libraries() -> None:
    """Import what models need, so that the first load need not: most of them are pipelines of scikit-learn."""
    import_what_models_need()
    import_families()
    set_libraries_aside()


@cache
def set_libraries_aside() -> None:
    """Keep the garbage collector from looking at what the libraries brought, once they are imported.

    Once, and not after each load: garbage among what is set aside would never be collected.
    """
    gc.collect()
    gc.freeze()
