"""Encoding: one shard of images in, one shard of moments out, under the same keys; what is no image is left out.

Moments, not scaled latents: the scale may change without encoding again, and every epoch draws afresh from the
posterior.

Shapes: b batch, z latent channels, y x latent grid.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress
from typing import TypedDict

import numpy as np
import torch

from rayograph.conditioning.spatial.layout_boxes import BOXES, boxes_of
from rayograph.ingest.columns import image_of, to_npy
from rayograph.ingest.images.decoding import decoded_images, require_few
from rayograph.json_types import Json
from rayograph.models.autoencoder import posterior_sample, to_images
from rayograph.models.model_folder import load_autoencoder
from rayograph.models.normalisation import LatentNormalisation
from rayograph.runs.artifact import Artifact
from rayograph.runs.philox import normal
from rayograph.runs.rng_streams import RngStream
from rayograph.shards.committed import Shards
from rayograph.shards.pixels.decode import EXTENSIONS
from rayograph.shards.pixels.frames import Frame, middle_square
from rayograph.shards.pixels.sizes import upright_size
from rayograph.shards.sample import Sample, key_fraction
from rayograph.shards.shard_index import ShardIndex
from rayograph.shards.store import find_index, put_shard

MOMENTS = "npy"
"""The extension of a sample's moments."""


class LatentFacts(TypedDict):
    """What a shard's index says of its latents: how many places they have, and by channel the sums of their values."""

    places: int
    sum: list[float]
    sum_of_squares: list[float]
    latent_shape: list[int]


class ShardEncoder:
    """Loads the autoencoder once and encodes shard after shard."""

    def __init__(
        self,
        images: Shards,
        autoencoder: Artifact,
        target: Artifact,
        size: int,
        batch_size: int,
        seed: int,
        device: str,
        bad_sample_limit: int = 0,
    ):
        """`size` is the side of the middle square that is encoded.

        Raises DataError, of a call, once more samples of a shard are left out than `bad_sample_limit`.
        """
        self._limit = bad_sample_limit
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
        index = self._images.index(name)
        first = first_position(name)
        rejected: list[dict[str, str]] = []
        samples: list[Sample] = []
        sums: list[np.ndarray] = []
        shape: tuple[int, ...] = ()
        for start in range(0, len(index), self._batch_size):
            rows = self._images.rows(name, index, range(start, min(start + self._batch_size, len(index))))
            decoded, wrong = decoded_images(rows, self._choose)
            rejected += wrong
            require_few(rejected, self._limit)
            if not decoded:
                continue
            pixels = torch.from_numpy(np.stack([image for _, _, image in decoded])).to(self._device)
            moments = self._autoencoder.encode(to_images(pixels))
            sound = moments.isfinite().flatten(1).all(1).tolist()
            if not all(sound):
                rejected += [
                    _not_finite(name, sample) for (_, sample, _), good in zip(decoded, sound, strict=True) if not good
                ]
                require_few(rejected, self._limit)
                decoded, moments = list(compress(decoded, sound)), moments[sound]
                if not decoded:
                    continue
            # By the row, not by what is left of a batch: no sample's noise depends on another's being sound.
            positions = first + start + torch.tensor([row for row, _, _ in decoded], device=self._device)
            shape = (moments.shape[1] // 2, *moments.shape[2:])
            latents = posterior_sample(moments, normal(self._seed, RngStream.ENCODE, positions, shape)).double()
            sums.append(torch.stack([latents.sum(dim=(0, 2, 3)), latents.square().sum(dim=(0, 2, 3))]).cpu().numpy())
            arrays = moments.cpu().numpy()
            samples += [
                _encoded(sample, array, self._choose) for (_, sample, _), array in zip(decoded, arrays, strict=True)
            ]
        facts: dict[str, Json] = {"places": 0, "rejected": rejected} if rejected else {}
        if samples:
            total, squares = np.sum(sums, axis=0).tolist()
            places = len(samples) * shape[1] * shape[2]
            facts |= {"places": places, "sum": total, "sum_of_squares": squares, "latent_shape": list(shape)}
        return put_shard(self._target, name, samples, facts)


def first_position(name: str) -> int:
    """Where a shard's rows begin among the positions of posterior noise: far from every other shard's."""
    return int(key_fraction(name) * 2**53)


def normalisation(facts: Sequence[LatentFacts]) -> LatentNormalisation:
    """Mean and standard deviation of raw latents, by channel, over all shards."""
    facts = [fact for fact in facts if fact["places"]]
    places = sum(fact["places"] for fact in facts)
    mean = np.sum([fact["sum"] for fact in facts], axis=0) / places
    variance = np.sum([fact["sum_of_squares"] for fact in facts], axis=0) / places - mean**2
    return LatentNormalisation(tuple(mean.tolist()), tuple(np.sqrt(np.maximum(variance, 1e-12)).tolist()))


def _not_finite(name: str, sample: Sample) -> dict[str, str]:
    return {"key": sample.key, "reason": f"{name} {sample.key}: expected finite moments, got nan or infinity"}


def _encoded(sample: Sample, moments: np.ndarray, choose: Callable[[int, int], Frame]) -> Sample:
    """The moments, and all that stood beside the image: what a denoiser is told is chosen when it is trained.

    Boxes are of what was encoded. Maps, which have a size, tell their own middle.
    """
    kept = {name: data for name, data in sample.members.items() if name not in EXTENSIONS and name != MOMENTS}
    boxes = boxes_of(sample)
    if boxes is not None:
        data, name = image_of(sample)
        size = upright_size(data, lambda: data, name)
        if size[0] != size[1]:
            kept[BOXES] = boxes.within(choose(*size), size).to_json()
    return Sample(sample.key, {MOMENTS: to_npy(moments), **kept})
