"""An artifact opened from Python: its samples as webdataset reads them, from a folder and from a bucket."""

import subprocess
import sys

import opened
import pytest
from torch.utils.data import DataLoader

import rayograph
from rayograph.errors import DataError
from rayograph.ingest import opening
from rayograph.storage import open_store


@pytest.fixture
def uri(tmp_path):
    return opened.committed(open_store(str(tmp_path / "store")))


def members(pipeline):
    """Members by key; every key once."""
    read = [dict(sample) for sample in pipeline]
    found = {sample.pop("__key__"): sample for sample in read}
    assert len(found) == len(read)
    assert {sample.pop("__url__").rpartition(".")[2] for sample in read} <= {"tar"}
    return found


def test_a_split_is_a_webdataset_pipeline_of_its_samples_in_order(uri):
    artifact = rayograph.open(uri)
    assert artifact.splits == ["held_out", "train"]
    for split in artifact.splits:
        found = members(artifact.webdataset(split))
        assert found == opened.read_as(split)
        assert list(found) == list(opened.read_as(split))


def test_a_bucket_is_opened_like_a_folder(any_s3):
    uri = opened.committed(open_store(f"{any_s3.new_bucket()}/store", any_s3.endpoint_url))
    artifact = rayograph.open(uri, any_s3.endpoint_url)
    assert artifact.manifest.kind == "pack"
    assert members(artifact.webdataset()) == opened.read_as("train")


def test_webdatasets_own_steps_follow(uri):
    pipeline = rayograph.open(uri).webdataset().select(lambda sample: "cls" in sample).to_tuple("__key__", "cls")
    assert dict(pipeline)["b/ü"] == b"0"
    epochs = rayograph.open(uri).webdataset().shuffle(100).repeat(2)
    assert sorted(sample["__key__"] for sample in epochs) == sorted([*opened.read_as("train")] * 2)


def test_the_workers_of_a_loader_share_the_shards(uri):
    loader = DataLoader(rayograph.open(uri).webdataset(), batch_size=None, num_workers=2)
    assert members(loader) == opened.read_as("train")


def test_a_large_shard_is_read_in_blocks(uri, monkeypatch):
    monkeypatch.setattr(opening, "BLOCK_BYTES", 6)
    index = rayograph.open(uri)._shards("train").index("shards/train-000000.tar")
    assert opening._bounds(index) == [0, 2, 3, 4, 5]  # samples of 4, 5, 6, 7 and 8 bytes
    assert members(rayograph.open(uri).webdataset()) == opened.read_as("train")


def test_a_damaged_sample_is_named(uri):
    store = open_store(uri)
    name = "shards/train-000002.tar"
    store.put(name, store.read(name).replace(b"z", b"w", 1).replace(b"\0z", b"\0w"))
    with pytest.raises(DataError, match=r"train-000002\.tar: sample c/0: its \.png differs"):
        list(rayograph.open(uri).webdataset())


def test_a_split_or_an_artifact_that_is_not_there_is_one_line(uri, tmp_path):
    with pytest.raises(DataError, match="split: expected one of held_out, train, got 'test'"):
        rayograph.open(uri).webdataset("test")
    with pytest.raises(DataError, match="expected a committed artifact, found no manifest"):
        rayograph.open(str(tmp_path))


def test_importing_the_package_is_light():
    program = (
        "import sys, rayograph; rayograph.open; "
        "print(sorted({'torch', 'ray', 'numpy', 'webdataset', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "[]"
