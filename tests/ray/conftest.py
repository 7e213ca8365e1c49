"""One small local cluster for all tests here."""

from collections.abc import Iterator

import pytest
import s3_servers

from rayograph.config import RayCluster, Scale


@pytest.fixture(scope="session")
def scale() -> Scale:
    return Scale(ray=RayCluster(local_cpus=4))


@pytest.fixture(scope="session")
def cluster(scale: Scale) -> Iterator[None]:
    from rayograph.pipeline.ray_cluster import connect

    with s3_servers.credentials(), pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("WANDB_MODE", "disabled")
        connect(scale)
        yield
        import ray

        ray.shutdown()
