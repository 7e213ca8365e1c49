"""From a job to artifacts: where each stage's result will be, known before any work.

An artifact's key is a digest of all that decides its content: what was declared beyond the defaults, the declarations'
versions, the seed, and the keys of what it is made from. A changed field gives a new folder for its stage and for those
after it, and leaves the others as they are; a field that a later release adds changes none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rayograph.config import Job, Scale, Stage
from rayograph.config.keys import decisive
from rayograph.errors import DataError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import digest_of
from rayograph.runs.job_record import JobRecord
from rayograph.runs.manifest import Manifest, Parent
from rayograph.storage import Access, ObjectStore, open_store

KEY_FORMAT = 3


@dataclass(frozen=True)
class ResolvedStage:
    """A stage with its place in the store and its inputs' places."""

    job: Job
    scale: Scale
    name: str
    seed: int
    key: str
    artifact: Artifact
    inputs: Mapping[str, Artifact]

    @property
    def declared(self) -> Stage:
        return self.job.stages[self.name]

    def described(self) -> bytes:
        """Return what `job.yaml` holds."""
        return JobRecord(self.job, self.scale, self.name).to_bytes()

    def parents(self) -> list[Parent]:
        """The inputs as the manifest records them. Raises DataError for one that is not committed."""
        return [
            Parent(input=field, uri=artifact.uri, digest=artifact.committed().digest)
            for field, artifact in self.inputs.items()
        ]

    def input(self, field: str) -> tuple[Artifact, Manifest]:
        """An input's place and its manifest."""
        artifact = self.inputs[field]
        return artifact, artifact.committed()

    def mixture(self, field: str) -> list[tuple[Artifact, Manifest, float]]:
        """A mixed input's data sets: place, manifest and weight of each, in the declared order."""
        given = getattr(self.declared, field)
        if isinstance(given, str):
            return [(*self.input(field), 1.0)]
        return [(*self.input(f"{field}.{number}"), weight) for number, weight in enumerate(given.values())]


def resolve(job: Job, scale: Scale, store: ObjectStore) -> dict[str, ResolvedStage]:
    """Every stage of the job, in its order. Raises DataError for an outside artifact that does not fit."""
    resolved: dict[str, ResolvedStage] = {}
    for name, stage in job.stages.items():
        inputs: dict[str, Artifact] = {}
        parent_keys: dict[str, str] = {}
        for field, kind, ref in stage.references():
            if ref in resolved:
                inputs[field], parent_keys[field] = resolved[ref].artifact, resolved[ref].key
            else:
                inputs[field], parent_keys[field] = _outside(ref, kind, f"{name}.{field}", scale.access)
        weights = {
            field: list(given.values()) for field in stage.inputs if isinstance(given := getattr(stage, field), dict)
        }
        seed = job.seed_of(name)
        made_of = {"format": KEY_FORMAT, **decisive(stage), "seed": seed, "inputs": parent_keys, "weights": weights}
        key = digest_of(made_of)[:16]
        artifact = Artifact(store, f"{job.name}/{name}/{key}")
        resolved[name] = ResolvedStage(job, scale, name, seed, key, artifact, inputs)
    return resolved


def needed(job: Job, target: str) -> list[str]:
    """The target stage and all that it is made from, in the job's order."""
    wanted = {target}
    for name in reversed(job.stages):
        if name in wanted:
            stage = job.stages[name]
            wanted |= {ref for _, _, ref in stage.references()}
    return [name for name in job.stages if name in wanted]


def _outside(uri: str, kind: str, where: str, endpoint_url: Access) -> tuple[Artifact, str]:
    artifact = Artifact(open_store(uri, endpoint_url), "")
    manifest = artifact.manifest()
    if manifest is None or manifest.kind != kind:
        found = "none" if manifest is None else f"one of kind {manifest.kind}"
        raise DataError(f"{where}: expected a committed artifact of kind {kind} at {uri}, found {found}")
    return artifact, manifest.digest
