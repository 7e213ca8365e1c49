"""What every stage's declaration has: typed inputs, one typed output, charts of its metrics, a seed."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, NamedTuple

from rayograph.config.declaration import NOT_IN_KEY, Seed, Share
from rayograph.config.kinds import Kind


class ArtifactType(StrEnum):
    """What a stage takes and makes: never its kind, so that any stage serves whose output fits."""

    IMAGES = "images"
    LATENTS = "latents"
    AUTOENCODER = "autoencoder"
    DIFFUSION_MODEL = "diffusion_model"
    REPORT = "report"


ArtifactRef = str
"""A stage of the job by its name, or the URI of a committed artifact."""

Mixture = ArtifactRef | dict[ArtifactRef, Share]
"""One data set, or several by weight: the share of each among the samples seen."""


class Chart(NamedTuple):
    """A chart of a stage's metrics over the images seen: which of them it draws, under which names."""

    title: str
    series: Mapping[str, str]
    logarithmic: bool = False


class StageBase(Kind):
    """A stage as a job declares it. `inputs` maps each input field to the type of artifact that it takes."""

    inputs: ClassVar[dict[str, ArtifactType]] = {}
    output: ClassVar[ArtifactType]
    charts: ClassVar[tuple[Chart, ...]] = ()
    """What a report shows of its `metrics.jsonl`."""
    seed: Annotated[Seed | None, NOT_IN_KEY] = None
    """None takes the job's seed; in a key it counts as what it comes to."""

    def references(self) -> list[tuple[str, ArtifactType, ArtifactRef]]:
        """Return (field, type, reference) of every input that is said; a mixture's are numbered: images.0, images.1."""
        found = []
        for field, wanted in self.inputs.items():
            given = getattr(self, field)
            if isinstance(given, str):
                found.append((field, wanted, given))
            elif given is not None:
                found += [(f"{field}.{number}", wanted, ref) for number, ref in enumerate(given)]
        return found
