"""Exported folders: diffusers opens them as a pipeline, which draws what is drawn here; their card says of what."""

import logging

import numpy as np
import old_store
import published_checkpoint as written
import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import dynamic_modules_utils
from published_first_stage import FirstStage
from published_layout import UNet, disturb

from rayograph.commands.model_export import Wanted, export
from rayograph.commands.model_import import import_folder
from rayograph.config import Sampler, Scale
from rayograph.errors import DataError
from rayograph.runs.artifact import Artifact
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.storage import open_store

STEPS = 4
DDIM = Sampler(scheduler="ddim", num_inference_steps=STEPS, guidance_scale=2.0)


@pytest.fixture(autouse=True)
def own_modules(tmp_path, monkeypatch):
    """Copies of the folders' files, which diffusers makes, belong to the test."""
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    logging.getLogger("diffusers").setLevel(logging.ERROR)


@pytest.fixture
def scale(tmp_path):
    return Scale(store=str(tmp_path / "store"))


def opened(folder):
    pipeline = DiffusionPipeline.from_pretrained(str(folder), trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def ours(artifact, count, columns):
    model = DiffusionModel.load(artifact, "cpu")
    noise = model.noise(7, torch.arange(count))
    pixels, _ = model.draw(7, torch.arange(count), columns, DDIM)
    return noise.first(), pixels.numpy()


def same(images, pixels):
    theirs = np.stack([np.asarray(image) for image in images]).astype(int)
    return np.abs(theirs - pixels.astype(int)).max() <= 1


@pytest.mark.parametrize(("scale_factor", "codes"), [(0.25, None), (None, 32)])
def test_a_checkpoint_that_came_in_goes_out_as_a_pipeline_that_draws_the_same(tmp_path, scale, scale_factor, codes):
    first_stage, average = written.save_unconditional(tmp_path / "ldm", scale_factor, codes)
    uri, _ = import_folder(str(tmp_path / "ldm"), scale)
    artifact = Artifact(open_store(uri), "")
    list(export(uri, str(tmp_path / "out"), None, Wanted()))
    pipeline = opened(tmp_path / "out")
    latents, pixels = ours(artifact, 3, {})
    assert same(pipeline(num_inference_steps=STEPS, latents=latents).images, pixels)
    with torch.inference_mode():
        timesteps = torch.tensor([5, 50, 500])
        predicted = pipeline.unet(latents, timesteps).sample
        assert (predicted - average(latents, timesteps)).abs().max() <= 1e-5
        raw = latents / (scale_factor or 1.0)
        assert (pipeline.vae.decode(raw).sample - first_stage.decode(raw)).abs().max() <= 1e-5


def test_a_number_of_heads_that_diffusers_has_no_argument_for_is_set_by_the_pipeline(tmp_path, scale):
    first_stage, trained = disturb(FirstStage()), disturb(UNet(mult=(1, 2), attn=(0, 1), heads=8))
    written.save(tmp_path / "model.ckpt", written.of_latent_model(first_stage, trained, scale_factor=1.0))
    (tmp_path / "model.yaml").write_text(written.configuration(
        {"image_size": 8, "num_heads": 8}, {"embed_dim": 3, "ddconfig": {"resolution": 16, "ch_mult": [1, 2]}}
    ))  # fmt: skip
    uri, _ = import_folder(str(tmp_path / "model.ckpt"), scale)
    list(export(uri, str(tmp_path / "out"), None, Wanted()))
    noisy, timesteps = torch.randn(1, 3, 8, 8), torch.tensor([50])
    with torch.inference_mode():
        predicted = opened(tmp_path / "out").unet(noisy, timesteps).sample
        assert (predicted - trained(noisy, timesteps)).abs().max() <= 1e-5


def test_a_training_of_classes_goes_out_with_its_conditioner_and_a_card(tmp_path):
    trained = Artifact(open_store(str(old_store.unpack(tmp_path))), old_store.place("train_diffusion"))
    *_, said = export(trained.uri, str(tmp_path / "out"), None, Wanted())
    assert said.startswith("opens with DiffusionPipeline.from_pretrained")
    pipeline = opened(tmp_path / "out")
    latents, pixels = ours(trained, 3, {"class": torch.tensor([0, 1, 2])})
    names = pipeline.conditioner.names[:3]
    assert names == trained.committed().facts["class_names"][:3]
    drawn = pipeline(names, num_inference_steps=STEPS, guidance_scale=2.0, latents=latents).images
    assert same(drawn, pixels)
    with pytest.raises(ValueError, match="classes: expected 0 to"):
        pipeline("no such class")
    card = (tmp_path / "out" / "README.md").read_text()
    for digest in (trained.committed().digest, trained.committed().parents[0].digest):
        assert digest in card
    assert "DiffusionPipeline.from_pretrained" in card


def test_a_folder_is_opened_only_by_who_trusts_its_file(tmp_path, scale):
    written.save_unconditional(tmp_path / "ldm")
    uri, _ = import_folder(str(tmp_path / "ldm"), scale)
    list(export(uri, str(tmp_path / "out"), None, Wanted()))
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        DiffusionPipeline.from_pretrained(str(tmp_path / "out"))


def test_what_was_exported_as_a_pipeline_comes_in_again(tmp_path, scale):
    written.save_unconditional(tmp_path / "ldm", 0.5, None)
    uri, _ = import_folder(str(tmp_path / "ldm"), scale)
    list(export(uri, str(tmp_path / "out"), None, Wanted()))
    again, said = import_folder(str(tmp_path / "out"), scale, name="again")
    assert said.startswith("model=")
    one, other = (ours(Artifact(open_store(place), ""), 2, {})[1] for place in (uri, again))
    assert (one == other).all()
    with pytest.raises(DataError, match="expected a training"):
        list(export(uri, str(tmp_path / "more"), None, Wanted(average="ema-0.9")))


def test_classes_that_are_attended_to_go_out_and_draw_the_same(tmp_path, scale):
    trained = disturb(UNet(attn=(0, 1), heads=1, context=12))
    table = {"embedding.weight": torch.randn(4, 12)}
    written.save(tmp_path / "model.ckpt", written.of_latent_model(disturb(FirstStage(codes=32)), trained, table))
    (tmp_path / "config.yaml").write_text(written.configuration(
        {"image_size": 8, "num_heads": 1}, {"embed_dim": 3, "ddconfig": {"resolution": 16, "ch_mult": [1, 2]}}
    ))  # fmt: skip
    uri, _ = import_folder(str(tmp_path / "model.ckpt"), scale)
    list(export(uri, str(tmp_path / "out"), None, Wanted()))
    latents, pixels = ours(Artifact(open_store(uri), ""), 3, {"class": torch.tensor([0, 1, 2])})
    drawn = opened(tmp_path / "out")([0, 1, "2"], num_inference_steps=STEPS, guidance_scale=2.0, latents=latents)
    assert same(drawn.images, pixels)
