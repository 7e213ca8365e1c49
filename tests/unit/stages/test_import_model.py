"""Models that diffusers saved: what of a folder is taken, what is refused, and what the artifact is called."""

import json
import shutil
from pathlib import Path

import foreign
import numpy as np
import old_store
import pytest
import tiny
import torch

from rayograph.cli import main
from rayograph.commands.model_export import Wanted, export
from rayograph.commands.model_import import import_folder
from rayograph.commands.verification import verify
from rayograph.config import (
    Denoiser,
    DiT,
    Encode,
    Identity,
    ImportModel,
    Job,
    NoiseSchedule,
    Pack,
    Sampler,
    Scale,
    SklearnDigits,
    TrainDiffusion,
)
from rayograph.config.stage_base import ArtifactType
from rayograph.errors import CheckpointError, ConfigError, DataError
from rayograph.models.autoencoder import build_autoencoder, reconstruct
from rayograph.models.denoiser import build_denoiser
from rayograph.models.layout import CONDITIONER
from rayograph.models.model_folder import AUTOENCODER, DENOISER, SCHEDULE, load_autoencoder, save_model
from rayograph.models.schedule import build_schedule
from rayograph.pipeline.preflight import check
from rayograph.pipeline.resolve import resolve
from rayograph.pipeline.runner import run_stage
from rayograph.runs.artifact import Artifact
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.storage import open_store

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def scale(tmp_path):
    return Scale(store=str(tmp_path / "store"))


def resolved(scale, folder, **options):
    declared = ImportModel(uri=str(folder), **options)
    return resolve(Job(name="taken", stages={"import_model": declared}), scale, open_store(scale.store))["import_model"]


def imported(scale, folder, **options):
    stage = resolved(scale, folder, **options)
    run_stage(stage)
    return stage.artifact


