"""What a load leaves behind in memory."""

import sys
from pathlib import Path

import psutil
import pytest
from bodega_db.store import ModelStore
from fitting import bytes_of_trees, fit_noise
from processes import api_process


@pytest.mark.skipif(sys.platform != "linux", reason="another allocator does as it likes")
def test_a_load_gives_back_what_it_needed_beside_the_model(store: ModelStore, database_url: str, volume: Path) -> None:
    forest, noise = fit_noise()
    store.register(forest, "forest", example=noise.head(20))
    body = {"rows": noise.head(1).to_dict(orient="records")}
    with api_process(database_url, volume) as api:
        before = psutil.Process(api.process.pid).memory_info().rss
        assert api.predict(body, model="forest").status_code == 200
        after = psutil.Process(api.process.pid).memory_info().rss
    # Without telling the allocator anything it is 1.65 times as much.
    assert after - before < 1.4 * bytes_of_trees(forest)
