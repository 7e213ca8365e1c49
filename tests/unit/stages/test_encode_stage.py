"""The encode stage over an indexed folder, in this process: what it leaves out, and what it refuses."""

import io
import tarfile
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from rayograph.commands import index_shards as index
from rayograph.commands.index_shards import index_folder
from rayograph.config import Encode, Job, Scale
from rayograph.errors import DataError
from rayograph.ingest import streams
from rayograph.models.model_folder import AUTOENCODER, save_model
from rayograph.pipeline.resolve import resolve
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import Manifest
from rayograph.shards.pixels.decode import to_png
from rayograph.shards.store import read_index, read_samples
from rayograph.stages import encode
from rayograph.storage import open_store

NAMES = ["dog", "cat", "ape"]


@pytest.fixture
def said(monkeypatch):
    """What the stage says, with the work done here."""
    lines = []

    @contextmanager
    def recorder(*_, at_once):
        yield SimpleNamespace(progress=SimpleNamespace(done=0, say=lines.append, advance_to=lambda *_: None))

    monkeypatch.setattr(encode, "Reporter", recorder)
    monkeypatch.setattr(encode, "require_pool", lambda _: None)
    monkeypatch.setattr(streams, "each", lambda items, work, scale: map(work, items))
    monkeypatch.setattr(streams, "each_with", lambda items, worker, **_: map(worker(), items))
    monkeypatch.setattr(index, "connect", lambda scale: None)
    return lines


@pytest.fixture
def folder(tmp_path):
    """Images of named classes, two of them damaged, one in a shard of its own; and an autoencoder."""
    for shard, rows in enumerate((range(6), [6])):
        (tmp_path / "tars").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "tars" / f"{shard}.tar", "w") as tar:
            for row in rows:
                png = to_png(np.full((8, 8, 3), 30 * row, np.uint8))
                members = {"png": png[:-30] if row in (2, 6) else png, "cls": NAMES[row % 3].encode()}
                for extension, data in members.items():
                    header = tarfile.TarInfo(f"./{row}.{extension}")
                    header.size = len(data)
                    tar.addfile(header, io.BytesIO(data))
    artifact = Artifact(open_store(str(tmp_path / "first")), "")
    save_model(artifact, AUTOENCODER, tiny.autoencoder())
    artifact.commit(
        Manifest(
            job="j",
            stage="train_autoencoder",
            kind="train_autoencoder",
            key="0" * 16,
            seed=0,
            config={},
            scale={},
            parents=[],
            files=artifact.records(f"{AUTOENCODER}/"),
            shards=[],
            facts={"image_size": 8},
            created="2026",
            seconds=1.0,
            machine={},
            versions={},
        )
    )
    return tmp_path


def encoded(folder, limit):
    stage = Encode(images=str(folder / "index"), autoencoder=str(folder / "first"), bad_sample_limit=limit)
    job = Job(name="j", stages={"encode": stage})
    resolved = resolve(job, Scale(), open_store(str(folder / "store")))["encode"]
    return resolved.artifact, encode.run_encode(resolved, stage)


def test_what_cannot_be_encoded_is_named_with_its_shard_and_classes_by_name_become_numbers(folder, said):
    to = str(folder / "index")  # the tars' folder is only read
    index_folder(str(folder / "tars"), Scale(), held_out=None, bad_sample_limit=0, again=False, to=to)
    with pytest.raises(DataError, match=r"tars/0\.tar: sample 2: .*\(1 samples rejected so far, bad_sample_limit 0\)"):
        encoded(folder, 0)
    artifact, outcome = encoded(folder, 2)
    assert [(row["key"], row["reason"].partition(": ")[0]) for row in outcome.facts["rejected"]] == [
        ("2", str(folder / "tars" / "0.tar")),
        ("6", str(folder / "tars" / "1.tar")),
    ]
    assert [line.partition(": ")[0] for line in said] == ["left out", "left out"]
    assert outcome.facts["class_names"] == sorted(NAMES)
    assert [(shard.path, shard.samples) for shard in outcome.shards] == [("0.tar", 5)]
    assert len(outcome.files) == 4
    samples = read_samples(artifact, "0.tar", read_index(artifact, "0.tar"), range(5))
    assert [(sample.key, int(sample.members["cls"])) for sample in samples] == [
        (str(row), sorted(NAMES).index(NAMES[row % 3])) for row in (0, 1, 3, 4, 5)
    ]


def test_a_tar_that_changed_after_it_was_indexed_is_refused(folder, said):
    to = str(folder / "index")
    index_folder(str(folder / "tars"), Scale(), held_out=None, bad_sample_limit=0, again=False, to=to)
    with (folder / "tars" / "0.tar").open("ab") as tar:
        tar.write(bytes(10240))
    with pytest.raises(DataError, match=r"tars/0\.tar: expected 20,480 bytes, as when it was indexed, got 30,720"):
        encoded(folder, 2)


def test_an_index_that_is_not_the_manifests_is_refused(folder, said):
    to = folder / "index"
    index_folder(str(folder / "tars"), Scale(), held_out=None, bad_sample_limit=0, again=False, to=str(to))
    data = bytearray((to / "0.index").read_bytes())
    data[-1] ^= 1
    (to / "0.index").write_bytes(data)
    with pytest.raises(DataError, match=r"index/0\.index: sha256 differs from the manifest's"):
        encoded(folder, 2)
