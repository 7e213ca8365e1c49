"""Boxes and labels: as tokens, cropped with their image, checked to the last row of a request."""

import json
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
import torch

from rayograph.conditioning.member_columns import WrongRow
from rayograph.conditioning.seen import Seen
from rayograph.conditioning.spatial.image_columns import png_of
from rayograph.conditioning.spatial.layout import LayoutConditioner
from rayograph.conditioning.spatial.layout_boxes import LabelledBoxes, WrongBoxes, box_tokens
from rayograph.config.job.conditions.layout import Layout
from rayograph.errors import ConfigError, DataError
from rayograph.ingest.latent_encoder import _encoded
from rayograph.models.specs import Accepts, DenoiserSpec, LatentShape, Ways
from rayograph.shards.pixels.frames import Frame, middle_square
from rayograph.shards.sample import Sample

SMALL = {
    "most_objects": 3, "vocabulary": 128, "num_layers": 1, "width": 8, "num_attention_heads": 2,
    "attention_head_dim": 4, "feed_forward": 16,
}  # fmt: skip
NOTHING = 127
SPEC = DenoiserSpec(3, 8, accepts=Accepts(cross_attention=8))
PETS = Layout(labels=("cat", "dog"), **SMALL)


def boxes(*said):
    return Sample("a", {"boxes.json": json.dumps([{"label": label, "box": box} for label, box in said]).encode()})


def test_the_published_transformer_has_its_58_858_496_weights():
    declared = Layout(labels=182, output_projection=True)
    assert declared.length == 92
    with torch.device("meta"):
        network = LayoutConditioner(declared, None).network(DenoiserSpec(3, 64, accepts=Accepts(cross_attention=512)))
    assert sum(weight.numel() for weight in network.parameters()) == 58_858_496


def test_an_object_is_its_label_and_two_corners_on_the_grid():
    tokens = box_tokens([7], np.array([[0.0, 0.25, 0.5, 1.0]]), 2, 8192)
    assert tokens.tolist() == [7, 90 * 22, 44 + 90 * 89, 8191, 8191, 8191, 0, 8099]


def test_names_and_numbers_are_the_same_label():
    told = LayoutConditioner(PETS, None)
    by_name, by_number = (told.decode(boxes((label, [0, 0, 1, 1])))["boxes"] for label in ("dog", 1))
    assert np.array_equal(by_name, by_number)
    assert by_name.tolist() == [1, 0, 120, *[NOTHING] * 6, 0, 120]
    with pytest.raises(
        DataError, match=r"^a: boxes: expected a label from 0 to 1 or its name \(cat, dog\), got 'owl'$"
    ):
        told.decode(boxes(("owl", [0, 0, 1, 1])))


def test_labels_are_the_datas_and_kept_with_the_model():
    facts = {"box_labels": ["cat", "dog"]}
    told = LayoutConditioner(Layout(**SMALL), facts)
    assert (told.declared.labels, told.facts) == (2, facts)
    again = LayoutConditioner(told.declared, facts)
    assert again.decode(boxes(("dog", [0, 0, 1, 1])))["boxes"][0] == 1
    with pytest.raises(ConfigError, match="labels: expected 2, the data's, got 3"):
        LayoutConditioner(Layout(labels=3, **SMALL), facts)
    unknown = LayoutConditioner(Layout(**SMALL), None)  # before the data is packed
    assert unknown.validate(pa.table({"boxes": ['[{"label": "owl", "box": [0, 0, 1, 1]}]']})).num_rows == 1
    with pytest.raises(DataError, match=r"^a: boxes: expected a label that is declared, got 'owl'$"):
        unknown.decode(boxes(("owl", [0, 0, 1, 1])))


def test_boxes_are_cropped_and_turned_with_their_image_and_fall_away_outside():
    sample = boxes(("cat", [0.0, 0.0, 0.3, 1.0]), ("dog", [0.5, 0.5, 1.0, 1.0]), ("dog", [0.85, 0.0, 1.0, 1.0]))
    frame = Frame(20, 0, 60, 60, (16, 16), flip=True)  # of 100×60: from .2 to .8
    found = LabelledBoxes.read(json.loads(sample.members["boxes.json"])).within(frame, (100, 60))
    assert found.labels == ("cat", "dog")
    assert np.allclose(found.places, [[1 - 1 / 6, 0, 1, 1], [0, 0.5, 0.5, 1]])
    seen = Seen(16, 4, source=(100, 60), frame=frame)
    assert LayoutConditioner(PETS, None).decode_seen(sample, seen)["boxes"][[0, 3, 6]].tolist() == [0, 1, NOTHING]
    picky = LayoutConditioner(PETS.model_copy(update={"smallest_share": 0.5}), None)
    assert picky.decode_seen(sample, seen)["boxes"][[0, 3]].tolist() == [1, NOTHING]


