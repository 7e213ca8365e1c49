"""filter_images: exactly what is asked stays, is read and is named; nothing is copied."""

import json
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from rayograph.commands.verification import verify
from rayograph.config import (
    Autoencoder,
    FilterImages,
    Job,
    Pack,
    Scale,
    Score,
    SklearnDigits,
    TrainAutoencoder,
    View,
)
from rayograph.config import Sample as Sampled
from rayograph.errors import ConfigError, DataError
from rayograph.ingest import streams
from rayograph.ingest.decoders import Images
from rayograph.ingest.images import image_filter as filtering
from rayograph.pipeline.preflight import check
from rayograph.pipeline.resolve import resolve
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import HELD_OUT, TRAIN
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult, commit
from rayograph.sampling.requests.plan import SPLIT
from rayograph.shards.pixels.decode import to_jpeg, to_png
from rayograph.shards.pixels.sizes import upright_size
from rayograph.shards.sample import Sample
from rayograph.shards.store import put_shard, shard_files
from rayograph.stages import filter_images
from rayograph.stages.stage import stage_of
from rayograph.storage import open_store
from rayograph.trainer.dataset import planned_reader

SHARDS = ((TRAIN, 23), (TRAIN, 17), (HELD_OUT, 12))
NAMES = ["ape", "cat", "dog"]
DRAW = np.random.default_rng(7)


def sample(number):
    """Sizes, captions, classes and scores that differ from sample to sample, and lack here and there."""
    width, height = 8 + number % 9, 8 + (number * 5) % 11
    pixels = DRAW.integers(0, 256, (height, width, 3), np.uint8)
    members = {"jpg": to_jpeg(pixels, 90)} if number % 2 else {"png": to_png(pixels)}
    if number % 7:
        members["txt"] = ("word " * (number % 5)).strip().encode()
    members["cls"] = str(number % 3).encode()
    if number % 10:
        members["json"] = json.dumps({"scores": {"aesthetic": number / 10}}).encode()
    return Sample(f"s{number:03d}", members), (width, height)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A store with packed images, and every sample with its size."""
    folder = tmp_path_factory.mktemp("packed")
    stage = resolve(job({}), Scale(), open_store(str(folder / "store")))["pack"]
    result, everything, number = StageResult(), {}, 0
    for place, (split, count) in enumerate(SHARDS):
        made = [sample(number + within) for within in range(count)]
        number += count
        everything |= {one.key: (one, size, split) for one, size in made}
        name = f"shards/{split}-{place:06d}.tar"
        result.add_shard(
            *shard_files(stage.artifact, name, split, put_shard(stage.artifact, name, [s for s, _ in made]))
        )
    result.facts = {"class_names": NAMES, "image_size": None, "resize": "none", "rejected": []}
    commit(stage, result, 0.0)
    return folder, everything


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The work is done in this process."""

    @contextmanager
    def recorder(*_, at_once):
        yield SimpleNamespace(progress=SimpleNamespace(done=0, advance_to=lambda *_: None))

    monkeypatch.setattr(filter_images, "Reporter", recorder)
    monkeypatch.setattr(streams, "each", lambda items, work, scale: map(work, items))


def job(filters):
    pack = Pack(source=SklearnDigits(), resize="none")
    return Job(name="j", stages={"pack": pack, **{name: FilterImages(**said) for name, said in filters.items()}})


def filtered(folder, filters):
    """The last of several filters, each committed."""
    stages = resolve(job(filters), Scale(), open_store(str(folder / "store")))
    for name in filters:
        stage = stages[name]
        check(stage.job, stage.scale, [name], stages)
        commit(stage, stage_of(stage.declared).run(stage.declared, stage), 0.0)
    return stages[list(filters)[-1]]


def keys_of(stage, split=None):
    manifest = stage.artifact.committed()
    shards = manifest.shards if split is None else manifest.split(split)
    read = filter_images.Shards.of(stage.artifact, manifest, shards, None)
    return [
        one.key
        for shard in shards
        for one in read.rows(shard.path, read.index(shard.path), range(shard.samples)).samples()
    ]


def caption_length(one):
    return len(one.members.get("txt", b""))


def score(one):
    return json.loads(one.members["json"])["scores"]["aesthetic"] if "json" in one.members else None


