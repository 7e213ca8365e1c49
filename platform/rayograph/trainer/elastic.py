"""How many workers a training runs on: as many as fit on the nodes that are there to stay.

A group of workers never changes its size. It is told to stop at a checkpoint, and the next one has another size: the
order of the samples, the global batch and the random draws do not depend on it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import ray

from rayograph.config import Scale
from rayograph.errors import ResourceError
from rayograph.ray_compat import draining_nodes

SETTLED_SECONDS = 10.0
"""New room must have been there as long before a training moves into it: machines come in twos and threes."""

LOOK_EVERY_SECONDS = 1.0
SAY_EVERY_SECONDS = 60.0


@dataclass
class Room:
    """What the cluster has for the workers of one training. `counts` are those it can run on, the largest first."""

    scale: Scale
    counts: list[int]
    _wanted: int | None = None
    _since: float = 0.0
    _looked: float = 0.0

    def now(self) -> int | None:
        """The largest number of workers that fits; None if not even the fewest do. Draining nodes do not count."""
        training, stream_cpus = self.scale.training, self.scale.ingest.cpus_per_task
        nodes = _nodes()
        places = sum(self._places(node) for node in nodes)
        cpus = _sum(nodes).get("CPU", 0.0) + 1e-9
        fitting = (n for n in self.counts if n <= places and n * (training.cpus_per_worker + stream_cpus) <= cpus)
        return next(fitting, None)

    def require(self, what: str) -> None:
        """Raises ResourceError where the cluster, as it is, has no room and will not grow."""
        if self.scale.ray.autoscaling or self.now() is not None:
            return
        training, has = self.scale.training, _sum(_nodes())
        reading = f"{self.scale.ingest.cpus_per_task:g} to read for it"
        one = f"{training.cpus_per_worker:g} CPUs (and {reading})" + (" and a GPU" if self.scale.gpus else "")
        there = ", ".join(f"{has.get(name, 0):g} {name}s" for name in ("CPU", "GPU"))
        raise ResourceError(
            f"{what}: expected room for {self.counts[-1]} workers of {one} each, got {len(_nodes())} nodes with "
            f"{there} together: a smaller scale profile or a larger cluster is needed"
        )

    def wait(self, say: Callable[[str], None]) -> int:
        """The number of workers to start with, once there is room for any."""
        said = -math.inf
        while True:
            found = self.now()
            if found is not None:
                return found
            if self.scale.ray.autoscaling:
                return self.counts[-1]  # their wanting is what makes the cluster grow
            if time.monotonic() - said > SAY_EVERY_SECONDS:
                said = time.monotonic()
                say(f"waits for room for {self.counts[-1]} workers")
            time.sleep(LOOK_EVERY_SECONDS)

    def another(self, workers: int, nodes: set[str]) -> bool:
        """Whether a group of `workers` on `nodes` should stop: one of them is going away, or there is more room."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY_SECONDS:
            return False
        self._looked = now
        if nodes & draining_nodes():
            return True
        wanted = self.now() if len(self.counts) > 1 else workers
        if wanted != self._wanted:
            self._wanted, self._since = wanted, now
        return wanted is not None and wanted > workers and now - self._since >= SETTLED_SECONDS

    def ask_for_more(self) -> None:
        """Tells an autoscaling cluster how large it may grow for this training."""
        if self.scale.ray.autoscaling:
            from ray.autoscaler.sdk import request_resources

            one = {"CPU": self.scale.training.cpus_per_worker + self.scale.ingest.cpus_per_task}
            request_resources(bundles=[one | ({"GPU": 1} if self.scale.gpus else {})] * self.counts[0])

    def ask_for_nothing(self) -> None:
        """What is idle may go."""
        if self.scale.ray.autoscaling:
            from ray.autoscaler.sdk import request_resources

            request_resources(bundles=[])

    def _places(self, node: dict[str, float]) -> int:
        by_cpu = math.floor(node.get("CPU", 0.0) / self.scale.training.cpus_per_worker + 1e-9)
        return min(by_cpu, int(node.get("GPU", 0))) if self.scale.gpus else by_cpu


def _nodes() -> list[dict[str, float]]:
    """The resources of each node that is there to stay."""
    leaving = draining_nodes()
    return [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]


def _sum(nodes: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(node.get(name, 0.0) for node in nodes) for name in {name for node in nodes for name in node}}
