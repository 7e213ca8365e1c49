"""The Serve application of one generation: its replicas started, called, watched and taken down."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ray import serve
from ray.serve.handle import DeploymentHandle, DeploymentResponse
from ray.serve.schema import ApplicationStatusOverview

from rayograph import __version__
from rayograph.errors import DataError
from rayograph.generation.replica import MAX_ONGOING, ReplicaConfig, SamplerReplica
from rayograph.json_types import Json
from rayograph.runs.digests import sha256
from rayograph.sampling.requests.plan import Unit


@dataclass
class Application:
    """The replicas of one job, as its driver sees them. Two drivers of one job at one scale share it.

    A driver that comes after one that was killed finds replicas at work, and leaves them there.
    """

    job: str
    assignment: ReplicaConfig
    gpus: float
    _handle: DeploymentHandle = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.name = f"{self.job}-{sha256(f'{__version__} {self.assignment} {self.gpus}'.encode())[:8]}"

    def start(self) -> None:
        """Deploys it, or finds it there. Raises DataError where its replicas cannot start."""
        serve.start(proxy_location="Disabled")
        found = serve.status().applications
        if self.name in found and found[self.name].status in ("RUNNING", "DEPLOYING", "UNHEALTHY"):
            self._handle = serve.get_app_handle(self.name)
            return
        scale = self.assignment.scale
        fewest, most = scale.replicas
        number: dict[str, Json] = {"num_replicas": most}
        if fewest < most:
            number = {
                "autoscaling_config": {
                    "min_replicas": fewest,
                    "max_replicas": most,
                    "target_ongoing_requests": MAX_ONGOING,
                    "upscale_delay_s": 1.0,
                    "downscale_delay_s": scale.idle_seconds,
                    "metrics_interval_s": 1.0,
                    "look_back_period_s": 2.0,
                }
            }
        deployment = serve.deployment(
            SamplerReplica,
            ray_actor_options={"num_cpus": scale.cpus_per_replica, "num_gpus": self.gpus},
            max_ongoing_requests=MAX_ONGOING,
            graceful_shutdown_timeout_s=scale.drain_seconds,
            health_check_period_s=5,
            **number,
        )
        try:
            self._handle = serve.run(deployment.bind(self.assignment), name=self.name, route_prefix=None)
        except RuntimeError as error:
            found = serve.status().applications.get(self.name)
            raise DataError(f"replicas cannot start: {error if found is None else _reason(found)}") from error

    def call(self, unit: Unit) -> DeploymentResponse:
        """Sends it to a replica; await what comes."""
        return self._handle.remote(unit)

    def failure(self) -> str | None:
        """Why no replica will ever start; None where they do or may. One that another driver took down comes back."""
        found = serve.status().applications.get(self.name)
        if found is None or found.status == "DELETING":
            self.start()
            return None
        if found.status != "DEPLOY_FAILED":
            return None
        return _reason(found)

    def running(self) -> int:
        """Replicas that draw now."""
        found = serve.status().applications.get(self.name)
        if found is None:
            return 0
        return sum(int(deployment.replica_states.get("RUNNING", 0)) for deployment in found.deployments.values())


@contextmanager
def application(job: str, assignment: ReplicaConfig, gpus: float) -> Iterator[Application]:
    """Up for as long as the context; Serve would outlive the job that started it.

    What a killed driver of this job left at another scale goes first.
    """
    serving = Application(job, assignment, gpus)
    serving.start()
    for name in serve.status().applications:
        if name.startswith(f"{job}-") and name != serving.name:
            serve.delete(name)
    try:
        yield serving
    finally:
        serve.delete(serving.name)


def _reason(found: ApplicationStatusOverview) -> str:
    """What Serve says of an application's deployments, on one line."""
    said = [deployment.message for deployment in found.deployments.values()] or [found.message]
    return " ".join(" ".join(said).split())[-400:]
