"""Scale profiles: where a job runs. Another profile changes speed, never samples, batches or draws."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt

from rayograph.config.declaration import Declaration
from rayograph.config.s3_access import S3

Units = Annotated[float, Field(ge=0.0001, le=10_000.0)]
"""Of a resource: from the smallest part that Ray hands out to more than any machine has."""

Seconds = Annotated[float, Field(gt=0, le=10**7)]
"""Up to a hundred days and more."""


class RayCluster(Declaration):
    """Which cluster to join.

    `address` "local" starts one on this machine for the length of the command, unless the command already runs inside
    a cluster's job; "auto" joins the one on this machine. `local_cpus` is what a started one may hand out: None is the
    machine's number of cores.
    """

    address: str = "local"
    local_cpus: PositiveInt | None = None
    autoscaling: bool = False
    """Whether the cluster grows on demand: what it lacks now is then no reason to refuse."""


def _as_range(given: object) -> tuple[int, int]:
    match given:
        case int() if given > 0:
            return given, given
        case [int() as fewest, int() as most] if 0 < fewest <= most:
            return fewest, most
    raise ValueError(f"expected a number above 0, or the fewest and the most as in [2, 8], got {given!r}")


Range = Annotated[tuple[int, int], BeforeValidator(_as_range)]
"""The fewest and the most, or one number for both."""


def _as_replicas(given: object) -> tuple[int, int]:
    match given:
        case [0, int() as most] if most > 0:
            return 0, most
    return _as_range(given)


ReplicaRange = Annotated[tuple[int, int], BeforeValidator(_as_replicas)]
"""As a range, and its fewest may be none."""


class TrainingScale(Declaration):
    """One training's workers. Their number must divide the recipe's lanes.

    Between the fewest and the most of `workers` it runs on as many as the cluster holds at the moment, goes on with
    fewer where some are lost, and with more, from a checkpoint made for it, once there is room for them.
    """

    workers: Range = (2, 2)
    cpus_per_worker: Units = 0.5
    threads_per_worker: PositiveInt = 1
    micro_batch_size: PositiveInt = 32
    zero_stage: Literal[0, 1, 2, 3, "auto"] = 2
    """"auto" is the lowest that fits into a worker's memory, by what `rayograph doctor` counts."""
    flat_parameters: NonNegativeInt = 500_000_000
    """Weights of a network up to which ZeRO 2 and 3 handle it as one long tensor, as 0 and 1 always do: a step costs
    far less host time, and its gradients (2) or all of it (3) are whole on each worker while the step lasts."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """What networks compute in. Weights, gradients and averages are fp32; under fp16 the loss is scaled."""
    compile: bool = False
    """Whether networks go through `torch.compile`, which wants a C++ compiler on every node."""
    activation_checkpointing: bool = False
    """Whether networks compute their activations again on the way back, to hold fewer of them."""
    peak_tflops: float | None = Field(None, ge=1e-6, le=1e6)
    """What a worker's device can do; None measures matrix products as a training starts."""
    offload_optimizer: bool = False
    """Whether masters and optimiser state live in the host's memory; from ZeRO 1 on."""
    max_failures: NonNegativeInt = 3
    """Groups of workers that may be lost in a row, none beyond the checkpoint that it began at, before it gives up."""


class IngestScale(Declaration):
    """Tasks that read and decode, for packing and for each training worker's own stream."""

    cpus_per_task: Units = 0.25
    tasks: PositiveInt = 2
    """At once: in all for packing, for each worker's stream in training."""
    steps_per_task: PositiveInt = 64
    """Training steps that one task reads at least, as far as `bytes_per_task` of decoded rows allow."""
    bytes_per_task: PositiveInt = 64_000_000
    resources: dict[str, Units] = Field(default_factory=dict)
    """Of each task beside CPUs: with a custom resource that only CPU nodes offer, GPU nodes decode nothing."""
    in_worker: bool = False
    """Whether a thread of the training worker reads for it, instead of tasks: for moments, which need no decoding."""
    log_samples: bool = False
    """Whether training workers write down the key of every sample they saw (samples/ in the artifact)."""


class ActorScale(Declaration):
    """A pool of like actors."""

    actors: PositiveInt = 2
    cpus_per_actor: Units = 0.5
    threads_per_actor: PositiveInt = 1


class SamplingScale(Declaration):
    """Replicas of the sampler under Ray Serve, between the fewest and the most: as many as the work left keeps busy.

    Several jobs on one cluster share it by their priorities. A first one at a time comes from none at all.
    """

    replicas: ReplicaRange = (2, 2)
    cpus_per_replica: Units = 0.5
    gpus_per_replica: float | None = Field(None, ge=0.0001, le=1)
    """None is one whole GPU for device "cuda", and none for "cpu"."""
    threads_per_replica: PositiveInt = 1
    batch_size: PositiveInt | Literal["auto"] = "auto"
    """Images through the networks at once. "auto" measures at the start which is fastest, and what memory holds."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What networks compute in; the sample loop is fp32 always."""
    compile: bool = False
    """Whether networks go through `torch.compile` before a replica counts as ready."""
    max_attempts: PositiveInt = 8
    """Times a unit is tried, whether its replica dies or an error comes of it, before it is a dead letter."""
    idle_seconds: Seconds = 30
    """Until a replica without work is given back."""
    drain_seconds: Seconds = 600
    """What a replica that goes has to finish its unit; longer than any unit takes."""
    price_per_hour: float | None = Field(None, gt=0, le=1e6)
    """Of one replica's share of a machine, in any currency."""
    certificate_file: str | None = None
    """For jobs that ask for credentials: a path on the nodes, PEM, the signer's certificate first."""
    private_key_file: str | None = None
    """Its key, PEM, a path on the nodes too: it is read there and goes nowhere."""


class Scale(Declaration):
    """The whole profile. `device` "cuda" gives every training worker, encoder and sampler one GPU."""

    store: str = "~/rayograph"
    endpoint_url: str | None = None
    """Of an S3-compatible server; None leaves it to the standard settings (AWS_ENDPOINT_URL and such)."""
    s3: S3 = S3()
    """Unsigned, requester-pays and addressing, for all buckets or for single ones."""
    device: Literal["cpu", "cuda"] = "cpu"
    ray: RayCluster = RayCluster()
    training: TrainingScale = TrainingScale()
    ingest: IngestScale = IngestScale()
    encode: ActorScale = ActorScale()
    sampling: SamplingScale = SamplingScale()
    wandb_project: str | None = Field(None, min_length=1)
    """None is "rayograph"."""

    @property
    def access(self) -> S3:
        """What stores are opened with, on the driver and on workers alike."""
        return self.s3 if self.s3.endpoint_url else self.s3.model_copy(update={"endpoint_url": self.endpoint_url})

    @property
    def gpus(self) -> int:
        """GPUs of each worker, actor or replica that runs a network."""
        return 1 if self.device == "cuda" else 0
