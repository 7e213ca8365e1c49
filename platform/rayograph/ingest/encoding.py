"""Encoding: one shard of images in, one shard of moments out, under the same keys.

Moments, not scaled latents: the scale may change without encoding again, and every epoch draws afresh from the
posterior.

Shapes: b batch, z latent channels, y x latent grid.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from rayograph.ingest.columns import image_columns, to_npy
from rayograph.models.autoencoder import encode, posterior_sample, to_images
from rayograph.models.finite import require_finite
from rayograph.models.folder import load_autoencoder
from rayograph.models.scaling import LatentScale
from rayograph.runs.artifact import Artifact
from rayograph.runs.draws import Stream, normal
from rayograph.shards.frames import middle_square
from rayograph.shards.index import ShardIndex
from rayograph.shards.sample import Sample, key_fraction
from rayograph.shards.store import find_index, put_shard, read_index, read_samples


class ShardEncoder:
    """Loads the autoencoder once and encodes shard after shard."""

    def __init__(
        self,
        images: Artifact,
        autoencoder: Artifact,
        target: Artifact,
        size: int,
        batch_size: int,
        seed: int,
        device: str,
    ):
        """`size` is the side of the middle square that is encoded."""
        self._images, self._target, self._batch_size, self._seed = images, target, batch_size, seed
        self._choose = partial(middle_square, size=size)
        self._device = torch.device(device)
        self._autoencoder = load_autoencoder(autoencoder).to(self._device)

    @torch.inference_mode()
    def __call__(self, name: str) -> ShardIndex:
        """The index of the shard of moments, made or found. Its facts hold what the latents' statistics need."""
        found = find_index(self._target, name)
        if found is not None:
            return found
        index = read_index(self._images, name)
        first = first_position(name)
        samples: list[Sample] = []
        sums: list[np.ndarray] = []
        shape: tuple[int, ...] = ()
        for start in range(0, len(index), self._batch_size):
            rows = range(start, min(start + self._batch_size, len(index)))
            batch = read_samples(self._images, name, index, rows)
            pixels = torch.from_numpy(image_columns(batch, self._choose)["pixels"]).to(self._device)
            moments = encode(self._autoencoder, to_images(pixels))
            require_finite("moments", [f"{name} {sample.key}" for sample in batch], moments)
            positions = first + torch.arange(rows.start, rows.stop, device=self._device)
            shape = (moments.shape[1] // 2, *moments.shape[2:])
            latents = posterior_sample(moments, normal(self._seed, Stream.ENCODE, positions, shape)).double()
            sums.append(torch.stack([latents.sum(dim=(0, 2, 3)), latents.square().sum(dim=(0, 2, 3))]).cpu().numpy())
            samples += [_encoded(sample, array) for sample, array in zip(batch, moments.cpu().numpy(), strict=True)]
        total, squares = np.sum(sums, axis=0).tolist()
        places = len(samples) * shape[1] * shape[2]
        facts = {"places": places, "sum": total, "sum_of_squares": squares, "latent_shape": list(shape)}
        return put_shard(self._target, name, samples, facts)


def first_position(name: str) -> int:
    """Where a shard's rows begin among the positions of posterior noise: far from every other shard's."""
    return int(key_fraction(name) * 2**53)


def latent_scale(facts: Sequence[dict[str, Any]]) -> LatentScale:
    """Mean and standard deviation of raw latents, by channel, over all shards."""
    places = sum(fact["places"] for fact in facts)
    mean = np.sum([fact["sum"] for fact in facts], axis=0) / places
    variance = np.sum([fact["sum_of_squares"] for fact in facts], axis=0) / places - mean**2
    return LatentScale(tuple(mean.tolist()), tuple(np.sqrt(np.maximum(variance, 1e-12)).tolist()))


def _encoded(sample: Sample, moments: np.ndarray) -> Sample:
    kept = {"cls": sample.members["cls"]} if "cls" in sample.members else {}
    return Sample(sample.key, {"npy": to_npy(moments), **kept})
