"""Sources of pictures for tests, and what packing makes of them."""

import io
import tarfile

import numpy as np
from PIL import Image

from rayograph.config import Pack
from rayograph.ingest.packing import PackedTask, pack_task
from rayograph.ingest.sources import open_source
from rayograph.runs.artifact import Artifact
from rayograph.shards.store import read_index, read_samples
from rayograph.storage import open_store


def pixels(seed=0, size=(9, 12)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def encoded(array, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def picture(seed=0, size=(9, 12)):
    return encoded(pixels(seed, size))


def tar_of(path, members):
    """A tar of (name, bytes) in that order."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def declare(source, **changes):
    return Pack(**{"source": source, "image_size": 8, "held_out_fraction": 0.25, "samples_per_shard": 16} | changes)


def packed(source, target, endpoint_url=None, **changes):
    """The artifact, and every task's record."""
    declared = declare(source, **changes)
    opened = open_source(declared.source, endpoint_url)
    artifact = Artifact(open_store(str(target), endpoint_url), "packed")
    tasks = opened.tasks(declared.samples_per_shard, declared.held_out_fraction)
    return artifact, [PackedTask.model_validate_json(pack_task(artifact, opened, declared, task)) for task in tasks]


def samples_of(artifact, records):
    """Every packed sample, by key."""
    found = {}
    for record in records:
        for shard in record.shards:
            index = read_index(artifact, shard.path)
            for sample in read_samples(artifact, shard.path, index, range(len(index))):
                assert sample.key not in found
                found[sample.key] = sample.members
    return found


def rejected_of(records):
    return {row["key"]: row["reason"] for record in records for row in record.rejected}
