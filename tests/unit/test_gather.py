"""What evaluation reads of a split: every image that can be decoded, and the names of those that cannot."""

import numpy as np
import pytest

from rayograph.errors import DataError
from rayograph.runs.artifact import Artifact
from rayograph.shards.committed import Shards
from rayograph.shards.images import to_png
from rayograph.shards.sample import Sample
from rayograph.shards.store import put_shard
from rayograph.stages.features import REJECTED, _joined, _read
from rayograph.storage import open_store

NAMES = ("shards/a.tar", "shards/b.tar", "shards/c.tar")


@pytest.fixture
def shards(tmp_path):
    """Two shards of images, of which one is damaged, and a shard of nothing else."""
    artifact = Artifact(open_store(str(tmp_path)), "pack")
    for name in NAMES:
        samples = [
            Sample(f"{name[7]}{n}", {"png": to_png(np.full((8, 8, 3), n, np.uint8)), "cls": b"%d" % n})
            for n in range(4)
        ]
        if name == NAMES[1]:
            samples[2] = Sample("b2", {"png": samples[2].members["png"][:40], "cls": b"2"})
        if name == NAMES[2]:
            samples = [Sample("c0", {"png": b"x"}), Sample("c1", {"txt": b"x"})]
        put_shard(artifact, name, samples)
    return Shards(artifact, NAMES)


def test_what_cannot_be_decoded_is_left_out_and_named(shards):
    columns = _joined((_read(shards, 4, name) for name in NAMES), shards)
    assert columns["pixels"].shape == (7, 4, 4, 3)
    assert columns["pixels"][:, 0, 0, 0].tolist() == columns["classes"].tolist() == [0, 1, 2, 3, 0, 1, 3]
    places = [reason.partition(": ")[2].partition(": ")[0] for reason in columns[REJECTED].tolist()]
    assert places == ["sample b2", "sample c0", "sample c1"]
    assert columns[REJECTED][0].startswith(f"{shards.artifact.uri}/{NAMES[1]}: ")


def test_nothing_that_can_be_decoded_is_an_error_that_names_the_first(shards):
    with pytest.raises(DataError, match=r"expected images, got none that can be decoded: .*c\.tar: sample c0: "):
        _joined([_read(shards, 4, NAMES[2])], shards)
