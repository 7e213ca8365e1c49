"""What evaluation reads of a split: every image that can be decoded, and the names of those that cannot."""

import numpy as np
import pytest

from rayograph.ingest.images.image_batches import image_batches
from rayograph.runs.artifact import Artifact
from rayograph.shards.committed import Shards
from rayograph.shards.pixels.decode import to_png
from rayograph.shards.sample import Sample
from rayograph.shards.store import put_shard
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
    batches = [batch for name in NAMES for batch in image_batches(shards, name, 4)]
    pixels = np.concatenate([batch.pixels for batch in batches])
    assert pixels.shape == (7, 4, 4, 3)
    assert pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 0, 1, 3]
    assert np.concatenate([batch.classes for batch in batches]).tolist() == [0, 1, 2, 3, 0, 1, 3]
    rejected = [reason for batch in batches for reason in batch.rejected]
    places = [reason.partition(": ")[2].partition(": ")[0] for reason in rejected]
    assert places == ["sample b2", "sample c0", "sample c1"]
    assert rejected[0].startswith(f"{shards.artifact.uri}/{NAMES[1]}: ")


def test_rows_are_the_images_own_whatever_is_left_out_and_however_many_come_at_once(shards, monkeypatch):
    monkeypatch.setattr("rayograph.ingest.images.image_batches.IMAGES_AT_ONCE", 3)
    batches = list(image_batches(shards, NAMES[1], 4))
    assert [batch.rows.tolist() for batch in batches] == [[0, 1], [3]]
    assert [batch.names for batch in batches] == [["shards/b.tar b0", "shards/b.tar b1"], ["shards/b.tar b3"]]
