"""Guidance, and an option of the sampler that is named where it is declared and where it acts, and nowhere else."""

from pathlib import Path

import pytest
import tiny
import torch
from asked import SPEC, as_json_lines, plan_of

import rayograph
from rayograph.config import Sample, Sampler
from rayograph.runs.artifact import Artifact
from rayograph.sampling.requests.planner import plan_request
from rayograph.storage import open_store

NUMBERS, STEPS = torch.arange(3), 4


@pytest.fixture(scope="module")
def model():
    return tiny.model()


def predicted(model, scale, rescale):
    latents, timestep = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor(500)
    network = model.conditioner.network
    conditioning = network.embed({"class": NUMBERS}).beside(network.null(3))
    with torch.inference_mode():
        return model._predicted(latents, timestep, conditioning, scale, rescale)


def test_a_rescaled_prediction_spreads_as_the_conditional_one_and_points_as_the_guided_one_does(model):
    conditional, guided, rescaled = (predicted(model, *given) for given in ((1.0, 0.0), (9.0, 0.0), (9.0, 1.0)))
    assert not torch.allclose(guided.std(dim=(1, 2, 3)), conditional.std(dim=(1, 2, 3)), rtol=1e-2)
    torch.testing.assert_close(rescaled.std(dim=(1, 2, 3)), conditional.std(dim=(1, 2, 3)))
    factors = (rescaled / guided).flatten(1)
    torch.testing.assert_close(factors, factors.mean(dim=1, keepdim=True).expand_as(factors), rtol=1e-3, atol=1e-4)
    half = predicted(model, 9.0, torch.tensor([0.0, 0.5, 1.0])[:, None, None, None])
    torch.testing.assert_close(half[0], guided[0])
    torch.testing.assert_close(half[1], (guided[1] + rescaled[1]) / 2)
    torch.testing.assert_close(half[2], rescaled[2])


def test_a_rows_own_rescale_is_drawn_and_recorded_as_it_would_be_for_all(model, tmp_path):
    rows = [{"class": 0, "guidance_rescale": 0.7}, {"class": 1, "guidance_rescale": 0.0}, {"class": 2}]
    plan = plan_of(tmp_path / "store", as_json_lines(tmp_path / "r.jsonl", rows))
    (draws,) = (plan.draws(plan.unit(number)) for number in range(plan.total_units))
    assert [draws.record(row)["guidance_rescale"] for row in range(3)] == [0.7, 0.0, 0.0]
    pixels = model.draw_rows(draws).int()
    for rescale, rows_of_it in ((0.7, [0]), (0.0, [1, 2])):
        sampler = Sampler(scheduler="ddim", num_inference_steps=STEPS, guidance_scale=2.0, guidance_rescale=rescale)
        whole, _ = model.draw(5, NUMBERS, {"class": NUMBERS}, sampler)
        assert (whole.int() - pixels)[rows_of_it].abs().max() <= 1


@pytest.mark.parametrize("counted", [True, False])
def test_a_jobs_own_rescale_is_every_samples(model, tmp_path, counted):
    sampler = Sampler(scheduler="ddim", num_inference_steps=STEPS, guidance_scale=5.0, guidance_rescale=0.7)
    request = {"uri": as_json_lines(tmp_path / "r.jsonl", [{"class": 0}, {"class": 1}, {"class": 2}])}
    given = {"num_samples": 3} if counted else {"request": request}
    declared = Sample.model_validate({"sampler": sampler.model_dump(), **given})
    plan = plan_request(Artifact(open_store(str(tmp_path / "store")), "a"), declared, 5, SPEC, None)
    draws = plan.draws(plan.unit(0))
    assert [draws.record(row)["guidance_rescale"] for row in range(3)] == [0.7] * 3
    whole, _ = model.draw(5, NUMBERS, {"class": NUMBERS}, sampler)
    assert (whole.int() - model.draw_rows(draws).int()).abs().max() <= 1


def test_plans_and_records_do_not_speak_of_an_option_that_nobody_says(tmp_path):
    plan = plan_of(tmp_path / "store", as_json_lines(tmp_path / "r.jsonl", [{"class": 0}]))
    assert b"guidance_rescale" not in plan.text
    assert "guidance_rescale" not in plan.draws(plan.unit(0)).record(0)


def test_an_option_is_named_by_its_declaration_and_where_it_acts_alone():
    package = Path(rayograph.__file__).parent
    naming = {
        str(path.relative_to(package)) for path in package.rglob("*.py") if "guidance_rescale" in path.read_text()
    }
    assert naming == {"config/job/schedules.py", "sampling/pipeline.py"}