@pytest.mark.parametrize("kind", foreign.KINDS)
def test_an_autoencoder_comes_in_and_gives_what_diffusers_gives(tmp_path, scale, kind):
    folder = foreign.save_autoencoder(tmp_path / "vae", kind)
    artifact = imported(scale, folder, image_size=16)
    manifest = artifact.committed()
    assert manifest.type is ArtifactType.AUTOENCODER
    assert {file.path for file in manifest.files} == {"model/vae/config.json", f"model/vae/{WEIGHTS}"}
    assert artifact.read(f"model/vae/{WEIGHTS}") == (folder / WEIGHTS).read_bytes()
    network = load_autoencoder(artifact)
    assert (network.spec.factor, network.spec.latent_channels) == (foreign.FACTOR, 2)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    theirs = foreign.autoencoder(kind).eval()
    with torch.inference_mode():
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        encoded = theirs.encode(images)
        latents = {
            "VQModel": lambda: encoded.latents,
            "AutoencoderDC": lambda: encoded.latent,
        }.get(kind, lambda: encoded.latent_dist.mean)()
        decoded = theirs.decode(latents).sample
        assert torch.allclose(network.encode(images).chunk(2, dim=1)[0], latents, atol=1e-6)
    expected = ((decoded.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(reconstruct(network, pixels) - expected).max() <= 1
    assert len(list(verify(open_store(scale.store)))) == 1


@pytest.mark.parametrize("kind", ["AutoencoderKL", "VQModel"])
def test_a_pipeline_comes_in_whole_and_draws(tmp_path, scale, kind, capsys):
    folder = foreign.save_pipeline(tmp_path / "ldm", kind)
    artifact = imported(scale, folder, makes="diffusion_model", class_names=("a", "b", "c"))
    assert "warning: import_model: the last of the U-Net's class embeddings is taken for" in capsys.readouterr().err
    manifest = artifact.committed()
    assert manifest.type is ArtifactType.DIFFUSION_MODEL
    assert manifest.facts["class_names"] == ["a", "b", "c"]
    model = DiffusionModel.load(artifact, "cpu")
    assert model.normalisation.mean == ((0.25, 0.25) if kind == "AutoencoderKL" else (0.0, 0.0))
    assert model.normalisation.std == (2.0, 2.0)
    assert model.schedule.config.prediction_type == "v_prediction"
    assert model.schedule.config.beta_end == 0.0195
    drawn, _ = model.draw(
        0, torch.arange(2), {"class": torch.tensor([0, 2])}, Sampler(num_inference_steps=2, guidance_scale=1.5)
    )
    assert drawn.shape == (2, 16, 16, 3)


def test_of_a_pipeline_the_autoencoder_alone_may_be_taken(tmp_path, scale):
    artifact = imported(scale, foreign.save_pipeline(tmp_path / "ldm"))
    assert artifact.committed().type is ArtifactType.AUTOENCODER
    assert load_autoencoder(artifact).spec.latents_mean is None  # the encoded data tells


def test_a_folder_of_another_place_has_the_same_key_and_a_changed_one_another(tmp_path, scale):
    folder = foreign.save_autoencoder(tmp_path / "vae", "AutoencoderKL")
    before = resolved(scale, folder)
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    assert resolved(scale, moved).key == before.key
    (moved / "README.md").write_text("nothing of the model")
    assert resolved(scale, moved).key == before.key
    data = bytearray((moved / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (moved / WEIGHTS).write_bytes(data)
    assert resolved(scale, moved).key != before.key


def test_a_declared_digest_gives_the_key_without_the_folder_and_refuses_another(tmp_path, scale):
    folder = foreign.save_autoencoder(tmp_path / "vae", "AutoencoderKL")
    artifact = imported(scale, folder)
    digest = artifact.committed().facts["source"]
    assert resolved(scale, tmp_path / "gone", sha256=digest).artifact.path == artifact.path
    stage = resolved(scale, folder, sha256="0" * 64)
    with pytest.raises(DataError, match=f"expected files of sha256 {'0' * 64}, got {digest}"):
        run_stage(stage)
    assert stage.artifact.manifest() is None


def test_a_folder_that_changes_after_its_key_is_known_is_refused(tmp_path, scale):
    folder = foreign.save_autoencoder(tmp_path / "vae", "AutoencoderKL")
    stage = resolved(scale, folder)
    foreign.autoencoder("VQModel").save_pretrained(folder)
    with pytest.raises(DataError, match="expected files of sha256"):
        run_stage(stage)
    assert stage.artifact.manifest() is None


def test_weights_in_shards_and_of_one_variant_come_in(tmp_path, scale):
    sharded = foreign.save_autoencoder(tmp_path / "sharded", "AutoencoderKL", max_shard_size="30KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    load_autoencoder(imported(scale, sharded))
    variant = foreign.save_autoencoder(tmp_path / "variant", "AutoencoderKL", variant="fp16")
    artifact = imported(scale, variant)
    assert f"model/vae/{WEIGHTS}" in artifact.names()
    load_autoencoder(artifact)


def test_a_place_that_a_model_was_loaded_from_is_not_kept(tmp_path, scale):
    folder = foreign.save_autoencoder(tmp_path / "vae", "AutoencoderKL")
    config = json.loads((folder / "config.json").read_text()) | {"_name_or_path": "/home/somebody/model"}
    (folder / "config.json").write_text(json.dumps(config))
    assert b"somebody" not in imported(scale, folder).read("model/vae/config.json")


def pickled(folder):
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")


def cut_off(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def of_another_class(folder):
    config = json.loads((folder / "config.json").read_text()) | {"_class_name": "AutoencoderTiny"}
    (folder / "config.json").write_text(json.dumps(config))


def of_one_channel(folder):
    from diffusers import AutoencoderKL

    AutoencoderKL(in_channels=1, out_channels=1, block_out_channels=(8,), norm_num_groups=4).save_pretrained(folder)


def without_weights(folder):
    (folder / WEIGHTS).unlink()


def without_config(folder):
    (folder / "config.json").unlink()


def no_json(folder):
    (folder / "config.json").write_bytes(b"\xff{")


SPOILT = {
    pickled: "expected weights as safetensors, got diffusion_pytorch_model.bin: a pickle may run a program",
    cut_off: "expected a whole AutoencoderKL",
    of_another_class: "got one of 'AutoencoderTiny'",
    of_one_channel: "expected an autoencoder of 3 image channels, got 1",
    without_weights: "found no weights",
    without_config: "expected an autoencoder's config.json, or a pipeline's vae",
    no_json: "expected a configuration",
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_what_is_no_whole_model_is_refused_in_one_line_that_names_its_folder(tmp_path, scale, spoil):
    folder = foreign.save_autoencoder(tmp_path / "vae", "AutoencoderKL")
    spoil(folder)
    with pytest.raises((DataError, CheckpointError)) as caught:
        imported(scale, folder)
    assert SPOILT[spoil] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert not list(open_store(scale.store).list()) or not any(
        info.key.endswith("manifest.json") for info in open_store(scale.store).list()
    )


def test_a_pipeline_of_another_kind_is_refused(tmp_path, scale):
    folder = foreign.save_pipeline(tmp_path / "ldm")
    shutil.rmtree(folder / "unet")
    with pytest.raises(DataError, match="expected a pipeline with vae, unet and scheduler, found"):
        imported(scale, folder, makes="diffusion_model")
    with pytest.raises(
        CheckpointError, match="expected a denoiser of the autoencoder's 2 latent channels, got one of 3"
    ):
        imported(scale, foreign.save_pipeline(tmp_path / "other", latent_channels=3), makes="diffusion_model")
    with pytest.raises(ConfigError, match=r"import_model\.class_names: expected 3, as the model has, got 2"):
        imported(scale, foreign.save_pipeline(tmp_path / "names"), makes="diffusion_model", class_names=("a", "b"))


def test_a_denoiser_that_reads_text_is_refused_with_what_can_be_taken(tmp_path, scale):
    folder = foreign.save_pipeline(tmp_path / "text")
    config = json.loads((folder / "unet" / "config.json").read_text()) | {"_class_name": "UNet2DConditionModel"}
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="expected a UNet2DModel, got 'UNet2DConditionModel': 'autoencoder' takes"):
        imported(scale, folder, makes="diffusion_model")
    assert imported(scale, folder).committed().type is ArtifactType.AUTOENCODER


def test_a_model_that_is_not_in_diffusers_form_comes_in_too(tmp_path, scale):
    declared = DiT(num_layers=1, num_attention_heads=2, attention_head_dim=8)
    place = Artifact(open_store(str(tmp_path / "made")), "")
    denoiser = build_denoiser(declared, 3, 8)
    for name, part in {
        AUTOENCODER: build_autoencoder(Identity()),
        DENOISER: denoiser,
        SCHEDULE: build_schedule(NoiseSchedule()),
        CONDITIONER: tiny.conditioner(denoiser, 3),
    }.items():
        save_model(place, name, part)
    folder = tmp_path / "made" / "model"
    artifact = imported(scale, folder, makes="diffusion_model", image_size=8)
    assert artifact.committed().facts["class_names"] == ["0", "1", "2"]
    model = DiffusionModel.load(artifact, "cpu")
    assert torch.equal(
        model.denoiser.state_dict()["embed_patches.weight"], denoiser.state_dict()["embed_patches.weight"]
    )
    drawn, _ = model.draw(0, torch.arange(2), {"class": torch.tensor([0, 2])}, Sampler(num_inference_steps=2))
    assert drawn.shape == (2, 8, 8, 3)


@pytest.mark.parametrize(("size", "levels", "line"), [
    (16, 3, None),  # a grid of 8, halved twice
    (16, 5, "train_diffusion.network.block_out_channels: 5 levels need a latent grid divisible by 16, got 8"),
    (None, 5, None),  # the autoencoder's own 32: a grid of 16
    (17, 1, "encode.image_size: f = 2 needs an image size divisible by it, got 17"),
])  # fmt: skip
def test_a_denoiser_is_checked_on_the_grid_that_is_encoded_and_not_the_autoencoders_own(tmp_path, size, levels, line):
    foreign.autoencoder("AutoencoderKL", sample_size=32).save_pretrained(tmp_path / "vae")
    stages = {
        "pack": Pack(source=SklearnDigits(), image_size=32),
        "vae": ImportModel(uri=str(tmp_path / "vae")),
        "encode": Encode(autoencoder="vae", image_size=size),
        "train_diffusion": TrainDiffusion(
            autoencoder="vae", network=Denoiser(block_out_channels=(32,) * levels), total_images=8, global_batch_size=8
        ),
    }
    job = Job(name="grids", stages=stages)
    if line is None:
        check(job, Scale(), list(stages))
        return
    with pytest.raises(ConfigError) as caught:
        check(job, Scale(), list(stages))
    assert line in str(caught.value)


def test_an_autoencoder_that_says_no_size_needs_one(tmp_path, scale):
    folder = foreign.save_autoencoder(tmp_path / "vae", "AutoencoderDC")
    with pytest.raises(ConfigError, match=r"import_model\.image_size: expected a size"):
        imported(scale, folder)


def test_a_size_that_its_factor_does_not_divide_is_refused(tmp_path, scale):
    folder = foreign.save_autoencoder(tmp_path / "vae", "AutoencoderKL")
    with pytest.raises(
        ConfigError, match=r"import_model\.image_size: f = 2 needs an image size divisible by it, got 17"
    ):
        imported(scale, folder, image_size=17)


def test_what_was_exported_here_comes_in_again_and_draws_the_same(tmp_path, scale, capsys):
    trained = Artifact(open_store(str(old_store.unpack(tmp_path))), old_store.place("train_diffusion"))
    list(export(trained.uri, str(tmp_path / "model"), None, Wanted()))
    uri, _ = import_folder(str(tmp_path / "model"), scale)
    assert "warning" not in capsys.readouterr().err
    artifact = Artifact(open_store(uri), "")
    assert artifact.committed().type is ArtifactType.DIFFUSION_MODEL
    sampler = Sampler(num_inference_steps=2, guidance_scale=1.5)
    one, other = (
        DiffusionModel.load(place, "cpu").draw(3, torch.arange(3), {"class": torch.arange(3)}, sampler)[0]
        for place in (trained, artifact)
    )
    assert torch.equal(one, other)


def test_the_command_imports_once_and_prints_what_a_job_says(tmp_path, scale, capsys):
    folder = foreign.save_pipeline(tmp_path / "My LDM")
    for again in (False, True):
        assert main(["import", str(folder), "--store", scale.store]) == 0
        out, err = capsys.readouterr()
        uri, said = out.splitlines()
        assert uri.startswith(f"{scale.store}/my-ldm/import_model/")
        assert said == f'model="{uri}"'
        assert ("committed before" in err) == again
    assert Artifact(open_store(uri), "").committed().type is ArtifactType.DIFFUSION_MODEL
    assert main(["import", str(folder), "--store", scale.store, "--name", "vae", "--makes", "autoencoder"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith('autoencoder="')
    assert main(["import", str(tmp_path), "--store", scale.store]) == 2
    assert "expected an autoencoder's config.json" in capsys.readouterr().err


def test_a_folder_is_imported_from_a_bucket(tmp_path, moto_s3):
    folder = foreign.save_autoencoder(tmp_path / "vae", "VQModel")
    source = open_store(f"{moto_s3.new_bucket()}/vae", moto_s3.endpoint_url)
    for path in folder.iterdir():
        source.put(path.name, path.read_bytes())
    scale = Scale(store=f"{moto_s3.new_bucket()}/store", endpoint_url=moto_s3.endpoint_url)
    uri, _ = import_folder(source.uri, scale)
    load_autoencoder(Artifact(open_store(uri, moto_s3.endpoint_url), ""))
