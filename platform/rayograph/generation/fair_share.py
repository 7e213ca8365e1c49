"""How jobs that draw on one cluster at the same time share it: by their priorities, and nothing lies idle."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle

NAMESPACE, NAME = "rayograph", "rayograph-fair-share"
SILENCE_SECONDS = 15.0
"""After so long without asking, a job is taken for gone."""


@dataclass(frozen=True)
class Demand:
    """`most` and `least` in what a cluster is measured by: GPUs where the job draws on them, else CPUs."""

    priority: int
    most: float
    least: float


def divide(capacity: float, demands: Mapping[str, Demand]) -> dict[str, float]:
    """Give each job its part by priority; what one does not need goes to the others by theirs (max-min fairness).

    None gets less than its `least`, one replica, which the others do without; where even these are more than there is,
    one waits its turn in Ray.
    """
    low = _at(0.0, demands)
    for level in sorted({bound / one.priority for one in demands.values() for bound in (one.least, one.most)}):
        high = _at(level, demands)
        before, after = sum(low.values()), sum(high.values())
        if after > capacity:  # all is linear between two levels
            share = max(0.0, capacity - before) / (after - before) if after > before else 0.0
            return {job: low[job] + share * (high[job] - low[job]) for job in demands}
        low = high
    return low


def _at(level: float, demands: Mapping[str, Demand]) -> dict[str, float]:
    """Parts where each job has `level` for each point of its priority, as far as it needs, and its least."""
    return {job: max(one.least, min(level * one.priority, one.most)) for job, one in demands.items()}


class FairShareActor:
    """Asked by the drivers of all jobs of a cluster. It remembers nothing that they do not say again."""

    def __init__(self) -> None:
        self._demands: dict[str, tuple[float, Demand]] = {}

    def part(self, job: str, demand: Demand, capacity: float) -> float:
        """Return what `job` may use now, of `capacity`."""
        now = time.monotonic()
        self._demands[job] = (now, demand)
        self._demands = {name: said for name, said in self._demands.items() if now - said[0] < SILENCE_SECONDS}
        return divide(capacity, {name: said for name, (_, said) in self._demands.items()})[job]

    def leave(self, job: str) -> None:
        self._demands.pop(job, None)


@dataclass(frozen=True)
class FairShare:
    """One job's view of it. Without a shared cluster the job has all it wants."""

    job: str
    priority: int
    replicas: int
    cost: float
    resource: str
    shared: bool

    def now(self, units_left: int) -> int:
        """Return the replicas that the job may keep busy."""
        need = min(self.replicas, units_left)
        if not self.shared:
            return need
        demand = Demand(self.priority, need * self.cost, self.cost)
        capacity = ray.cluster_resources().get(self.resource, 0.0)
        try:
            part: float = ray.get(self._actor().part.remote(self.job, demand, capacity), timeout=10)
        except ray.exceptions.RayError:  # its node is gone: the next one knows all within seconds
            return need
        return max(1, min(need, int(part / self.cost + 1e-9)))

    def close(self) -> None:
        """Leave, so that the others need not wait to find out."""
        if self.shared:
            self._actor().leave.remote(self.job)

    def _actor(self) -> "ActorHandle[FairShareActor]":
        options = {"name": NAME, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True, "num_cpus": 0}
        actor: ActorHandle[FairShareActor] = ray.remote(FairShareActor).options(**options).remote()
        return actor
