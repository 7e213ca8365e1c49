"""Checkpoints of the latent diffusion code: what is read of them, what is refused, and that they draw as there."""

import os
import pickle
import shutil

import published_checkpoint as written
import pytest
import torch
from published_first_stage import FirstStage
from published_layout import UNet, disturb
from safetensors.torch import save_file

from rayograph.cli import main
from rayograph.commands.model_import import import_folder
from rayograph.config import ImportModel, Job, Sampler, Scale
from rayograph.errors import ConfigError, DataError
from rayograph.models.conditioning import Conditioning
from rayograph.models.model_folder import load_autoencoder
from rayograph.models.published.checkpoint_file import read_weights
from rayograph.models.published.settings import read_settings
from rayograph.pipeline.resolve import resolve
from rayograph.pipeline.runner import run_stage
from rayograph.runs.artifact import Artifact
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.storage import open_store

CLOSE = 1e-5


@pytest.fixture
def scale(tmp_path):
    return Scale(store=str(tmp_path / "store"))


def imported(scale, place, **options):
    declared = ImportModel(uri=str(place), **options)
    stage = resolve(Job(name="taken", stages={"import_model": declared}), scale, open_store(scale.store))[
        "import_model"
    ]
    run_stage(stage)
    return stage.artifact


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
@pytest.mark.parametrize("options", [{}, {"codes": 32, "attn": (1,)}, {"codes": 32, "mid": False}])
def test_a_first_stage_comes_in_from_its_checkpoint(tmp_path, scale, suffix, options):
    published = disturb(FirstStage(**options))
    weights = published.state_dict() | {"loss.discriminator.main.0.weight": torch.zeros(2)}
    if suffix == "ckpt":
        path = written.save(tmp_path / "last.ckpt", weights)
    else:
        path = tmp_path / "last.safetensors"
        save_file(weights, path)
    network = load_autoencoder(imported(scale, path, image_size=16))
    images = random(2, 3, 16, 16)
    with torch.inference_mode():
        mean = published.encode(images)[:, :3]
        assert (network.encode(images)[:, :3] - mean).abs().max() <= CLOSE
        assert (network.decode(mean) - published.decode(mean)).abs().max() <= CLOSE


@pytest.mark.parametrize(("scale_factor", "codes"), [(None, 32), (0.25, None)])
def test_a_latent_model_comes_in_by_its_averages_and_predicts_and_decodes_as_there(
    tmp_path, scale, scale_factor, codes
):
    first_stage, average = written.save_unconditional(tmp_path / "ldm", scale_factor, codes)
    uri, said = import_folder(str(tmp_path / "ldm"), scale)
    assert said == f'model="{uri}"'
    artifact = Artifact(open_store(uri), "")
    facts = artifact.committed().facts
    assert (facts["image_size"], facts["downsampling_factor"], facts["class_names"]) == (16, 2, [])
    model = DiffusionModel.load(artifact, "cpu")
    assert model.normalisation.std == pytest.approx([1 / (scale_factor or 1.0)] * 3)
    assert model.schedule.config.beta_schedule == "scaled_linear"
    assert (model.schedule.config.beta_start, model.schedule.config.beta_end) == written.BETAS
    assert model.schedule.config.trained_betas is None
    noisy, timesteps = random(2, 3, 8, 8), torch.tensor([1, 900])
    with torch.inference_mode():
        predicted = model.denoiser(noisy, timesteps, Conditioning())
        assert (predicted - average(noisy, timesteps)).abs().max() <= CLOSE
        decoded = model.autoencoder.decode(model.normalisation.denormalise(noisy))
        assert (decoded - first_stage.decode(noisy / (scale_factor or 1.0))).abs().max() <= CLOSE
    pixels, _ = model.draw(0, torch.arange(2), {}, Sampler(num_inference_steps=2))
    assert pixels.shape == (2, 16, 16, 3)


def test_heads_by_number_are_kept_in_the_folder(tmp_path, scale):
    first_stage, trained = disturb(FirstStage()), disturb(UNet(mult=(1, 2), attn=(0, 1), heads=8))
    written.save(tmp_path / "model.ckpt", written.of_latent_model(first_stage, trained, scale_factor=1.0))
    (tmp_path / "model.yaml").write_text(written.configuration(
        {"image_size": 8, "num_heads": 8}, {"embed_dim": 3, "ddconfig": {"resolution": 16, "ch_mult": [1, 2]}}
    ))  # fmt: skip
    artifact = imported(scale, tmp_path / "model.ckpt", makes="diffusion_model")
    model = DiffusionModel.load(artifact, "cpu")
    noisy, timesteps = random(1, 3, 8, 8), torch.tensor([50])
    with torch.inference_mode():
        predicted = model.denoiser(noisy, timesteps, Conditioning())
        assert (predicted - trained(noisy, timesteps)).abs().max() <= CLOSE


