"""Jobs that draw on one cluster at the same time divide it, through an actor that forgets who is gone."""

import time

import pytest
import ray

from rayograph.generation.fair_share import NAME, NAMESPACE, FairShare

pytestmark = pytest.mark.usefixtures("cluster")


def test_two_jobs_share_a_cluster_by_priority_and_the_rest_goes_to_who_can_use_it() -> None:
    capacity = int(ray.cluster_resources()["CPU"] / 0.5)
    low, high = (
        FairShare(name, priority, capacity, 0.5, "CPU", shared=True) for name, priority in (("a", 1), ("b", 3))
    )
    assert low.now(1000) == capacity
    assert high.now(1000) == capacity * 3 // 4
    assert low.now(1000) == capacity // 4
    assert high.now(1) == 1  # nearly done
    assert low.now(1000) == capacity - 1
    high.close()
    deadline = time.monotonic() + 300
    while low.now(1000) < capacity:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_lost_actor_is_made_anew_and_knows_all_again_as_jobs_ask() -> None:
    low, high = (FairShare(name, 1, 100, 0.5, "CPU", shared=True) for name in ("c", "d"))
    assert low.now(1000)
    assert high.now(1000)
    ray.kill(ray.get_actor(NAME, NAMESPACE))
    deadline = time.monotonic() + 300
    half = int(ray.cluster_resources()["CPU"])
    while (low.now(1000), high.now(1000)) != (half, half):
        assert time.monotonic() < deadline
        time.sleep(0.1)
