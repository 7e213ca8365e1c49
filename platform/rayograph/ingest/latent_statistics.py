"""The scale of latents that are encoded as they are learned: measured before a training starts, and kept with it."""

import json
from collections.abc import Callable
from functools import partial

import numpy as np

from rayograph.errors import MissingObjectError
from rayograph.ingest.latent_encoder import normalisation
from rayograph.ingest.reading import PlannedReader
from rayograph.ingest.resources import require_pool
from rayograph.models.normalisation import LatentNormalisation
from rayograph.runs.artifact import Artifact
from rayograph.runs.stage_context import StageContext

MEASURED_IMAGES = 1024
"""The first of a training's own stream, seen as it sees them: a random sample of its data."""
AT_ONCE = 32
"""Images a task and a forward pass: what is summed up, in which order, is the same on any number of actors."""

STATISTICS = "latent_statistics.json"


def measured(stage: StageContext, reader: PlannedReader, autoencoder: Artifact) -> LatentNormalisation:
    """Measure mean and deviation of each latent channel, once: whoever goes on with the training finds them."""
    artifact = stage.artifact
    key = artifact.key(STATISTICS)
    try:
        kept = artifact.store.read(key)
    except MissingObjectError:
        found = _measure(stage, reader, autoencoder)
        said = {"images": MEASURED_IMAGES, "mean": list(found.mean), "std": list(found.std)}
        artifact.store.put_if_absent(key, json.dumps(said).encode())
        kept = artifact.store.read(key)
    said = json.loads(kept)
    return LatentNormalisation(tuple(said["mean"]), tuple(said["std"]))


def _measure(stage: StageContext, reader: PlannedReader, autoencoder: Artifact) -> LatentNormalisation:
    from rayograph.ingest.streams import each_with

    require_pool(stage)
    pool, scale = stage.scale.encode, stage.scale
    worker = partial(_summing, reader, autoencoder, stage.seed, scale.device, pool.threads_per_actor)
    starts = range(0, MEASURED_IMAGES, AT_ONCE)
    done = each_with(list(starts), worker, cpus=pool.cpus_per_actor, gpus=scale.gpus, actors=pool.actors)
    return normalisation([json.loads(data) for data in done])


def _summing(
    reader: PlannedReader, autoencoder: Artifact, seed: int, device: str, threads: int
) -> Callable[[int], bytes]:
    """What sums up the latents at AT_ONCE positions from any."""
    import torch

    from rayograph.models.autoencoder import posterior_sample, to_images
    from rayograph.models.model_folder import load_autoencoder
    from rayograph.runs.philox import normal
    from rayograph.runs.rng_streams import RngStream

    torch.set_num_threads(threads)
    where = torch.device(device)
    network = load_autoencoder(autoencoder).to(where)

    @torch.inference_mode()
    def summed(start: int) -> bytes:
        positions = np.arange(start, start + AT_ONCE)
        pixels = torch.from_numpy(reader.read(positions)["pixels"]).to(where)
        moments = network.encode(to_images(pixels)).float()
        shape = (moments.shape[1] // 2, *moments.shape[2:])
        noise = normal(seed, RngStream.ENCODE, torch.from_numpy(positions).to(where), shape)
        latents = posterior_sample(moments, noise).double()
        total, squares = latents.sum(dim=(0, 2, 3)), latents.square().sum(dim=(0, 2, 3))
        said = {"places": AT_ONCE * shape[1] * shape[2], "sum": total.tolist(), "sum_of_squares": squares.tolist()}
        return json.dumps(said).encode()

    return summed
