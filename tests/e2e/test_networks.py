"""Digits without a first stage, by a U-Net and by a transformer: trained, drawn from, trained on from there."""

import io
import json
import subprocess
import sys

import command
import numpy as np
import pytest
from PIL import Image

from rayograph.runs.artifact import Artifact
from rayograph.shards.store import read_index, read_samples
from rayograph.storage import open_store

JOB = """
from rayograph.config import *

def trained(network, images, **fields):
    return TrainDiffusion(
        images="pack", network=network, total_images=images, global_batch_size=64, learning_rate=2e-3,
        learning_rate_schedule="cosine", warmup_images=1_280, betas=(0.9, 0.99), gradient_clipping=1.0,
        noise_schedule=NoiseSchedule(prediction_type="v_prediction"), ema_decays=(0.99,), preview_every_images=0,
        log_every_images=640, **fields,
    )

def drawn(model):
    return Sample(model=model, num_samples=100, unit_size=50, sampler=Sampler(num_inference_steps=10))

unet = Denoiser(num_classes=10, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
                mid_block_attention=False)
dit = DiT(num_classes=10, patch_size=2, num_layers=4, num_attention_heads=4, attention_head_dim=16)
job = Job(name="networks", stages={
    "pack": Pack(source=SklearnDigits(), image_size=8, held_out_fraction=0.2, samples_per_shard=512),
    "unet": trained(unet, 25_600),
    "dit": trained(dit, 25_600),
    "on": trained(unet, 1_280, init_from="unet"),
    "sample_unet": drawn("unet"),
    "sample_dit": drawn("dit"),
    "evaluate": Evaluate(autoencoder=None, model="dit", samples="sample_dit"),
})
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Everything run once."""
    place = tmp_path_factory.mktemp("networks")
    (place / "job.py").write_text(JOB)
    words = [sys.executable, "-m", "rayograph", "run", str(place / "job.py"), "--on", "cluster/laptop/scale.yaml"]
    done = subprocess.run(
        [*words, "--store", str(place / "store")],
        cwd=command.ROOT, env=command.environment(), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return open_store(str(place / "store"))


def artifact(store, stage):
    (key,) = store.folders(f"networks/{stage}")
    return Artifact(store, f"networks/{stage}/{key}")


def class_means(made, split):
    """(10, pixels): the mean image of each class, less the mean of all."""
    pixels, classes = [], []
    for shard in made.committed().split(split):
        index = read_index(made, shard.path)
        for sample in read_samples(made, shard.path, index, range(len(index))):
            with Image.open(io.BytesIO(sample.members["png"])) as image:
                pixels.append(np.asarray(image.convert("L"), np.float64).ravel())
            classes.append(int(sample.members["cls"]))
    means = np.stack([np.mean([p for p, c in zip(pixels, classes, strict=True) if c == k], axis=0) for k in range(10)])
    return means - means.mean(axis=0)


def losses(made):
    return [json.loads(line)["loss"] for line in made.read("metrics.jsonl").splitlines()]


@pytest.mark.parametrize("network", ["unet", "dit"])
def test_samples_of_a_class_look_like_that_class(store, network):
    real, drawn = (
        class_means(artifact(store, "pack"), "train"),
        class_means(artifact(store, f"sample_{network}"), "train"),
    )
    alike = np.corrcoef(real, drawn)[:10, 10:]
    assert (alike.argmax(axis=0) == np.arange(10)).sum() >= 9, alike.diagonal()
    assert alike.diagonal().mean() > 0.7


@pytest.mark.parametrize("network", ["unet", "dit"])
def test_the_loss_falls_far_below_that_of_no_knowledge(store, network):
    found = losses(artifact(store, network))
    assert np.mean(found[-5:]) < 0.5 * found[0]


def test_a_training_goes_on_from_weights_at_the_loss_they_had(store):
    before, after = losses(artifact(store, "unet")), losses(artifact(store, "on"))
    assert after[0] < 1.3 * np.mean(before[-5:]) < 0.6 * before[0]


def test_a_model_in_pixel_space_holds_a_first_stage_that_does_nothing(store):
    config = json.loads(artifact(store, "dit").read("model/vae/config.json"))
    assert config["declared"]["kind"] == "identity"
    assert config["spec"]["factor"] == 1
    assert artifact(store, "dit").committed().parents[0].input == "images"


def test_the_report_needs_no_first_stage(store):
    facts = artifact(store, "evaluate").committed().facts
    assert facts["class_agreement"] > 0.7
    assert facts["reconstruction_psnr"] is None
