"""Between a training's workers and the driver. A process of its own, so it imports nothing heavy."""

from collections.abc import Sequence
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayograph.trainer.events import BadSample, WorkerEvent


class ControlActor:
    """Events in the order they came, the bad samples known so far, and whether the workers are to stop."""

    def __init__(self, bad_samples: Sequence[str]) -> None:
        self._events: list[WorkerEvent] = []
        self._bad_samples = list(bad_samples)
        self._stop = False

    def put(self, event: WorkerEvent) -> None:
        self._events.append(event)

    def take(self) -> list[WorkerEvent]:
        """Return all that came since the last time."""
        events, self._events = self._events, []
        return events

    def report_bad_samples(self, reasons: Sequence[str]) -> list[str]:
        """Note unreadable samples, each once, and return all that are known."""
        for reason in reasons:
            if reason not in self._bad_samples:
                self._bad_samples.append(reason)
                self._events.append(BadSample(reason))
        return self._bad_samples

    def request_stop(self, stop: bool) -> None:
        self._stop = stop

    def stop_requested(self) -> bool:
        return self._stop


@dataclass(frozen=True)
class Control:
    """The actor's handle, as the driver and every worker have it."""

    actor: "ActorHandle[ControlActor]"

    @staticmethod
    def start(bad_samples: Sequence[str]) -> "Control":
        """Start the actor on this node: others come and go."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return Control(ray.remote(num_cpus=0, scheduling_strategy=here)(ControlActor).remote(bad_samples))

    def put(self, event: WorkerEvent) -> None:
        """Tell the driver, and go on at once."""
        self.actor.put.remote(event)

    def deliver(self, event: WorkerEvent) -> None:
        """Tell the driver, and wait until it is sure to hear: for what is said last."""
        ray.get(self.actor.put.remote(event))

    def take(self) -> list[WorkerEvent]:
        """Return all that workers said since the last time."""
        events: list[WorkerEvent] = ray.get(self.actor.take.remote())
        return events

    def report_bad_samples(self, reasons: Sequence[str]) -> list[str]:
        """Note unreadable samples, each once, and return all that any worker knows."""
        known: list[str] = ray.get(self.actor.report_bad_samples.remote(reasons))
        return known

    def request_stop(self, stop: bool) -> None:
        """Say whether the workers are to stop at a checkpoint of here and now."""
        ray.get(self.actor.request_stop.remote(stop))

    def stop_requested(self) -> bool:
        """Tell whether the workers are to stop."""
        requested: bool = ray.get(self.actor.stop_requested.remote())
        return requested
