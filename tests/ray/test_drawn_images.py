"""What a model drew is images like any other: another job trains a first stage on it, and encodes it."""

import io
from pathlib import Path

import numpy as np
import old_store
import pytest
import torch

from rayograph.config import Autoencoder, Discriminator, Encode, Job, PerceptualNetwork, Scale, TrainAutoencoder, View
from rayograph.models.autoencoder import to_images
from rayograph.models.model_folder import load_autoencoder
from rayograph.pipeline.resolve import resolve
from rayograph.pipeline.runner import run_job
from rayograph.runs.artifact import Artifact
from rayograph.runs.lineage import ancestors
from rayograph.shards.pixels.decode import render
from rayograph.shards.sample import Sample
from rayograph.shards.store import read_index, read_samples
from rayograph.storage import open_store

pytestmark = pytest.mark.usefixtures("cluster")


def samples_of(artifact: Artifact) -> dict[str, Sample]:
    found = {}
    for shard in artifact.committed().split("train"):
        index = read_index(artifact, shard.path)
        found |= {sample.key: sample for sample in read_samples(artifact, shard.path, index, range(len(index)))}
    return found


def test_another_job_learns_from_generated_images_and_encodes_each_of_them(scale: Scale, tmp_path: Path) -> None:
    store = open_store(str(old_store.unpack(tmp_path)))
    drawn = Artifact(store, old_store.place("sample"))
    learned = TrainAutoencoder(
        images=drawn.uri,
        view=View(image_size=16),
        network=Autoencoder(latent_channels=2, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4),
        discriminator=Discriminator(base_channels=4, num_layers=1),
        perceptual=PerceptualNetwork(channels=(4, 4)),
        total_images=32,
        global_batch_size=8,
        preview_every_images=0,
    )
    job = Job(name="second", stages={"learned": learned, "encoded": Encode(images=drawn.uri, autoencoder="learned")})
    scale = scale.model_copy(update={"store": store.uri})
    run_job(job, scale, None)
    stages = resolve(job, scale, store)
    pictures, latents = samples_of(drawn), samples_of(stages["encoded"].artifact)
    assert pictures.keys() == latents.keys()
    assert len(latents) == 12
    facts = stages["encoded"].artifact.committed().facts
    assert facts["class_names"] == drawn.committed().facts["class_names"]
    network = load_autoencoder(stages["learned"].artifact)
    for key, sample in pictures.items():
        pixels = torch.from_numpy(render(sample.members["png"], key).copy())[None]
        with torch.inference_mode():
            expected = network.encode(to_images(pixels))[0].numpy()
        (name,) = [name for name in latents[key].members if name.startswith("np")]
        moments = np.load(io.BytesIO(latents[key].members[name]))
        assert np.abs(moments.astype(np.float32) - expected).max() < 0.02
        assert latents[key].members["cls"] == sample.members["cls"]
    kinds = [node.manifest.kind for node in ancestors(stages["encoded"].artifact, None)]
    assert {"sample", "train_diffusion", "pack"} <= set(kinds)
