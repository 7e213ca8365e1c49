"""How jobs that draw on one cluster at the same time share it: by their priorities, and nothing lies idle."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

NAMESPACE, NAME = "rayograph", "rayograph-shares"
SILENCE_SECONDS = 15.0
"""After so long without asking, a job is taken for gone."""


@dataclass(frozen=True)
class Want:
    """`need` and `least` in what a cluster is measured by: GPUs where the job draws on them, else CPUs."""

    priority: int
    need: float
    least: float


def divide(capacity: float, wants: Mapping[str, Want]) -> dict[str, float]:
    """To each job its part by priority; what one does not need goes to the others by theirs (max-min fairness).

    None gets less than its `least`, one replica, which the others do without; where even these are more than there is,
    one waits its turn in Ray.
    """
    low = _at(0.0, wants)
    for level in sorted({bound / want.priority for want in wants.values() for bound in (want.least, want.need)}):
        high = _at(level, wants)
        before, after = sum(low.values()), sum(high.values())
        if after > capacity:  # all is linear between two levels
            share = max(0.0, capacity - before) / (after - before) if after > before else 0.0
            return {job: low[job] + share * (high[job] - low[job]) for job in wants}
        low = high
    return low


def _at(level: float, wants: Mapping[str, Want]) -> dict[str, float]:
    """Parts where each job has `level` for each point of its priority, as far as it needs, and its least."""
    return {job: max(want.least, min(level * want.priority, want.need)) for job, want in wants.items()}


class Shares:
    """An actor that all coordinators of a cluster ask. It remembers nothing that they do not say again."""

    def __init__(self) -> None:
        self._wants: dict[str, tuple[float, Want]] = {}

    def part(self, job: str, want: Want, capacity: float) -> float:
        """What `job` may use now, of `capacity`."""
        now = time.monotonic()
        self._wants[job] = (now, want)
        self._wants = {name: said for name, said in self._wants.items() if now - said[0] < SILENCE_SECONDS}
        return divide(capacity, {name: want for name, (_, want) in self._wants.items()})[job]

    def leave(self, job: str) -> None:
        self._wants.pop(job, None)


@dataclass
class Share:
    """One job's view of it. Without a shared cluster the job has all it wants."""

    job: str
    priority: int
    replicas: int
    cost: float
    resource: str
    shared: bool

    def now(self, units_left: int) -> int:
        """Replicas that the job may keep busy."""
        need = min(self.replicas, units_left)
        if not self.shared:
            return need
        want = Want(self.priority, need * self.cost, self.cost)
        capacity = ray.cluster_resources().get(self.resource, 0.0)
        try:
            part: float = ray.get(self._actor().part.remote(self.job, want, capacity), timeout=10)
        except ray.exceptions.RayError:  # its node is gone: the next one knows all within seconds
            return need
        return max(1, min(need, int(part / self.cost + 1e-9)))

    def close(self) -> None:
        """The others need not wait to find out."""
        if self.shared:
            self._actor().leave.remote(self.job)

    def _actor(self) -> Any:
        options = {"name": NAME, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True, "num_cpus": 0}
        return ray.remote(Shares).options(**options).remote()