def test_encoded_images_keep_the_boxes_of_their_middle_square():
    picture = png_of(np.zeros((60, 100, 3), np.uint8))
    said = boxes(("cat", [0.0, 0.0, 0.1, 1.0]), ("dog", [0.2, 0.0, 0.5, 0.5]))
    encoded = _encoded(
        Sample("a", said.members | {"png": picture}), np.zeros((2, 2, 2)), partial(middle_square, size=8)
    )
    assert json.loads(encoded.members["boxes.json"]) == [{"label": "dog", "box": [0.0, 0.0, 0.5, 0.5]}]
    square = Sample("a", said.members | {"png": png_of(np.zeros((60, 60, 3), np.uint8))})
    kept = _encoded(square, np.zeros((2, 2, 2)), partial(middle_square, size=8)).members["boxes.json"]
    assert kept == said.members["boxes.json"]


def test_of_too_many_boxes_the_largest_count_in_their_order():
    sides = [0.2, 0.9, 0.1, 0.5]
    said = LabelledBoxes(tuple(range(4)), np.array([[0, 0, side, side] for side in sides]))
    assert said.largest(2).labels == (1, 3)


def test_boxes_as_tables_are_packed_are_read_too():
    packed = Sample("a", {"json": json.dumps({"boxes": [[0.5, 0.0, 0.25, 0.5]], "labels": ["dog"]}).encode()})
    told = LayoutConditioner(PETS, None)
    same = told.decode(boxes(("dog", [0.5, 0.0, 0.75, 0.5])))["boxes"]
    assert np.array_equal(told.decode(packed)["boxes"], same)
    with pytest.raises(DataError, match=r"^a: expected boxes \(boxes\.json\), got txt$"):
        told.decode(Sample("a", {"txt": b"a dog"}))


@pytest.mark.parametrize(("given", "message"), [
    ([{"label": "cat", "box": [0, 0, 1.5, 1]}], r"top < bottom from 0 to 1 in box 0, got \[0, 0, 1\.5, 1\]"),
    ([{"label": "cat", "box": [0.5, 0, 0.5, 1]}], r"in box 0, got \[0\.5, 0, 0\.5, 1\]"),
    ([{"label": "owl", "box": [0, 0, 1, 1]}], r"expected a label from 0 to 1 or its name \(cat, dog\), got 'owl'"),
    ([{"label": 2, "box": [0, 0, 1, 1]}], r"got 2"),
    ([{"label": "cat", "box": [0, 0, 1, 1]}] * 4, r"expected at most 3 boxes, got 4"),
    ("[nonsense", r"expected a list of .*, got '\[nonsense'"),
    ({"label": "cat"}, r"expected a list of"),
    (None, r"expected a list of .*, got None"),
])  # fmt: skip
def test_the_first_wrong_layout_of_a_request_is_named(given, message):
    told = LayoutConditioner(PETS, None)
    column = [told.request_value("boxes", [{"label": "dog", "box": [0, 0, 1, 1]}])]
    column.append(json.dumps(given) if isinstance(given, list | dict) else given)
    with pytest.raises(WrongRow, match=rf"^row 1: boxes: .*{message}"):
        told.validate(pa.table({"boxes": pa.array(column, pa.string())}))


def test_a_request_says_lists_or_json_and_its_images_keep_the_boxes():
    told = LayoutConditioner(PETS, None)
    said = [{"label": "dog", "box": [0, 0, 0.5, 1]}]
    text = told.validate(pa.table({"boxes": [told.request_value("boxes", said)]}))
    nested = told.validate(pa.table({"boxes": [said]}))
    assert text.equals(nested)
    kept = told.members_of({"boxes": text["boxes"][0].as_py()})
    assert np.array_equal(told.decode(Sample("a", kept))["boxes"], told.arrays(text)["boxes"][0])
    assert told.validate(told.examples(np.arange(4))).num_rows == 4


def test_no_box_and_nothing_said_are_different_conditions_and_both_are_tokens():
    torch.manual_seed(0)
    told = LayoutConditioner(PETS, None)
    network = told.network(SPEC)
    empty = network.embed({"boxes": torch.from_numpy(told.decode(boxes())["boxes"])[None]}).cross_attention
    nothing = network.null(2).cross_attention
    assert empty.shape == (1, 11, 8)
    assert nothing.shape == (2, 11, 8)
    assert not torch.allclose(empty[0], nothing[0])
    assert told.gives(LatentShape(3, 8)) == Ways(cross_attention=True)


def test_a_width_that_the_denoiser_does_not_attend_to_is_refused():
    with pytest.raises(ConfigError, match=r"^conditioner\.width: expected 16, what the denoiser attends to, got 8$"):
        LayoutConditioner(PETS, None).network(DenoiserSpec(3, 8, accepts=Accepts(cross_attention=16)))


def test_labels_are_fewer_than_tokens_and_each_named_once():
    with pytest.raises(ValueError, match="labels: expected 1 to 127, got 128"):
        Layout(labels=128, **SMALL)
    with pytest.raises(ValueError, match="labels: expected names that differ, got 'cat' twice"):
        Layout(labels=("cat", "dog", "cat"), **SMALL)
    with pytest.raises(WrongBoxes):
        LabelledBoxes.read([{"label": True, "box": [0, 0, 1, 1]}])