def test_the_same_files_have_the_same_key_wherever_and_whatever_they_are_called(tmp_path, scale):
    written.save_unconditional(tmp_path / "ldm")
    shutil.copytree(tmp_path / "ldm", tmp_path / "other")
    (tmp_path / "other" / "model.ckpt").rename(tmp_path / "other" / "celeba.ckpt")
    (tmp_path / "other" / "README").write_text("nothing of the model")
    one, other = (
        next(import_folder(str(place), scale, name="taken"))
        for place in (tmp_path / "ldm", tmp_path / "other" / "celeba.ckpt")
    )
    assert one == other


def test_a_first_stage_alone_is_taken_of_a_latent_model_and_it_is_said(tmp_path, scale, capsys):
    first_stage, _ = written.save_unconditional(tmp_path / "ldm")
    (tmp_path / "ldm" / "config.yaml").unlink()
    artifact = imported(scale, tmp_path / "ldm", image_size=16)
    assert "weights of a denoiser are left out: 'autoencoder' takes the first stage alone" in capsys.readouterr().err
    with torch.inference_mode():
        latents = random(1, 3, 8, 8)
        assert (load_autoencoder(artifact).decode(latents) - first_stage.decode(latents)).abs().max() <= CLOSE
    with pytest.raises(DataError, match="expected the published configuration of a latent model beside it"):
        imported(scale, tmp_path / "ldm", makes="diffusion_model")


class Runs:
    def __reduce__(self):
        return os.system, ("touch /tmp/ran",)


def unsafe(folder):
    torch.save({"state_dict": {"encoder.conv_in.weight": torch.zeros(1)}, "hook": Runs()}, folder / "model.ckpt")


def unsafe_of_old(folder):
    torch.save({"state_dict": {}, "hook": Runs()}, folder / "model.ckpt", _use_new_zipfile_serialization=False)


def plain_pickle(folder):
    (folder / "model.ckpt").write_bytes(pickle.dumps(Runs()))


def cut_off(folder):
    data = (folder / "model.ckpt").read_bytes()
    (folder / "model.ckpt").write_bytes(data[: len(data) // 2])


def empty(folder):
    (folder / "model.ckpt").write_bytes(b"")


def no_tensors(folder):
    torch.save({"state_dict": {"a": 3}}, folder / "model.ckpt")


def changed(change):
    def spoil(folder):
        weights = {name: value.clone() for name, value in read_weights(folder / "model.ckpt", "").items()}
        change(weights)
        written.save(folder / "model.ckpt", weights)

    return spoil


def without_heads(folder):
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("num_head_channels: 16", ""))


def no_yaml(folder):
    (folder / "config.yaml").write_text("a: [")


def with_two(folder):
    shutil.copy(folder / "model.ckpt", folder / "last.ckpt")


SPOILT = {
    unsafe: "expected tensors and plain values, got posix.system, which reading it would run",
    unsafe_of_old: "expected a checkpoint of tensors alone: ",
    plain_pickle: "expected a checkpoint of tensors alone: ",
    cut_off: "expected a checkpoint of tensors alone: ",
    empty: "expected a checkpoint of tensors alone: ",
    no_tensors: "expected tensors by name, got 'a' of int",
    changed(lambda weights: weights.update({"unknown.weight": torch.zeros(1)})): "left over unknown.weight",
    changed(lambda weights: weights.pop("model_ema.diffusion_modelout2bias")): "missing out.2.bias",
    changed(lambda weights: weights.update({"model_ema.diffusion_modelx": torch.zeros(1)})):
        "left over model_ema.diffusion_modelx",
    changed(lambda weights: weights.pop("first_stage_model.decoder.conv_out.bias")): "missing decoder.conv_out.bias",
    changed(lambda weights: weights.update({"betas": torch.full((1000,), 2.0)})): "expected betas between 0 and 1",
    without_heads: "unet_config.params.num_heads or num_head_channels",
    no_yaml: "expected YAML",
    with_two: "expected one checkpoint, got last.ckpt, model.ckpt: name the file",
}  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: SPOILT[spoil][:40])
def test_what_is_no_whole_checkpoint_is_refused_in_one_line_and_nothing_of_it_runs(tmp_path, scale, spoil):
    written.save_unconditional(tmp_path / "ldm")
    spoil(tmp_path / "ldm")
    with pytest.raises((DataError, ConfigError)) as caught:
        imported(scale, tmp_path / "ldm", makes="diffusion_model")
    assert SPOILT[spoil] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "ldm") in str(caught.value)
    assert not os.path.exists("/tmp/ran")


