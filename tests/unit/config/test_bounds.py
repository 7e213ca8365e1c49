"""Bounds: no field of any declaration takes a number that is none, or one that nobody could mean."""

import math
from typing import Annotated, get_args, get_origin

import pytest
from pydantic import ValidationError

from rayograph import config
from rayograph.api.submission import Row, Submission
from rayograph.config import Denoiser, DiffusionLoss, FlowSchedule, NoiseSchedule, Sampler, Scale, TrainDiffusion
from rayograph.config.declaration import Declaration
from rayograph.config.job.filtering import Score
from rayograph.config.job.networks import Autoencoder, Discriminator
from rayograph.config.job.schedules import betas
from rayograph.config.reading.explain import explain
from rayograph.models.schedule import build_schedule

BOUNDS = ("ge", "gt", "le", "lt")


def declarations(kind=Declaration):
    """All that there are, of jobs, profiles and HTTP."""
    found = {config.Job, Scale, Row, Submission}
    for inner in kind.__subclasses__():
        found |= {inner} | declarations(inner)
    return found


def floats(annotation, metadata=()):
    """The bounds of every float within an annotation."""
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        yield from floats(inner, [*metadata, *(part for mark in marks for part in getattr(mark, "metadata", [mark]))])
    elif annotation is float:
        yield {name: getattr(part, name) for part in metadata for name in BOUNDS if hasattr(part, name)}
    else:
        for part in get_args(annotation):
            yield from floats(part, metadata)


FLOATS = [
    (kind, name, bounds)
    for kind in sorted(declarations(), key=lambda kind: kind.__name__)
    if kind.__module__.startswith("rayograph")
    for name, field in kind.model_fields.items()
    for bounds in floats(field.annotation, field.metadata)
]


def test_every_float_of_every_declaration_is_bounded_on_both_sides():
    assert len(FLOATS) > 40
    for kind, name, bounds in FLOATS:
        low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
        assert None not in (low, high), f"{kind.__name__}.{name}"
        lowest = -1e13 if kind is Score else -1e3  # a score is a figure of somebody else's, of any size
        assert lowest <= low < high <= 1e13, f"{kind.__name__}.{name}"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e300, -1e300, True, 10**30])
def test_no_float_of_any_declaration_takes_what_is_no_figure(value):
    for kind, name, _ in FLOATS:
        for given in (value, [value], [value, value], {"a": value}):
            with pytest.raises(ValidationError) as caught:
                kind.model_validate({name: given})
            assert name in str(explain(caught.value, kind, ""))


def refusal(declared, **fields):
    with pytest.raises(ValidationError) as caught:
        declared(**fields)
    return str(explain(caught.value, declared, ""))


