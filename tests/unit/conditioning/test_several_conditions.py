"""Several conditions at once: their columns side by side, each dropped by draws of its own, joined for the denoiser."""

import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from rayograph.conditioning.seen import Canvas, Seen
from rayograph.conditioning.settled import settled
from rayograph.conditioning.trained import conditioned, conditioner_of
from rayograph.config import Denoiser, TrainDiffusion
from rayograph.config.job.conditioners import ClassLabel
from rayograph.config.job.conditions.several import Several
from rayograph.config.job.conditions.spatial import LowResolution, MaskedImage, SemanticMap
from rayograph.errors import ConfigError
from rayograph.models.conditioning import Conditioning, together
from rayograph.models.denoiser import build_denoiser
from rayograph.models.specs import LatentShape, Ways
from rayograph.runs.philox import uniform
from rayograph.runs.rng_streams import RngStream
from rayograph.shards.sample import Sample
from rayograph.training.diffusion_learner import kept_conditions

UNET = Denoiser(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=8)
LATENTS = LatentShape(3, 8)
BOTH = Several(conditions=(ClassLabel(num_classes=3, drop_probability=0.5), SemanticMap(num_labels=4)))


def training(conditioner=None, **said):
    return TrainDiffusion(network=UNET, conditioner=conditioner, total_images=8, global_batch_size=8, **said)


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def sample(label=1):
    return Sample("a", {"cls": b"2", "map.png": png(np.full((8, 8), label, np.uint8))})


def network(declared):
    torch.manual_seed(0)
    conditioner = conditioner_of(declared, None)
    denoiser = build_denoiser(UNET, LATENTS.channels, LATENTS.side, conditioner.gives(LATENTS))
    return denoiser, conditioned(denoiser, conditioner).network


def test_members_columns_and_ways_stand_side_by_side():
    both = conditioner_of(BOTH, None)
    assert both.members == ("cls", "map.png")
    assert both.request_columns == {"class": pa.string(), "map": pa.binary()}
    assert both.gives(LATENTS) == Ways(vector=True, concat=4)
    found = both.decode_seen(sample(), Seen(8, 8))
    assert found["class"] == 2
    assert found["map"].shape == (8, 8)
    rows = both.validate(pa.table({"class": ["1"], "map": pa.array([png(np.zeros((8, 8), np.uint8))], pa.binary())}))
    assert rows.column_names == ["class", "map"]
    assert both.arrays_on(rows, Canvas(8, 8))["class"].tolist() == [1]


def test_columns_of_one_name_are_refused_in_one_line():
    images = Several(conditions=(LowResolution(), MaskedImage()))
    with pytest.raises(ConfigError, match=r"^conditions\.1: expected columns that no other reads, got 'image' again$"):
        conditioner_of(images, None)
    with pytest.raises(ConfigError, match=r"^t\.conditioner\.conditions\.0\.num_classes: expected 2"):
        settled("t", training(BOTH), [{"class_names": ["a", "b"]}])


def test_what_the_data_tells_of_one_is_filled_in_and_its_share_of_drops_stays():
    declared = training(Several(conditions=(ClassLabel(drop_probability=0.2), SemanticMap(num_labels=4))))
    found, conditioner = settled("t", declared, [{"class_names": ["a", "b"]}])
    assert found.conditioning.conditions[0] == ClassLabel(num_classes=2, drop_probability=0.2)
    assert conditioner.facts == {"class_names": ["a", "b"]}
    single, _ = settled("t", training(ClassLabel(drop_probability=0.2)), [{"class_names": ["a", "b"]}])
    assert single.conditioning.drop_probability == 0.2


def test_a_single_condition_is_dropped_by_the_draws_that_it_always_was():
    positions = torch.arange(1000)
    usual = uniform(7, RngStream.CONDITION_DROP, positions, 1)[:, 0] >= 0.1
    assert torch.equal(kept_conditions(7, positions, training(ClassLabel(num_classes=3)))[:, 0], usual)
    own = kept_conditions(7, positions, training(ClassLabel(num_classes=3, drop_probability=0.4)))
    assert torch.equal(own[:, 0], uniform(7, RngStream.CONDITION_DROP, positions, 1)[:, 0] >= 0.4)


def test_each_of_several_is_dropped_as_often_as_it_says_and_by_draws_of_its_own():
    positions = torch.arange(20_000)
    keep = kept_conditions(7, positions, training(BOTH, condition_drop_probability=0.25))
    assert keep.shape == (20_000, 2)
    assert keep.float().mean(dim=0).tolist() == pytest.approx([0.5, 0.75], abs=0.01)
    assert (keep[:, 0] & keep[:, 1]).float().mean().item() == pytest.approx(0.375, abs=0.01)
    later = kept_conditions(7, positions[5000:], training(BOTH, condition_drop_probability=0.25))
    assert torch.equal(keep[5000:], later)


def test_a_dropped_condition_is_its_own_null_beside_what_is_told():
    denoiser, both = network(BOTH)
    columns = {"class": torch.tensor([0, 1, 2, 0]), "map": torch.ones(4, 8, 8, dtype=torch.int16)}
    keep = torch.tensor([[True, True], [False, True], [True, False], [False, False]])
    told, whole, nothing = both.told(columns, keep), both.embed(columns), both.null(4)
    assert torch.equal(told.vector[[0, 2]], whole.vector[[0, 2]])
    assert torch.equal(told.vector[[1, 3]], nothing.vector[[1, 3]])
    assert torch.equal(told.concat[[0, 1]], whole.concat[[0, 1]])
    assert not told.concat[[2, 3]].any()
    assert denoiser(torch.randn(4, 3, 8, 8), torch.arange(4), told).shape == (4, 3, 8, 8)


def test_guidance_keeps_on_both_sides_what_no_training_drops():
    declared = Several(conditions=(ClassLabel(num_classes=3), SemanticMap(num_labels=4, drop_probability=0.0)))
    _, both = network(declared)
    columns = {"class": torch.tensor([0, 1]), "map": torch.ones(2, 8, 8, dtype=torch.int16)}
    against = both.unconditional(columns, 2)
    assert torch.equal(against.concat, both.embed(columns).concat)
    assert torch.equal(against.vector, both.null(2).vector)
    assert both.embed(columns).beside(against).concat.shape == (4, 4, 8, 8)


def test_vectors_add_up_and_tokens_masks_and_channels_follow_one_another():
    ones = torch.ones
    first = Conditioning(vector=ones(2, 4), cross_attention=ones(2, 3, 5), concat=ones(2, 1, 1, 1))
    mask = torch.tensor([[True, False]] * 2)
    second = Conditioning(vector=2 * ones(2, 4), cross_attention=ones(2, 2, 5), cross_attention_mask=mask)
    found = together([first, second, Conditioning(concat=ones(2, 2, 8, 8))])
    assert torch.equal(found.vector, 3 * ones(2, 4))
    assert found.cross_attention.shape == (2, 5, 5)
    assert found.cross_attention_mask.tolist() == [[True, True, True, True, False]] * 2
    assert found.concat.shape == (2, 3, 8, 8)
    assert together([Conditioning(), Conditioning()]).is_empty


def test_several_are_not_nested_and_drop_one_by_one():
    with pytest.raises(ValueError, match=r"conditions\.0: expected one condition, got several again"):
        Several(conditions=(BOTH,))
    with pytest.raises(ValueError, match="drop_probability: expected it of each of `conditions`"):
        Several(conditions=(ClassLabel(),), drop_probability=0.5)
