"""The manifest: what an artifact holds and where it came from. Written last, it is the commit."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rayograph.config.stage_base import ArtifactType
from rayograph.json_types import Json, JsonObject
from rayograph.runs.digests import digest_of

FORMAT: Final = 1
NOT_COVERED = ("metrics.jsonl", "report.html", "bad_samples.txt", "previews/", "packed/")
"""What the digest leaves out: files that hold times, places, or what depends on where the work was done."""

TYPES = {
    "pack": ArtifactType.IMAGES,
    "train_autoencoder": ArtifactType.AUTOENCODER,
    "encode": ArtifactType.LATENTS,
    "train_diffusion": ArtifactType.DIFFUSION_MODEL,
    "sample": ArtifactType.IMAGES,
    "evaluate": ArtifactType.REPORT,
}
"""Of artifacts whose manifests were written before they said their type."""

TRAIN, HELD_OUT = "train", "held_out"
"""The splits: what is learned from, and what is kept to judge by."""

DRAWN = "samples"
"""The split of what a model drew, which is all there to learn from."""


class Record(BaseModel):
    """Written by us, read by us and by other tools: closed and frozen like a declaration."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Count = Annotated[int, Field(ge=0, lt=2**53)]
"""Of bytes or samples: what every reader of JSON can hold."""


class FileRecord(Record):
    """One file of an artifact; `path` is relative to the artifact."""

    path: str
    bytes: Count
    sha256: str


class ShardRecord(Record):
    """One shard among the artifact's files: its split and how many samples it holds."""

    path: str
    split: str
    samples: Count


class Parent(Record):
    """An artifact that this one was made from, and its content's digest at the time."""

    input: str
    uri: str
    """Within a store from the child's folder, `../../pack/c9ad5371b3d67cb1`, so that the store can be moved; of another
    place, and in older manifests, absolute. `lineage.find` takes both."""
    digest: str


class Manifest(Record):
    """An artifact's table of contents and lineage."""

    format: Literal[1] = 1
    job: str
    stage: str
    kind: str
    type: ArtifactType
    key: str
    """Digest of the declaration and its ancestors': known before any work, it names the folder."""
    seed: int
    config: dict[str, Json]
    """The whole resolved job."""
    scale: dict[str, Json]
    parents: list[Parent]
    files: list[FileRecord]
    base_uri: str | None = None
    """Where the tars among the files lie, if not beside this manifest: another's, and only read. One of the same store
    is named from this artifact's folder, as parents are; `lineage.tars_of` finds both."""
    shards: list[ShardRecord]
    facts: dict[str, Any]
    """What the stage found out and a later one needs: class names, latents' statistics, rejected samples."""
    created: str
    """UTC, ISO 8601."""
    seconds: float
    """Wall time of the attempt that committed; interrupted ones before it left no record of theirs."""
    machine: dict[str, Json]
    versions: dict[str, str]

    @model_validator(mode="before")
    @classmethod
    def _type_of_old_kinds(cls, given: object) -> object:
        if isinstance(given, dict) and "type" not in given and given.get("kind") in TYPES:
            return given | {"type": TYPES[given["kind"]]}
        return given

    @property
    def digest(self) -> str:
        """Of content alone: two runs that made the same files from the same parents have the same digest.

        `NOT_COVERED` names the files that it leaves out.
        """
        return digest_of(
            {
                "key": self.key,
                "parents": sorted(parent.digest for parent in self.parents),
                "files": sorted(
                    (file.path, file.sha256) for file in self.files if not file.path.startswith(NOT_COVERED)
                ),
            }
        )

    @property
    def declared(self) -> JsonObject:
        """The stage's own declaration, of the whole job's."""
        return cast(Mapping[str, JsonObject], self.config["stages"])[self.stage]

    @property
    def samples(self) -> int:
        """Samples over all shards."""
        return sum(shard.samples for shard in self.shards)

    @property
    def total_bytes(self) -> int:
        """Bytes over all files."""
        return sum(file.bytes for file in self.files)

    def split(self, name: str) -> list[ShardRecord]:
        """The shards of one split, in their order; of images that a model drew all of them are to learn from."""
        wanted = (TRAIN, DRAWN) if name == TRAIN else (name,)
        return [shard for shard in self.shards if shard.split in wanted]