@pytest.mark.parametrize(
    ("declared", "fields", "line"),
    [
        (Sampler, {"guidance_scale": 1e300}, "guidance_scale: expected a number from 0 to 1,000, got 1e+300"),
        (Sampler, {"guidance_scale": math.nan}, "guidance_scale: expected a number from 0"),
        (NoiseSchedule, {"beta_start": 0.02, "beta_end": 0.01}, "beta_start: expected at most beta_end 0.01, got 0.02"),
        (NoiseSchedule, {"beta_end": 0.5}, "beta_end: expected betas that leave 1e-30 of the latents' variance"),
        (NoiseSchedule, {"beta_start": 0}, "beta_start: expected a number from 1e-07 to below 1"),
        (NoiseSchedule, {"num_train_timesteps": 10**9}, "num_train_timesteps: expected a whole number above 0, up to"),
        (FlowSchedule, {"shift": 0.0}, "shift: expected a number from 0.01 to 100"),
        (DiffusionLoss, {"min_snr_gamma": math.inf}, "min_snr_gamma: expected a number from 0.01 to 10,000"),
        (Denoiser, {"num_classes": True}, "num_classes: expected no truth value, got True"),
        (Denoiser, {"num_classes": 10**30}, "num_classes: expected at most 64 bits, got a number of 100"),
        (Denoiser, {"block_out_channels": (10**30,)}, "block_out_channels: expected at most 64 bits"),
        (
            Denoiser,
            {"block_out_channels": (32, 48), "norm_num_groups": 32},
            "norm_num_groups: expected a divisor of every one of (32, 48), got 32",
        ),
        (
            Denoiser,
            {"block_out_channels": (32, 64), "attention_levels": (0,), "attention_head_dim": 48},
            "attention_head_dim: expected a divisor of 32, the channels of a level that attends, got 48",
        ),
        (
            Denoiser,
            {"block_out_channels": (32, 64), "attention_head_dim": 48},
            "attention_head_dim: expected a divisor of 64",
        ),
        (Denoiser, {"attention_levels": (1, 1)}, "attention_levels: expected each once, got (1, 1)"),
        (Denoiser, {"block_out_channels": ()}, "block_out_channels: "),
        (
            Autoencoder,
            {"block_out_channels": (8, 12), "norm_num_groups": 8},
            "norm_num_groups: expected a divisor of every one of (8, 12), got 8",
        ),
        (Discriminator, {"base_channels": 5}, "base_channels: expected layers of less than 8 channels or a multiple"),
    ],
)
def test_what_cannot_be_is_one_line_of_the_field_what_was_expected_and_what_came(declared, fields, line):
    said = refusal(declared, **fields)
    assert line in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"num_train_timesteps": 1},
        {"num_train_timesteps": 4000, "beta_end": 0.005},
        {"beta_start": 0.01, "beta_end": 0.01},
    ],
)
def test_schedules_that_are_in_use_pass_and_are_judged_by_the_betas_that_are_used(fields):
    declared = NoiseSchedule(**fields)
    ours = betas(declared.beta_schedule, declared.beta_start, declared.beta_end, declared.num_train_timesteps)
    assert build_schedule(declared).betas.tolist() == pytest.approx(ours, rel=1e-4)


def test_a_head_may_be_any_width_where_nothing_attends():
    Denoiser(block_out_channels=(32, 64), mid_block_attention=False, attention_head_dim=48)


def training(**more):
    return TrainDiffusion(total_images=64, global_batch_size=8, network=Denoiser(), **more)


def test_a_cosine_ends_at_its_minimum_which_is_none_of_a_constant_and_none_above_the_peak():
    said = {"total_images": 64, "global_batch_size": 8, "learning_rate": 1e-4, "network": Denoiser()}
    assert training(learning_rate_schedule="cosine", learning_rate_minimum=1e-6).learning_rate_minimum == 1e-6
    assert "learning_rate_minimum: expected none with a constant schedule" in refusal(
        TrainDiffusion, learning_rate_minimum=1e-6, **said
    )
    assert "learning_rate_minimum: expected at most learning_rate 0.0001, got 0.1" in refusal(
        TrainDiffusion, learning_rate_minimum=0.1, learning_rate_schedule="cosine", **said
    )


def test_a_schedule_that_is_a_word_is_refused_by_its_kinds():
    recipe = {"network": Denoiser(), "total_images": 8, "global_batch_size": 8, "noise_schedule": "cosine"}
    said = "noise_schedule.kind: expected one of 'diffusion', 'flow', got 'str'"
    assert refusal(TrainDiffusion, **recipe) == said


@pytest.mark.parametrize("value", [math.inf, 1.0, -0.1])
def test_bounds_that_all_parts_of_a_field_share_are_told_once(value):
    recipe = {"network": Denoiser(), "total_images": 8, "global_batch_size": 8, "betas": (0.9, value)}
    assert refusal(TrainDiffusion, **recipe) == f"betas.1: expected a number from 0 to below 1, got {value}"


def test_betas_of_any_order_that_float32_can_hold_are_a_schedule():
    assert NoiseSchedule(beta_start=0.03, beta_end=0.04).beta_end == 0.04
