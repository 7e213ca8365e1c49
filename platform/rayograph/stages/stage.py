"""The seam of the stages: a step of a job, from typed artifacts to one typed artifact.

A module that holds a stage is imported whenever a job is looked at, so it imports torch, Ray and its own work where
that begins: in `estimate`, `check_cluster`, `prepare` and `run`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, runtime_checkable

from rayograph.config import Job, Scale
from rayograph.config.kinds import implementation
from rayograph.config.stage_base import ArtifactRef, StageBase
from rayograph.runs.manifest import Manifest
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.storage import Access
from rayograph.training.cost import Cost

D = TypeVar("D", bound=StageBase, contravariant=True)


@dataclass(frozen=True)
class Foreseen:
    """What is known of an artifact before it is made: enough to refuse early what would not fit it.

    None stands for what only the data, or the making, can tell.
    """

    image_size: int | None = None
    """Side of its images in pixels, or of those that its model was trained at."""
    decided_by: str = ""
    """What says so: a field, as `pack.image_size`, or an artifact."""
    sizes_vary: bool = False
    """Whether its images are known to have no size in common."""
    held_out: bool | None = None
    """Whether it has images that are kept to judge by."""
    class_names: tuple[str, ...] | None = None
    downsampling_factor: int | None = None
    latent_channels: int | None = None
    model: ModelSpec | None = None

    def settled(self, manifest: Manifest) -> "Foreseen":
        """Return the same, once committed: what the manifest's facts say stands."""
        facts = manifest.facts
        names = facts.get("class_names")
        return replace(
            self,
            image_size=facts.get("image_size", self.image_size),
            sizes_vary=facts["image_size"] is None if "image_size" in facts else self.sizes_vary,
            class_names=self.class_names if names is None else tuple(names),
            downsampling_factor=facts.get("downsampling_factor", self.downsampling_factor),
        )


@dataclass(frozen=True)
class CheckContext:
    """A stage by its name in the job. `resolved` is empty until the store is open."""

    job: Job
    scale: Scale
    name: str
    resolved: Mapping[str, StageContext] = field(default_factory=dict)

    def input(self, field: str) -> Foreseen:
        """Return what is known of an input that is one artifact; nothing of one that is not said."""
        return next(iter(self.mixture(field)), Foreseen())

    def mixture(self, field: str) -> list[Foreseen]:
        """Return what is known of each data set of an input, in the declared order."""
        return [
            self._known(place, ref)
            for place, _, ref in self.job.stages[self.name].references()
            if place.partition(".")[0] == field
        ]

    def _known(self, place: str, ref: ArtifactRef) -> Foreseen:
        """By the stage that makes it, if it is of this job, and by its manifest, once there is one."""
        known = Foreseen(decided_by=ref)
        if ref in self.job.stages:
            maker = self.job.stages[ref]
            known = stage_of(maker).foresee(maker, replace(self, name=ref))
        manifest = self.resolved[self.name].inputs[place].manifest() if self.resolved else None
        return known if manifest is None else known.settled(manifest)


@runtime_checkable
class Stage(Protocol[D]):
    """What does a declared stage's work; the declaration says which inputs it takes and what type its output is.

    Only `run` has to be written: the others say what can be known before, and by default know nothing.
    """

    def check(self, declared: D, context: CheckContext) -> None:
        """Raise ConfigError, or DataError, for what could only end badly.

        Asked before any work with the job alone, then with what is committed, and again as inputs come to be.
        """

    def foresee(self, declared: D, context: CheckContext) -> Foreseen:
        """Return what is known of the artifact before it is made, for the checks of the stages that read it."""
        return Foreseen()

    def source_digest(self, declared: D, access: Access) -> str | None:
        """Return what of a source outside the job decides the content: it is part of the key."""
        return None

    def estimate(self, declared: D, context: CheckContext) -> Cost | None:
        """Return what the work costs, where that can be counted. Raises ConfigError where the job says too little."""
        return None

    def check_cluster(self, declared: D, context: StageContext) -> None:
        """Raise ResourceError where the joined cluster has no room, before the stages start that it has room for."""

    def prepare(self, declared: D, context: StageContext) -> None:
        """Fix what is fixed once all inputs are committed and before work starts, as a request's plan."""

    def run(self, declared: D, context: StageContext) -> StageResult:
        """Do the work, or what is left of it. Raises a RayographError of one line where it cannot be done."""
        ...


def stage_of(declared: StageBase) -> Stage[StageBase]:
    """Import what does the work of a declared stage."""
    made: Stage[StageBase] = implementation(declared)()
    return made
