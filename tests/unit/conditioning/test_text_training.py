"""A model of captions: trained in-process, kept as a folder, asked by prompts."""

import captioned
import numpy as np
import pyarrow as pa
import pytest
import tiny
import torch
from captioned import SMALL

from rayograph.conditioning.trained import conditioned, load_conditioner
from rayograph.config import ConditionDenoiser, DiffusionLoss, NoiseSchedule, Sampler
from rayograph.losses.diffusion_loss import ForwardProcess
from rayograph.models.denoiser import build_denoiser
from rayograph.models.layout import CONDITIONER
from rayograph.models.model_folder import AUTOENCODER, DENOISER, SCHEDULE, save_model
from rayograph.models.schedule import build_schedule, noise_levels, prediction_type
from rayograph.models.specs import LatentShape
from rayograph.runs.artifact import Artifact
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.storage import open_store
from rayograph.training.diffusion_learner import DenoisingPass

LATENTS = LatentShape(2, tiny.LATENT_SIZE, 2)
SHADES = {
    "a red apple": (-1.0, -1.0),
    "a red pear": (-1.0, 1.0),
    "a blue apple": (1.0, -1.0),
    "a blue pear": (1.0, 1.0),
}
DENOISER_SIZE = ConditionDenoiser(
    block_out_channels=(16, 16),
    layers_per_block=1,
    attention_levels=(0, 1),
    num_attention_heads=2,
    cross_attention_dim=16,
    norm_num_groups=4,
)


def networks(folder, **said):
    told = captioned.settled(folder, list(SHADES), **said)
    torch.manual_seed(0)
    denoiser = build_denoiser(DENOISER_SIZE, LATENTS.channels, LATENTS.side, told.gives(LATENTS))
    return denoiser, conditioned(denoiser, told)


def tokens(trained, texts):
    return {"prompt": torch.from_numpy(trained.conditioner.arrays(pa.table({"prompt": texts}))["prompt"])}


def kept(artifact, model):
    for name, part in (
        (AUTOENCODER, model.autoencoder), (DENOISER, model.denoiser), (SCHEDULE, model.schedule),
        (CONDITIONER, model.conditioner),
    ):  # fmt: skip
        save_model(artifact, name, part)
    tiny.commit(artifact)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A model of four captions, of which three words tell what is drawn; trained for some seconds."""
    denoiser, trained = networks(tmp_path_factory.mktemp("known"))
    schedule = build_schedule(NoiseSchedule(prediction_type="v_prediction"))
    denoising = DenoisingPass(
        denoiser, trained.network, ForwardProcess(*noise_levels(schedule), prediction_type(schedule)), DiffusionLoss()
    )
    optimiser = torch.optim.Adam(denoising.parameters(), lr=3e-3)
    draws = torch.Generator().manual_seed(0)
    columns = tokens(trained, list(SHADES))["prompt"]
    shades = torch.tensor(list(SHADES.values()))
    for _ in range(150):
        which = torch.randint(4, (16,), generator=draws)
        latents = shades[which][:, :, None, None].expand(-1, -1, 4, 4).contiguous()
        noise = torch.randn(latents.shape, generator=draws)
        times = torch.randint(1000, (16,), generator=draws)
        keep = torch.rand(16, 1, generator=draws) > 0.1
        loss, _ = denoising(latents, noise, times, {"prompt": columns[which]}, keep)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    first_stage = tiny.autoencoder()
    tiny.SCALE.keep_in(first_stage)
    denoiser.eval(), trained.network.eval()
    model = DiffusionModel(denoiser, trained, first_stage, schedule, tiny.SCALE, torch.device("cpu"))
    return denoising.eval(), model


def test_a_right_caption_tells_more_than_a_wrong_one_or_none(learned):
    denoising, model = learned
    names = list(SHADES)
    latents = torch.tensor(list(SHADES.values()))[:, :, None, None].expand(-1, -1, 4, 4).repeat(16, 1, 1, 1)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(7))
    times = torch.full((64,), 700)

    def loss(texts, keep=True):
        columns = tokens(model.conditioner, texts * 16)
        with torch.no_grad():
            return float(denoising(latents, noise, times, columns, torch.full((64, 1), keep))[0])

    right, shuffled, nothing = loss(names), loss(names[1:] + names[:1]), loss(names, keep=False)
    assert right < 0.5 * nothing < 0.5 * shuffled


def test_prompts_draw_what_they_say_and_a_negative_prompt_leads_away(learned, monkeypatch):
    _, model = learned
    raw = {}
    sampler = Sampler(scheduler="ddim", num_inference_steps=10, guidance_scale=2.0)
    for text, shade in SHADES.items():
        found = latents_of(model, monkeypatch, tokens(model.conditioner, [text] * 8), sampler)
        raw[text] = found.mean(dim=(0, 2, 3)).tolist()
        assert np.allclose(np.sign(raw[text]), shade), raw
    columns = tokens(model.conditioner, ["a blue apple"] * 8)
    columns["negative_prompt"] = tokens(model.conditioner, ["a red apple"] * 8)["prompt"]
    away = latents_of(model, monkeypatch, columns, sampler)
    assert away[:, 0].mean() > raw["a blue apple"][0]


def latents_of(model, monkeypatch, columns, sampler):
    """What is decoded in the end, as it is."""
    seen, decode = [], model.autoencoder.decode
    with monkeypatch.context() as patched:
        patched.setattr(model.autoencoder, "decode", lambda raw: seen.append(raw) or decode(raw))
        model.draw(0, torch.arange(8), columns, sampler)
    return tiny.SCALE.normalise(seen[-1])


def test_a_model_folder_draws_the_same_and_checks_prompts_by_its_own_tokenizer(learned, tmp_path):
    _, model = learned
    artifact = Artifact(open_store(str(tmp_path)), "m")
    kept(artifact, model)
    again = DiffusionModel.load(artifact, "cpu")
    sampler, numbers = Sampler(num_inference_steps=4), torch.arange(4)
    columns = tokens(model.conditioner, list(SHADES))
    first, _ = model.draw(0, numbers, columns, sampler)
    second, _ = again.draw(0, numbers, again.examples(numbers), sampler)  # examples are the captions, in turn
    assert torch.equal(first, second)
    spec = ModelSpec.of(artifact, artifact.committed())
    assert spec.conditioner.takes == "prompts"
    assert spec.conditioner.validate(pa.table({"prompt": ["a red pear"]})).num_rows == 1
    assert len(load_conditioner(artifact, again.denoiser).network.state_dict()) == len(
        model.conditioner.network.state_dict()
    )


def test_one_prompt_of_a_batch_is_drawn_as_alone(learned):
    _, model = learned
    sampler, numbers = Sampler(num_inference_steps=4, guidance_scale=3.0), torch.arange(3)
    together, _ = model.draw(0, numbers, tokens(model.conditioner, ["a red apple", "", "a blue pear"]), sampler)
    alone, _ = model.draw(0, numbers[2:], tokens(model.conditioner, ["a blue pear"]), sampler)
    assert (together[2].int() - alone[0].int()).abs().max() <= 1
    assert SMALL["width"] == DENOISER_SIZE.cross_attention_dim
