"""Maps, small images and holes: what is read of a sample as it is seen, what is refused of a request, what is told."""

import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from rayograph.conditioning.member_columns import WrongRow
from rayograph.conditioning.seen import Canvas, Seen
from rayograph.conditioning.spatial.degradation import made_smaller
from rayograph.conditioning.spatial.low_resolution import LowResolutionConditioner
from rayograph.conditioning.spatial.masked_image import MaskedImageConditioner
from rayograph.conditioning.spatial.random_masks import random_mask
from rayograph.conditioning.spatial.semantic_map import SemanticMapConditioner
from rayograph.config import View
from rayograph.config.job.conditions.spatial import LowResolution, MaskedImage, SemanticMap
from rayograph.errors import DataError
from rayograph.ingest.decoders import Images, Moments
from rayograph.models.specs import DenoiserSpec, LatentShape
from rayograph.shards.pixels.frames import Frame
from rayograph.shards.sample import Sample

SPEC = DenoiserSpec(3, 8)
SIDE = 16


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def table(**columns):
    return pa.table({name: pa.array(values, pa.binary()) for name, values in columns.items()})


def marked(height=20, width=32):
    """A picture whose red says its column and whose map says it too, a label for every eight pixels."""
    columns = np.arange(width)[None].repeat(height, 0)
    picture = np.stack([columns * 8, np.zeros_like(columns), np.zeros_like(columns)], axis=2).astype(np.uint8)
    return Sample("a", {"png": png(picture), "map.png": png((columns // 8).astype(np.uint8))})


@pytest.mark.parametrize("seed", range(4))
def test_a_map_is_cropped_and_turned_with_its_image(seed):
    told = SemanticMapConditioner(SemanticMap(num_labels=4), None)
    view = View(image_size=SIDE, crop="random", smallest_crop=0.6, flip_probability=0.5)
    row = Images(SIDE, view, seed, told).decoder(np.arange(3))(2, marked())
    by_colour = np.rint(row["pixels"][..., 0] / 8 - 0.49).clip(0, 31) // 8
    assert row["map"].shape == (SIDE, SIDE)
    assert np.mean(row["map"] == by_colour) > 0.9  # but at the edges between two


def test_a_map_of_another_size_is_cropped_at_the_same_places_and_one_of_another_shape_is_refused():
    told = SemanticMapConditioner(SemanticMap(num_labels=4), None)
    seen = Seen(16, 16, source=(100, 60), frame=Frame(20, 0, 60, 60, (16, 16)))
    halves = (np.arange(50)[None].repeat(30, 0) >= 25).astype(np.uint8)
    found = told.decode_seen(Sample("a", {"map.png": png(halves)}), seen)["map"]
    assert found.mean(axis=0).tolist() == [0.0] * 8 + [1.0] * 8
    with pytest.raises(DataError, match=r"^a: expected a map of the image's shape, 100×60, got 30×30$"):
        told.decode_seen(Sample("a", {"map.png": png(np.zeros((30, 30), np.uint8))}), seen)


def test_a_map_beside_latents_is_of_their_middle_square_at_as_many_halvings_as_declared():
    told = SemanticMapConditioner(SemanticMap(num_labels=4, halvings=1, channels=2), None)
    moments = io.BytesIO()
    np.save(moments, np.zeros((6, 8, 8), np.float32))
    sample = Sample("a", {"npy": moments.getvalue(), "map.png": marked().members["map.png"]})
    content = Moments((6, 8, 8), told, factor=2)
    assert content.columns([]) is None
    found = content.decoder(np.arange(1))(0, sample)["map"]
    assert found.shape == (16, 16)
    assert sorted(set(found.ravel().tolist())) == [0, 1, 2, 3]  # columns 6 to 25


def test_the_papers_rescaler_halves_twice_and_projects_with_546_weights():
    declared = SemanticMap(num_labels=182, halvings=2, channels=3)
    told = SemanticMapConditioner(declared, None)
    network = told.network(SPEC)
    assert sum(weight.numel() for weight in network.parameters()) == 546
    labels = torch.zeros(1, 32, 32, dtype=torch.int16)
    labels[:, :, 2:4] = 5  # half of the second column of cells
    found = network.embed({"map": labels}).concat
    weight = network.projection.weight[:, :, 0, 0]
    assert found.shape == (1, 3, 8, 8)
    assert torch.allclose(found[0, :, 0, 0], (weight[:, 0] + weight[:, 5]) / 2)
    assert torch.allclose(found[0, :, 0, 1], weight[:, 0])
    assert told.gives(LatentShape(3, 8)).concat == 3


def test_one_hot_channels_are_one_a_label_and_none_for_the_void():
    told = SemanticMapConditioner(SemanticMap(num_labels=3, void_label=255), None)
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    rows = told.validate(table(map=[png(labels)]))
    columns = {name: torch.from_numpy(values) for name, values in told.arrays_on(rows, Canvas(4, 4, 2)).items()}
    found = told.network(SPEC).embed(columns).concat
    assert found[0, :, 0, 0].tolist() == [1, 0, 0]
    assert found[0, :, 1, 0].tolist() == [0, 0, 1]
    assert found[0, :, 1, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("given", "expected", "got"), [
    (png(np.full((8, 8), 4, np.uint8)), "labels from 0 to 3", "4"),
    (png(np.zeros((8, 8, 3), np.uint8)), "a label map in grey or of a palette", "8×8 of mode RGB"),
    (b"nonsense", "an image", "8 bytes that do not decode"),
    (b"", "an image", "0 bytes: empty file"),
    (None, "the bytes of a label map", "None"),
    (png(np.zeros((1, 9000), np.uint8)), "at most 8192 pixels a side", "9000×1"),
])  # fmt: skip
def test_the_first_wrong_map_of_a_request_is_named(given, expected, got):
    told = SemanticMapConditioner(SemanticMap(num_labels=4), None)
    with pytest.raises(WrongRow) as found:
        told.validate(table(map=[png(np.zeros((8, 8), np.uint8)), given]))
    assert (found.value.row, found.value.column, found.value.expected, found.value.got) == (1, "map", expected, got)


def test_images_of_another_shape_than_what_is_drawn_are_named():
    told = LowResolutionConditioner(LowResolution(), None)
    rows = told.validate(table(image=[png(np.zeros((4, 8, 3), np.uint8))] * 2))
    told.validate_sizes(rows, np.array([16, 32]), np.array([32, 64]))
    with pytest.raises(WrongRow, match=r"row 1: image: expected an image of the shape that is drawn, 32×32, got 8×4"):
        told.validate_sizes(rows, np.array([16, 32]), np.array([32, 32]))


def test_bytes_are_asked_for_where_text_came():
    told = LowResolutionConditioner(LowResolution(), None)
    with pytest.raises(WrongRow, match=r"row 0: image: expected the bytes of an image, got 'cat.png'"):
        told.validate(pa.table({"image": ["cat.png"]}))


@pytest.mark.parametrize("degradation", ["bicubic", "blind"])
def test_a_small_image_is_a_function_of_seed_and_position(degradation):
    told = LowResolutionConditioner(LowResolution(factor=2, degradation=degradation), None)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    one, same, other = (
        told.decode_seen(Sample("a", {}), Seen(SIDE, 8, 3, position, pixels))["image"] for position in (5, 5, 6)
    )
    assert one.shape == (8, 8, 3)
    assert np.array_equal(one, same)
    assert np.array_equal(one, other) == (degradation == "bicubic")
    if degradation == "bicubic":
        assert np.array_equal(one, made_smaller(pixels, 2))


def test_a_small_image_is_brought_to_the_latents_grid():
    told = LowResolutionConditioner(LowResolution(factor=4, resize="nearest"), None)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    trained = told.decode_seen(Sample("a", {}), Seen(SIDE, 8, pixels=pixels))["image"]
    assert np.array_equal(trained[::2, ::2], made_smaller(pixels, 4))
    rows = told.validate(table(image=[png(made_smaller(pixels, 4))]))
    asked = told.arrays_on(rows, Canvas(SIDE, SIDE, 2))["image"]
    assert np.array_equal(asked[0], trained)
    channels = told.network(SPEC).embed({"image": torch.from_numpy(asked)}).concat
    assert channels.shape == (1, 3, 8, 8)
    assert channels[0, 0, 0, 0].item() == pytest.approx(trained[0, 0, 0] / 127.5 - 1)


@pytest.mark.parametrize("masks", ["boxes", "strokes", "mixed"])
def test_random_holes_leave_something_and_take_something(masks):
    rng = np.random.default_rng(0)
    shares = [random_mask(32, masks, rng).mean() for _ in range(200)]
    assert min(shares) > 0
    assert max(shares) < 1
    assert 0.1 < np.mean(shares) < 0.6
    assert random_mask(1, masks, rng).tolist() == [[1]]


def masked(**said):
    told = MaskedImageConditioner(MaskedImage(**said), None)
    network = told.network(SPEC)
    network.use_first_stage(lambda images: images[:, :, ::2, ::2])
    return told, network


def test_a_masked_image_is_latents_of_what_is_left_and_the_hole():
    told, network = masked()
    image, mask = np.full((SIDE, SIDE, 3), 255, np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    mask[:4, :3] = 7
    rows = told.validate(table(image=[png(image)], mask=[png(mask)]))
    assert rows["composited"].to_pylist() == [True]
    columns = {name: torch.from_numpy(value) for name, value in told.arrays_on(rows, Canvas(SIDE, SIDE, 2)).items()}
    found = network.embed(columns).concat
    assert found.shape == (1, 4, 8, 8)
    assert found[0, 3, :2].tolist() == [[1, 1, -1, -1, -1, -1, -1, -1]] * 2  # of the second column half is in it
    assert found[0, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    assert told.gives(LatentShape(3, 8)).concat == 4
    drawn = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    assert torch.equal(network.finished(drawn, columns)[0, ..., 0] == 0, torch.from_numpy(mask > 0))
    assert torch.equal(masked(composite=False)[1].finished(drawn, columns), drawn)


def test_holes_are_drawn_by_seed_and_position_or_read_of_a_member_as_it_is_seen():
    told, _ = masked()
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    first, same, other, reseeded = (
        told.decode_seen(Sample("a", {}), Seen(SIDE, 8, seed, position, pixels))["mask"]
        for seed, position in ((0, 1), (0, 1), (0, 2), (1, 1))
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, reseeded)
    own, _ = masked(member="mask.png")
    hole = np.zeros((SIDE, SIDE), np.uint8)
    hole[:, :4] = 255
    turned = Seen(SIDE, 8, 0, 0, pixels, (SIDE, SIDE), Frame(0, 0, SIDE, SIDE, (SIDE, SIDE), flip=True))
    found = own.decode_seen(Sample("a", {"mask.png": png(hole)}), turned)["mask"]
    assert found[0].tolist() == [0] * 12 + [1] * 4


@pytest.mark.parametrize("null", ["zero", "learned"])
@pytest.mark.parametrize("kind", [SemanticMap(num_labels=5), LowResolution(), MaskedImage()])
def test_the_null_is_zero_or_learned_and_the_same_everywhere(kind, null):
    torch.manual_seed(0)
    kinds = {SemanticMap: SemanticMapConditioner, LowResolution: LowResolutionConditioner, MaskedImage: None}
    made = kinds[type(kind)] or MaskedImageConditioner
    network = made(kind.model_copy(update={"null": null}), None).network(SPEC)
    channels = network.null(3).concat
    assert channels.shape[0] == 3
    assert channels.shape[2:] == (1, 1)
    assert channels.any().item() == (null == "learned")
    assert bool(list(network.parameters())) == (null == "learned")


@pytest.mark.parametrize("kind", [SemanticMap(num_labels=5), LowResolution(), MaskedImage()])
def test_examples_are_rows_that_pass_at_any_size(kind):
    kinds = {"semantic_map": SemanticMapConditioner, "low_resolution": LowResolutionConditioner}
    told = kinds.get(kind.kind, MaskedImageConditioner)(kind, None)
    rows = told.examples(np.arange(3))
    told.validate(rows)
    told.validate_sizes(rows, np.array([16] * 3), np.array([32] * 3))
    assert all(len(values) == 3 for values in told.arrays_on(rows, Canvas(16, 32, 2)).values())
