"""`rayograph index`: a folder of foreign tars becomes an artifact, and going on reads only what is not yet read."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from rayograph.commands import index_shards as index
from rayograph.commands.artifact_listing import list_artifacts
from rayograph.commands.index_shards import index_folder, summary
from rayograph.commands.verification import verify
from rayograph.config import IngestScale, Scale
from rayograph.config.stage_base import ArtifactType
from rayograph.pipeline.resolve import _outside
from rayograph.runs.manifest import HELD_OUT, TRAIN, Manifest
from rayograph.shards.pixels.decode import to_png
from rayograph.shards.store import read_index, read_samples
from rayograph.storage import open_store

pytestmark = pytest.mark.usefixtures("cluster")
SHARDS, SAMPLES = 20, 6


def foreign_tar(path: Path, names: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in names.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def members(number: int) -> dict[str, bytes]:
    draw = np.random.default_rng(number)
    found = {}
    for row in range(SAMPLES):
        found[f"{number:03}{row:04}.PNG"] = to_png(draw.integers(0, 256, (9, 12, 3), np.uint8))
        found[f"{number:03}{row:04}.cls"] = str((number + row) % 10).encode()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "laion"
    for number in range(SHARDS):
        foreign_tar(folder / f"part{number % 2}" / f"{number:05}.tar", members(number))
    (folder / "README.txt").write_text("not a shard")
    return folder


@pytest.fixture(scope="session")
def tasks() -> Scale:
    return Scale(ingest=IngestScale(tasks=4))


def indexed(folder: Path, scale: Scale, **changes: object) -> Manifest:
    options = {"held_out": None, "bad_sample_limit": 0, "again": False} | changes
    return index_folder(str(folder), scale, **options)  # type: ignore[arg-type]


def sidecars(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """When each was written, and its bytes."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.rglob("*.index"))}


def test_a_folder_of_foreign_shards_becomes_an_artifact(folder: Path, tasks: Scale) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.tar")}
    manifest = indexed(folder, tasks, held_out="*0.tar")
    assert {path: path.read_bytes() for path in folder.rglob("*.tar")} == before
    assert (manifest.job, manifest.stage, manifest.kind) == ("laion", "index", "pack")
    assert (len(manifest.shards), manifest.samples) == (SHARDS, SHARDS * SAMPLES)
    assert [shard.path for shard in manifest.split(HELD_OUT)] == ["part0/00000.tar", "part0/00010.tar"]
    assert len(manifest.split(TRAIN)) == SHARDS - 2
    assert manifest.facts == {
        "class_names": [str(number) for number in range(10)],
        "image_size": None,
        "resize": "none",
        "held_out": "*0.tar",
        "rejected": [],
    }
    artifact, digest = _outside(str(folder), ArtifactType.IMAGES, "train.images", open_store(str(folder)), None)
    assert digest == manifest.digest
    assert artifact.committed() == manifest
    name = "part1/00007.tar"
    (sample,) = read_samples(artifact, name, read_index(artifact, name), [3])
    assert (sample.key, sample.members) == (
        "0070003",
        {"png": members(7)["0070003.PNG"], "cls": members(7)["0070003.cls"]},
    )
    assert len(list(verify(artifact.store))) == 1
    assert "120 samples in 20 shards" in next(list_artifacts(artifact.store))
    assert summary(artifact.uri, manifest) == [
        f"20 shards, 120 samples, {sum(map(len, before.values())):,} bytes",
        str(folder),
    ]


def test_going_on_makes_only_the_sidecars_that_are_missing_or_no_longer_hold(
    folder: Path, tasks: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed(folder, tasks)
    first = sidecars(folder)
    (folder / "manifest.json").unlink()
    lost = list(first)[3:7]
    for path in lost:
        path.unlink()
    other = list(first)[12]
    size = other.with_suffix(".tar").stat().st_size
    foreign_tar(other.with_suffix(".tar"), members(77))
    assert other.with_suffix(".tar").stat().st_size == size  # another tar of the same size
    manifest = indexed(folder, tasks)
    again = sidecars(folder)
    assert [path for path in first if again[path][0] != first[path][0]] == [*lost, other]
    assert [path for path in first if again[path][1] != first[path][1]] == [other]
    assert manifest.samples == SHARDS * SAMPLES

    def refuse(*_: object) -> None:
        raise AssertionError("work was started")

    monkeypatch.setattr(index, "connect", refuse)
    assert indexed(folder, tasks) == manifest
