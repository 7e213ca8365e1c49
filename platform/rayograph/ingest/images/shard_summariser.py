"""Shards of images to summaries: what an actor of an evaluation does, shard after shard."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from rayograph.config import Features
from rayograph.evaluation.extractors import build_extractor
from rayograph.evaluation.selection import Selection
from rayograph.evaluation.summaries import Summariser, Summary, joined
from rayograph.ingest.images.image_batches import image_batches
from rayograph.models.autoencoder import AutoencoderNetwork, reconstruct
from rayograph.models.model_folder import load_autoencoder
from rayograph.runs.artifact import Artifact
from rayograph.shards.committed import Shards
from rayograph.storage import Access


@dataclass(frozen=True)
class SelectedShard:
    """One shard of a set of images, and what of it is kept."""

    set_name: str
    shards: Shards
    name: str
    selection: Selection
    reconstructed: bool
    keyed: bool = False
    """Whether the keys of images are kept."""
    key_field: str | None = None
    """Of their json, which holds their key; None is the key that they are stored under."""


class ShardSummariser:
    """Loads the networks once and sums up shard after shard."""

    def __init__(
        self, features: Features, autoencoder: Artifact | None, size: int, device: str, access: Access, judged: bool
    ) -> None:
        """`size` is the side of the middle square that is looked at; `judged`, whether the classifier has a say."""
        self._size = size
        self._plain = self._reconstructing = Summariser(build_extractor(features, device, access), judged)
        if autoencoder is not None:
            network = load_autoencoder(autoencoder).to(torch.device(device))
            self._reconstructing = replace(self._plain, reconstruct=partial(_reconstruct, network))

    def __call__(self, shard: SelectedShard) -> Summary:
        """Sum up one shard, batch by batch."""
        summarise = self._reconstructing if shard.reconstructed else self._plain
        return joined(
            summarise(
                shard.selection,
                batch.rows,
                batch.pixels,
                batch.classes,
                batch.names,
                batch.rejected,
                batch.keys if shard.keyed else (),
            )
            for batch in image_batches(shard.shards, shard.name, self._size, shard.key_field)
        )


def _reconstruct(network: AutoencoderNetwork, pixels: np.ndarray, names: list[str]) -> np.ndarray:
    return reconstruct(network, pixels, names=names)