@pytest.mark.parametrize(
    ("said", "stays"),
    [
        ({"minimum_size": 10}, lambda one, w, h: min(w, h) >= 10),
        ({"maximum_size": 14}, lambda one, w, h: max(w, h) <= 14),
        ({"minimum_aspect": 1.0}, lambda one, w, h: w >= h),
        ({"minimum_aspect": 0.8, "maximum_aspect": 1.25}, lambda one, w, h: 0.8 <= w / h <= 1.25),
        ({"minimum_caption_length": 5}, lambda one, w, h: caption_length(one) >= 5),
        ({"maximum_caption_length": 9}, lambda one, w, h: caption_length(one) <= 9),
        ({"classes": ("cat", 2)}, lambda one, w, h: one.members["cls"] in (b"1", b"2")),
        ({"classes_left_out": ("ape",)}, lambda one, w, h: one.members["cls"] != b"0"),
        (
            {"score": Score(field="scores.aesthetic", minimum=1.5, maximum=4.2)},
            lambda one, w, h: score(one) is not None and 1.5 <= score(one) <= 4.2,
        ),
        ({"minimum_size": 9, "classes": (1,)}, lambda one, w, h: min(w, h) >= 9 and one.members["cls"] == b"1"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_exactly_what_is_asked_stays_and_all_else_is_named(packed, said, stays):
    folder, everything = packed
    stage = filtered(folder, {"some": said})
    kept = {key for key, (one, size, _) in everything.items() if stays(one, *size)}
    manifest = stage.artifact.committed()
    assert 0 < len(kept) < len(everything)
    assert set(keys_of(stage)) == kept
    assert manifest.samples == len(kept)
    lines = [line for name in stage.artifact.names("left_out/") for line in stage.artifact.read(name).splitlines()]
    assert {json.loads(line)["key"] for line in lines} == everything.keys() - kept
    assert sum(manifest.facts["left_out"].values()) == len(everything) - len(kept)
    assert {shard.split for shard in manifest.shards} == {TRAIN, HELD_OUT}


def test_keys_are_left_out_by_a_text_file(packed, tmp_path):
    folder, everything = packed
    (tmp_path / "bad.txt").write_text("s001\ns030\n\nnot-there\n")
    stage = filtered(folder, {"some": {"keys_left_out_uri": str(tmp_path / "bad.txt")}})
    assert everything.keys() - set(keys_of(stage)) == {"s001", "s030"}
    assert stage.artifact.committed().facts["left_out"] == {"key": 2}
    (tmp_path / "again.txt").write_text("s030\nnot-there\ns001\n")
    assert filtered(folder, {"some": {"keys_left_out_uri": str(tmp_path / "again.txt")}}).key == stage.key
    (tmp_path / "other.txt").write_text("s030\n")
    assert filtered(folder, {"some": {"keys_left_out_uri": str(tmp_path / "other.txt")}}).key != stage.key
    with pytest.raises(DataError, match=r"keys_left_out_uri: expected a text file at .*none\.txt"):
        filtered(folder, {"none": {"keys_left_out_uri": str(tmp_path / "none.txt")}})


def test_nothing_is_copied_and_verify_finds_it_whole_deep_too(packed):
    folder, _ = packed
    stage = filtered(folder, {"some": {"minimum_size": 10}})
    assert not [name for name in stage.artifact.names() if name.endswith(".tar")]
    assert stage.artifact.committed().base_uri.startswith("../../pack/")
    lines = list(verify(open_store(str(folder / "store")), deep=True))
    assert any(line.startswith("j/some/") and "whole" in line for line in lines)


def test_a_filter_of_a_filter_leaves_out_what_either_does(packed):
    folder, everything = packed
    stage = filtered(folder, {"large": {"minimum_size": 9}, "cats": {"images": "large", "classes": ("cat",)}})
    kept = {k for k, (one, size, _) in everything.items() if min(size) >= 9 and one.members["cls"] == b"1"}
    assert set(keys_of(stage)) == kept
    assert stage.artifact.committed().base_uri.startswith("../../pack/")
    assert any("j/cats/" in line for line in verify(open_store(str(folder / "store")), deep=True))


def test_a_training_sees_exactly_what_stays_once_an_epoch(packed):
    folder, everything = packed
    some = filtered(folder, {"some": {"minimum_size": 10}})
    training = TrainAutoencoder(
        images=some.artifact.uri,
        view=View(image_size=8),
        network=Autoencoder(block_out_channels=(8,), norm_num_groups=8),
        total_images=64,
        global_batch_size=4,
        lanes=4,
    )
    stage = resolve(Job(name="t", stages={"train": training}), Scale(), open_store(str(folder / "other")))["train"]
    reader = planned_reader(stage, training, "images", Images(8, training.view, 0))
    kept = sorted(key for key, (_, size, split) in everything.items() if min(size) >= 10 and split == TRAIN)
    assert reader.plan.sets[0].size == len(kept)
    shards, rows = reader.plan.locate(np.arange(2 * len(kept)))
    (read,) = reader.shards
    seen = [read.index(read.names[shard]).keys[row] for shard, row in zip(shards, rows, strict=True)]
    assert sorted(seen[: len(kept)]) == sorted(seen[len(kept) :]) == kept


def test_what_a_model_drew_can_be_filtered_and_learned_from(tmp_path):
    drawing = Job(name="d", stages={"sample": Sampled(num_samples=20, model=str(tmp_path / "model"))})
    store = open_store(str(tmp_path / "store"))
    drawn = StageContext(drawing, Scale(), "sample", 0, "0" * 16, Artifact(store, "d/sample/0000000000000000"), {})
    result = StageResult(facts={"class_names": NAMES})
    name = f"shards/{SPLIT}-000000.tar"
    index = put_shard(drawn.artifact, name, [sample(number)[0] for number in range(20)])
    result.add_shard(*shard_files(drawn.artifact, name, SPLIT, index))
    commit(drawn, result, 0.0)
    cats = FilterImages(images=drawn.artifact.uri, classes=("cat",))
    training = TrainAutoencoder(
        images="cats",
        view=View(image_size=8),
        network=Autoencoder(block_out_channels=(8,), norm_num_groups=8),
        total_images=64,
        global_batch_size=4,
        lanes=4,
    )
    stages = resolve(Job(name="t", stages={"cats": cats, "train": training}), Scale(), store)
    commit(stages["cats"], stage_of(cats).run(cats, stages["cats"]), 0.0)
    reader = planned_reader(stages["train"], training, "images", Images(8, training.view, 0))
    assert reader.plan.sets[0].size == len([number for number in range(20) if number % 3 == 1])


def test_a_moved_store_still_finds_its_shards(packed, tmp_path):
    folder, _ = packed
    before = keys_of(filtered(folder, {"some": {"minimum_size": 10}}))
    shutil.copytree(folder / "store", tmp_path / "store")
    stages = resolve(job({"some": {"minimum_size": 10}}), Scale(), open_store(str(tmp_path / "store")))
    assert keys_of(stages["some"]) == before


def test_the_same_work_has_the_same_digest_however_often_it_is_begun(packed):
    folder, _ = packed
    stage = filtered(folder, {"some": {"maximum_size": 14}})
    again = stage_of(stage.declared).run(stage.declared, stage)
    assert sorted(again.files, key=lambda file: file.path) == sorted(
        stage.artifact.committed().files, key=lambda file: file.path
    )


def test_a_split_of_which_nothing_stays_is_refused(packed):
    with pytest.raises(DataError, match=r"none: expected some of the .* images to stay, got none: 52 \(52 size\)"):
        filtered(packed[0], {"none": {"minimum_size": 1000}})


@pytest.mark.parametrize("field", ["classes", "classes_left_out"])
@pytest.mark.parametrize("given", ["horse", 3])
def test_a_class_that_the_images_do_not_have_is_refused(packed, field, given):
    with pytest.raises(
        ConfigError, match=rf"some\.{field}: expected classes of the images, which have 3, got {given!r}"
    ):
        filtered(packed[0], {"some": {field: (given,)}})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "expected a reason to leave images out"),
        ({"minimum_size": 9, "maximum_size": 8}, "minimum_size: expected at most maximum_size 8, got 9"),
        ({"score": {"field": "x"}}, "minimum: expected this or maximum, got neither"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(said, message):
    with pytest.raises(ValidationError, match=message):
        FilterImages(**said)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_sizes_are_those_of_upright_images_told_by_the_first_bytes(tmp_path, kind, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image"
    Image.fromarray(pixels).save(path, kind, exif=exif)
    data = path.read_bytes()
    found = upright_size(data[: filtering.HEAD_BYTES], lambda: data, "s")
    assert found == ((300, 200) if orientation in (6, 8) else (200, 300))
    with pytest.raises(DataError, match="s: expected an image, got"):
        upright_size(b"nothing", lambda: b"nothing of an image", "s")
