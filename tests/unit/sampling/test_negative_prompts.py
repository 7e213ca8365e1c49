"""What guidance compares with is each row's own: in any batch, in each record, and when it is drawn again."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import asked
import numpy as np
import pytest
import tiny
import torch
from worded import Worded, WordedConditioner

from rayograph.conditioning.trained import conditioned
from rayograph.config import ImageFile, Marking
from rayograph.config.job.conditioners import CONDITIONERS, Ways
from rayograph.models.denoiser import build_denoiser
from rayograph.models.layout import CONDITIONER
from rayograph.models.model_folder import AUTOENCODER, DENOISER, SCHEDULE, save_model
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.sampling.marking.record import record_in
from rayograph.sampling.reproduce import draw_again, keep_origin
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.sampling.work_unit import Files, Origin, keep
from rayograph.sampling.work_unit import draw as draw_unit
from rayograph.shards.pixels.decode import render, to_png
from rayograph.shards.store import read_samples
from rayograph.storage import open_store

SPEC = ModelSpec(WordedConditioner(Worded(), None), side=8, multiple=4, num_train_timesteps=1000)
LIGHT, DARK = (to_png(np.full((4, 4, 3), shade, np.uint8)) for shade in (230, 20))
ROWS = [
    {"prompt": "a red cat", "image": "light.png", "count": 2, "seed": 1},
    {"prompt": "a red cat", "image": "light.png", "negative_prompt": "a blue dog", "seed": 1},
    {"prompt": "a bird", "image": "dark.png", "negative_prompt": "blur", "guidance_scale": 5.0},
    {"prompt": "a red cat", "image": "dark.png", "seed": 1},
    {"prompt": "a red cat", "image": "light.png", "negative_prompt": "a blue dog", "guidance_scale": 1.0, "seed": 1},
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    denoiser = build_denoiser(tiny.declared(), tiny.AUTOENCODER.latent_channels, tiny.LATENT_SIZE, Ways(vector=True))
    told = conditioned(denoiser.eval(), SPEC.conditioner)
    for weight in told.network.parameters():
        torch.nn.init.normal_(weight)
    return replace(tiny.model(0), denoiser=denoiser, conditioner=told)


@pytest.fixture
def plan(tmp_path):
    for name, data in (("light", LIGHT), ("dark", DARK)):
        (tmp_path / f"{name}.png").write_bytes(data)
    uri = asked.as_json_lines(tmp_path / "r.jsonl", ROWS)
    return asked.plan_of(tmp_path / "store", uri, unit_size=6, spec=SPEC, name="drawn")


def by_number(model, plan, size):
    found = {}
    for number in range(plan.total_units):
        draws = plan.draws(plan.unit(number))
        pixels = draw_unit(model, draws, size).astype(int)
        found |= dict(zip(draws.numbers.tolist(), pixels, strict=True))
    return [found[number] for number in range(plan.total_samples)]


def test_a_negative_prompt_acts_on_its_own_row_alone_whatever_is_in_its_batch(model, plan):
    together, alone = by_number(model, plan, 7), by_number(model, plan, 1)
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one - other).max() <= 1
    plain, _, negative, _, dark, unguided = together
    assert np.abs(plain - negative).max() > 3  # the same but for what it is compared with
    assert np.abs(plain - dark).max() > 3  # the same but for the image that was given
    assert np.abs(unguided - negative).max() > 3
    guided, rest = plan.draws(plan.unit(0)), plan.draws(plan.unit(1))
    assert (guided.numbers.tolist(), rest.numbers.tolist()) == ([0, 1, 2, 3, 4], [5])  # one batch, with and without
    assert guided.group.guided
    assert not rest.group.guided


def test_records_and_files_say_what_was_asked_for_and_it_is_drawn_again(model, plan, tmp_path, monkeypatch):
    monkeypatch.setitem(CONDITIONERS._known, "worded", Worded)
    trained = Artifact(open_store(str(tmp_path / "store")), "model")
    parts = {CONDITIONER: model.conditioner, DENOISER: model.denoiser, AUTOENCODER: model.autoencoder}
    for name, part in (parts | {SCHEDULE: model.schedule}).items():
        save_model(trained, name, part)
    digest = tiny.commit(trained).digest
    target = plan.artifact
    origin = Origin(target.path, plan.digest, digest, ("d" * 64,))
    keep_origin(target, origin, trained, ImageFile(), Marking())
    unit = plan.unit(0)
    draws = plan.draws(unit)
    with ThreadPoolExecutor(2) as pool:
        pixels = draw_unit(model, draws, 8)
        index = keep(target, unit, draws, pixels, origin, Files(ImageFile()), SPEC.conditioner, pool)
    (tmp_path / "light.png").unlink()
    samples = list(read_samples(target, unit.shard, index, range(len(index))))
    said = json.loads(samples[2].members["json"])
    assert (said["prompt"], said["negative_prompt"]) == ("a red cat", "a blue dog")
    assert said["image"] == f"sha256:{sha256(LIGHT)}"
    assert "negative_prompt" not in json.loads(samples[0].members["json"])
    assert record_in(samples[2].members["png"], "it") == said
    assert samples[2].members["given.png"] == LIGHT
    assert samples[3].members["txt"] == b"a bird"
    again, file, record = draw_again(target, 2, None)
    assert np.abs(again.astype(int) - render(samples[2].members["png"], "it")).max() <= 1
    assert record == record_in(file, "it") == said
