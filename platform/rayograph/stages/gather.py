"""Gathering a split's images as arrays, by tasks over the cluster, and reconstructions of them."""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from rayograph.config import Scale
from rayograph.ingest.columns import image_columns
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import Manifest
from rayograph.shards.frames import middle_square
from rayograph.shards.store import read_index, read_samples

Columns = dict[str, np.ndarray]


def gather_images(artifact: Artifact, manifest: Manifest, split: str, size: int, scale: Scale) -> Columns:
    """`pixels` (n, size, size, 3) and, where there are classes, `classes` (n,), in the shards' order."""
    from rayograph.ingest.streams import each

    names = [shard.path for shard in manifest.split(split)]
    return _joined(each(names, partial(_read, artifact, size), scale.ingest))


def gather_reconstructions(
    images: Artifact, manifest: Manifest, split: str, size: int, autoencoder: Artifact, scale: Scale
) -> Columns:
    """`pixels` as `gather_images` gives them, and `reconstructions` from the posteriors' means, in the same order."""
    from rayograph.ingest.streams import each_with

    pool = scale.encode

    worker = partial(_reconstructor, images, size, autoencoder, scale.device, pool.threads_per_actor)
    names = [shard.path for shard in manifest.split(split)]
    return _joined(each_with(names, worker, cpus=pool.cpus_per_actor, gpus=scale.gpus, actors=pool.actors))


def _read(artifact: Artifact, size: int, name: str) -> bytes:
    return _packed(_images(artifact, size, name))


def _reconstructor(
    images: Artifact, size: int, autoencoder: Artifact, device: str, threads: int
) -> Callable[[str], bytes]:
    import torch

    from rayograph.models.autoencoder import reconstruct
    from rayograph.models.folder import load_autoencoder

    torch.set_num_threads(threads)
    network = load_autoencoder(autoencoder).to(device)

    def work(name: str) -> bytes:
        columns = _images(images, size, name)
        names = [f"{name} row {row}" for row in range(len(columns["pixels"]))]
        return _packed(columns | {"reconstructions": reconstruct(network, columns["pixels"], names=names)})

    return work


def _images(artifact: Artifact, size: int, name: str) -> Columns:
    index = read_index(artifact, name)
    samples = read_samples(artifact, name, index, range(len(index)))
    return image_columns(samples, partial(middle_square, size=size))


def _packed(columns: Columns) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **columns)  # type: ignore[arg-type]
    return buffer.getvalue()


def _joined(parts: Any) -> Columns:
    unpacked = [dict(np.load(io.BytesIO(part), allow_pickle=False)) for part in parts]
    return {name: np.concatenate([part[name] for part in unpacked]) for name in unpacked[0]}