def test_betas_of_their_own_are_taken_over(tmp_path, scale):
    written.save_unconditional(tmp_path / "ldm")
    weights = {name: value.clone() for name, value in read_weights(tmp_path / "ldm" / "model.ckpt", "").items()}
    weights["betas"] = torch.linspace(0.001, 0.3, 50)
    written.save(tmp_path / "ldm" / "model.ckpt", weights)
    schedule = DiffusionModel.load(imported(scale, tmp_path / "ldm", makes="diffusion_model"), "cpu").schedule
    assert torch.allclose(schedule.betas, weights["betas"])
    assert schedule.config.num_train_timesteps == 50


def test_a_published_configuration_is_read_in_the_fields_own_words():
    text = written.configuration(
        {"image_size": 32, "num_heads": 8}, {"embed_dim": 4, "ddconfig": {"resolution": 256, "ch_mult": [1, 2, 4, 4]}},
        scale_factor=0.18215, linear_start=0.00085, linear_end=0.012, parameterization="v",
    )  # fmt: skip
    settings = read_settings(text.encode(), "config.yaml")
    assert settings.first_stage.factor == 8
    assert settings.denoiser.heads.number == 8
    assert settings.denoiser.scale_factor == 0.18215
    assert settings.denoiser.schedule.prediction_type == "v_prediction"
    assert settings.denoiser.schedule.beta_schedule == "scaled_linear"
    with pytest.raises(DataError, match="prediction_type"):
        read_settings(text.replace("parameterization: v", "parameterization: w").encode(), "config.yaml")


def test_the_command_takes_a_checkpoint(tmp_path, scale, capsys):
    written.save_unconditional(tmp_path / "ldm")
    assert main(["import", str(tmp_path / "ldm" / "model.ckpt"), "--store", scale.store, "--name", "celeba"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith('model="')


def test_classes_that_are_attended_to_come_in_with_their_embedding(tmp_path, scale, capsys):
    first_stage = disturb(FirstStage(codes=32))
    trained = disturb(UNet(attn=(0, 1), heads=1, context=12))
    table = random(4, 12, seed=3)
    written.save(
        tmp_path / "model.ckpt", written.of_latent_model(first_stage, trained, {"embedding.weight": table})
    )  # fmt: skip
    (tmp_path / "config.yaml").write_text(written.configuration(
        {"image_size": 8, "num_heads": 1}, {"embed_dim": 3, "ddconfig": {"resolution": 16, "ch_mult": [1, 2]}},
        {"target": "ldm.modules.encoders.modules.ClassEmbedder", "params": {"n_classes": 4, "embed_dim": 12}},
    ))  # fmt: skip
    artifact = imported(scale, tmp_path / "model.ckpt", makes="diffusion_model", class_names=("a", "b", "c"))
    assert "the last of the U-Net's class embeddings is taken for the one of no class" in capsys.readouterr().err
    model = DiffusionModel.load(artifact, "cpu")
    noisy, timesteps = random(2, 3, 8, 8), torch.tensor([7, 700])
    with torch.inference_mode():
        told = model.conditioner.network.embed({"class": torch.tensor([0, 2])})
        predicted = model.denoiser(noisy, timesteps, told)
        assert (predicted - trained(noisy, timesteps, table[[0, 2]][:, None])).abs().max() <= CLOSE
        nothing = model.denoiser(noisy, timesteps, model.conditioner.network.null(2))
        assert (nothing - trained(noisy, timesteps, table[[3, 3]][:, None])).abs().max() <= CLOSE


def test_a_conditioner_that_is_not_known_is_named(tmp_path, scale):
    written.save_unconditional(tmp_path / "ldm")
    weights = {name: value.clone() for name, value in read_weights(tmp_path / "ldm" / "model.ckpt", "").items()}
    weights["cond_stage_model.transformer.token_emb.weight"] = torch.zeros(3, 3)
    written.save(tmp_path / "ldm" / "model.ckpt", weights)
    with pytest.raises(DataError, match=r"got weights of a conditioner: transformer\.token_emb\.weight"):
        imported(scale, tmp_path / "ldm", makes="diffusion_model")
