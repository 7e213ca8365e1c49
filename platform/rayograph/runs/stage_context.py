"""What a stage works with: its declaration, its place in the store, its inputs' places, and where it runs."""

from collections.abc import Mapping
from dataclasses import dataclass

from rayograph.config import Job, Scale
from rayograph.config.stage_base import StageBase
from rayograph.runs.artifact import Artifact
from rayograph.runs.job_record import JobRecord
from rayograph.runs.lineage import address, find
from rayograph.runs.manifest import Manifest, Parent
from rayograph.storage import Access


@dataclass(frozen=True)
class StageContext:
    """A stage with its place in the store and its inputs' places."""

    job: Job
    scale: Scale
    name: str
    seed: int
    key: str
    artifact: Artifact
    inputs: Mapping[str, Artifact]
    source: str | None = None
    """The digest of what comes from outside the job, as the key holds it."""

    @property
    def declared(self) -> StageBase:
        return self.job.stages[self.name]

    def described(self) -> bytes:
        """Return what `job.yaml` holds."""
        known = all(artifact.manifest() is not None for artifact in self.inputs.values())
        return JobRecord(self.job, self.scale, self.name, tuple(self.parents()) if known else None).to_bytes()

    def parents(self) -> list[Parent]:
        """Return the inputs as the manifest records them. Raises DataError for one that is not committed."""
        return [
            Parent(input=field, uri=address(self.artifact, artifact), digest=artifact.committed().digest)
            for field, artifact in self.inputs.items()
        ]

    def input(self, field: str) -> tuple[Artifact, Manifest]:
        """Return an input's place and its manifest."""
        artifact = self.inputs[field]
        return artifact, artifact.committed()

    def mixture(self, field: str) -> list[tuple[Artifact, Manifest, float]]:
        """Return a mixed input's data sets: place, manifest and weight of each, in the declared order."""
        given = getattr(self.declared, field)
        if isinstance(given, str):
            return [(*self.input(field), 1.0)]
        return [(*self.input(f"{field}.{number}"), weight) for number, weight in enumerate(given.values())]


def begun(artifact: Artifact, record: JobRecord, access: Access) -> StageContext | None:
    """Return what a stage works with whose work has begun, or is done; None where nobody wrote its inputs down."""
    manifest = artifact.manifest()
    parents = record.parents if manifest is None else manifest.parents
    if parents is None:
        return None
    inputs = {parent.input: find(artifact, parent.uri, parent.digest, access) for parent in parents}
    key = artifact.uri.rpartition("/")[2]
    return StageContext(record.job, record.scale, record.stage, record.job.seed_of(record.stage), key, artifact, inputs)
