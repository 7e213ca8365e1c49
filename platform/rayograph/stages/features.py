"""Gathering a split's images as arrays, by tasks over the cluster, and reconstructions of them."""

import io
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from rayograph.config import Scale
from rayograph.errors import DataError
from rayograph.ingest.columns import class_columns
from rayograph.ingest.decoding import decoded_images
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import Manifest
from rayograph.shards.committed import Shards
from rayograph.shards.frames import middle_square

Columns = dict[str, np.ndarray]

REJECTED = "rejected"


def gather_images(artifact: Artifact, manifest: Manifest, split: str, size: int, scale: Scale) -> Columns:
    """`pixels` (n, size, size, 3) and, where there are classes, `classes` (n,), in the shards' order.

    `rejected` (m,) says what was left out and why, with shard and key.
    """
    from rayograph.ingest.streams import each

    shards = Shards.of(artifact, manifest, manifest.split(split), scale.access)
    return _joined(each(shards.names, partial(_read, shards, size), scale.ingest), shards)


def gather_reconstructions(
    images: Artifact, manifest: Manifest, split: str, size: int, autoencoder: Artifact, scale: Scale
) -> Columns:
    """`pixels` as `gather_images` gives them, and `reconstructions` from the posteriors' means, in the same order."""
    from rayograph.ingest.streams import each_with

    pool = scale.encode

    shards = Shards.of(images, manifest, manifest.split(split), scale.access)
    worker = partial(_reconstructor, shards, size, autoencoder, scale.device, pool.threads_per_actor)
    done = each_with(shards.names, worker, cpus=pool.cpus_per_actor, gpus=scale.gpus, actors=pool.actors)
    return _joined(done, shards)


def _read(shards: Shards, size: int, name: str) -> bytes:
    return _packed(_images(shards, size, name))


def _reconstructor(
    images: Shards, size: int, autoencoder: Artifact, device: str, threads: int
) -> Callable[[str], bytes]:
    import torch

    from rayograph.models.autoencoder import reconstruct
    from rayograph.models.folder import load_autoencoder

    torch.set_num_threads(threads)
    network = load_autoencoder(autoencoder).to(device)

    def work(name: str) -> bytes:
        columns = _images(images, size, name)
        if len(columns["pixels"]):
            names = [f"{name} image {number}" for number in range(len(columns["pixels"]))]
            columns["reconstructions"] = reconstruct(network, columns["pixels"], names=names)
        return _packed(columns)

    return work


def _images(shards: Shards, size: int, name: str) -> Columns:
    index = shards.index(name)
    rows = shards.rows(name, index, range(len(index)))
    decoded, rejected = decoded_images(rows, partial(middle_square, size=size))
    reasons = np.array([row["reason"] for row in rejected], np.str_)
    if not decoded:
        return {"pixels": np.empty((0, size, size, 3), np.uint8), REJECTED: reasons}
    pixels = np.stack([image for _, _, image in decoded])
    return {"pixels": pixels, REJECTED: reasons} | class_columns([sample for _, sample, _ in decoded])


def _packed(columns: Columns) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **columns)  # type: ignore[arg-type]
    return buffer.getvalue()


def _joined(parts: Iterable[bytes], shards: Shards) -> Columns:
    """All shards' columns. Raises DataError where nothing could be decoded."""
    unpacked = [dict(np.load(io.BytesIO(part), allow_pickle=False)) for part in parts]
    rejected = np.concatenate([part.pop(REJECTED) for part in unpacked]) if unpacked else np.empty(0, np.str_)
    unpacked = [part for part in unpacked if len(part["pixels"])]
    if not unpacked:
        said = f": {rejected[0]}" if len(rejected) else ""
        raise DataError(f"{shards.artifact.uri}: expected images, got none that can be decoded{said}")
    names = [name for name in unpacked[0] if all(name in part for part in unpacked)]
    return {name: np.concatenate([part[name] for part in unpacked]) for name in names} | {REJECTED: rejected}
