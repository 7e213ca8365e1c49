"""Packing: what goes where depends on keys alone; bad images are named and counted; what is made is not made again."""

import io
import json
import random
import time

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rayograph.config import ImageFolder, Pack, SklearnDigits
from rayograph.errors import DataError
from rayograph.ingest.packing import HELD_OUT, TRAIN, pack_shard, plan_shards
from rayograph.ingest.sources import Entry, open_source
from rayograph.runs.artifact import Artifact
from rayograph.shards.images import pixels_of
from rayograph.shards.sample import key_fraction
from rayograph.shards.store import read_samples
from rayograph.storage import open_store

ENTRIES = [Entry(f"image-{number}", f"folder/{number}.png", number % 3) for number in range(200)]


def declared(uri="/nowhere", *, class_per_folder=False, **changes):
    source = ImageFolder(uri=str(uri), class_per_folder=class_per_folder)
    return Pack(**{"source": source, "image_size": 8, "held_out_fraction": 0.25, "samples_per_shard": 16} | changes)


def picture(seed=0, size=(9, 12)):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Forty pictures in four folders, names as people give them."""
    for number in range(40):
        path = tmp_path / "images" / f"class {number % 4}" / f"img.{number:02d} (copy).PNG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def packed(folder, target, **changes):
    """Every shard's index, by name, and the artifact."""
    pack = declared(folder, **changes)
    source = open_source(pack.source, None)
    artifact = Artifact(open_store(str(target)), "packed")
    return artifact, {
        task.name: pack_shard(artifact, task, source, pack) for task in plan_shards(source.entries(), pack)
    }


def all_samples(artifact, indexes):
    return [s for name, index in indexes.items() for s in read_samples(artifact, name, index, range(len(index)))]


@settings(max_examples=20)
@given(order=st.randoms(use_true_random=False))
def test_the_plan_of_shards_does_not_depend_on_the_order_in_which_entries_are_listed(order):
    shuffled = list(ENTRIES)
    order.shuffle(shuffled)
    assert plan_shards(shuffled, declared()) == plan_shards(ENTRIES, declared())


def test_every_entry_stands_in_one_shard_and_shards_are_full_but_for_the_last_of_a_split():
    tasks = plan_shards(ENTRIES, declared())
    assert sorted(e.key for task in tasks for e in task.entries) == sorted(e.key for e in ENTRIES)
    for split in (TRAIN, HELD_OUT):
        sizes = [len(task.entries) for task in tasks if task.split == split]
        assert sizes[:-1] == [16] * (len(sizes) - 1)
        assert 0 < sizes[-1] <= 16
    assert len({task.name for task in tasks}) == len(tasks)


def test_a_key_is_held_out_by_its_own_hash_whatever_else_is_there():
    def held_out(entries, fraction):
        tasks = plan_shards(entries, declared(held_out_fraction=fraction))
        return {e.key for task in tasks if task.split == HELD_OUT for e in task.entries}

    assert held_out(ENTRIES, 0.25) == {e.key for e in ENTRIES if key_fraction(e.key) < 0.25}
    assert held_out(ENTRIES[:50], 0.25) == held_out(ENTRIES, 0.25) & {e.key for e in ENTRIES[:50]}
    assert held_out(ENTRIES, 0.1) < held_out(ENTRIES, 0.25)


def test_classes_are_mixed_within_a_shard():
    by_class = sorted(ENTRIES, key=lambda entry: entry.label)
    for task in plan_shards(by_class, declared()):
        assert len(task.entries) < 16 or {entry.label for entry in task.entries} == {0, 1, 2}


def test_a_key_that_stands_twice_is_refused_with_both_places():
    twice = [*ENTRIES, Entry("image-3", "other/3.png", 0)]
    with pytest.raises(DataError, match=r"other/3.png: .* got 'image-3', as folder/3.png has it"):
        plan_shards(twice, declared())


def test_a_late_duplicate_among_many_entries_is_found_quickly():
    many = [Entry(str(number), str(number), None) for number in range(20_000)]
    started = time.monotonic()
    with pytest.raises(DataError, match="19999"):
        plan_shards([*many, many[-1]], declared())
    assert time.monotonic() - started < 5.0


@pytest.mark.parametrize(("fraction", "empty"), [(1e-9, "held_out"), (1 - 1e-9, "train")])
def test_an_empty_split_is_refused_by_its_name(fraction, empty):
    with pytest.raises(DataError, match=f"expected images in the {empty} split, got none of 200"):
        plan_shards(ENTRIES, declared(held_out_fraction=fraction))


def test_packing_twice_gives_the_same_bytes(folder, tmp_path):
    once, _ = packed(folder, tmp_path / "a")
    again, _ = packed(folder, tmp_path / "b")
    assert once.records("") == again.records("")
    assert len(once.records("")) > 4


def test_a_packed_image_is_the_middle_of_its_file_under_its_class(folder, tmp_path):
    artifact, indexes = packed(folder, tmp_path / "a", class_per_folder=True)
    samples = all_samples(artifact, indexes)
    assert len(samples) == 40
    for sample in samples:
        assert pixels_of(sample.members["png"], sample.key).shape == (8, 8, 3)
        assert sample.members["cls"] == sample.key[len("class ")].encode()


def test_without_class_folders_samples_have_no_class(folder, tmp_path):
    artifact, indexes = packed(folder, tmp_path / "a")
    assert {tuple(s.members) for s in all_samples(artifact, indexes)} == {("png",)}


def test_a_shard_that_is_there_is_not_made_again(folder, tmp_path):
    artifact, first = packed(folder, tmp_path / "a")
    before = {name: (tmp_path / "a" / "packed" / name).stat().st_mtime_ns for name in artifact.names()}

    class Unreadable:
        class_names: list[str] = []  # noqa: RUF012

        def entries(self):
            return open_source(declared(folder).source, None).entries()

        def image(self, entry):
            raise AssertionError("an image was read again")

    for task in plan_shards(Unreadable().entries(), declared(folder)):
        assert pack_shard(artifact, task, Unreadable(), declared(folder)).to_json() == first[task.name].to_json()
    assert before == {name: (tmp_path / "a" / "packed" / name).stat().st_mtime_ns for name in artifact.names()}


def test_a_half_written_shard_is_finished_with_the_same_bytes(folder, tmp_path):
    whole, indexes = packed(folder, tmp_path / "a")
    torn, _ = packed(folder, tmp_path / "b")
    for name in list(torn.names()):
        if name.endswith(".index.json"):
            torn.store.delete(torn.key(name))
    again, indexes_again = packed(folder, tmp_path / "b")
    assert again.records("") == whole.records("")
    assert {n: i.to_json() for n, i in indexes_again.items()} == {n: i.to_json() for n, i in indexes.items()}


def test_bad_images_up_to_the_limit_are_left_out_and_named(folder, tmp_path):
    bad = folder / "class 1" / "img.01 (copy).PNG"
    bad.write_bytes(b"not an image")
    artifact, indexes = packed(folder, tmp_path / "a", bad_sample_limit=1)
    rejected = [row for index in indexes.values() for row in index.facts["rejected"]]
    assert [row["key"] for row in rejected] == ["class 1_img_01 (copy)"]
    assert str(bad) in rejected[0]["reason"]
    assert len(all_samples(artifact, indexes)) == 39


@pytest.mark.parametrize("limit", [0, 2])
def test_one_bad_image_more_than_the_limit_fails_with_its_place(folder, tmp_path, limit):
    spoilt = sorted(folder.rglob("*.PNG"))[: limit + 1]
    for path in spoilt:
        path.write_bytes(b"")
    pack = declared(folder, bad_sample_limit=limit, samples_per_shard=64, held_out_fraction=0.001)
    source = open_source(pack.source, None)
    entries = [*source.entries(), Entry(key_below(0.001), spoilt[0].name, None)]
    task = next(task for task in plan_shards(entries, pack) if task.split == TRAIN)
    artifact = Artifact(open_store(str(tmp_path / "a")), "packed")
    with pytest.raises(DataError, match=r"img.*: expected an image, got 0 bytes"):
        pack_shard(artifact, task, source, pack)
    assert artifact.names() == []


def key_below(fraction):
    """A key of the held-out split, so that a test's other keys are all in the training split."""
    return next(str(number) for number in range(100_000) if key_fraction(str(number)) < fraction)


def test_a_shard_of_bad_images_alone_is_refused(folder, tmp_path):
    for path in folder.rglob("*.PNG"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"every one of its .* images was rejected; first: .*img"):
        packed(folder, tmp_path / "a", bad_sample_limit=100)


def test_keys_stay_whole_for_webdataset_whatever_dots_and_blanks_the_files_names_have(folder, tmp_path):
    packed(folder, tmp_path / "a")
    shards = sorted(str(path) for path in (tmp_path / "a").rglob("*.tar"))
    read = list(webdataset.WebDataset(shards, shardshuffle=False))
    expected = {f"class {number % 4}_img_{number:02d} (copy)" for number in range(40)}
    assert {row["__key__"] for row in read} == expected
    assert all(pixels_of(row["png"], row["__key__"]).shape == (8, 8, 3) for row in read)


def test_files_whose_keys_would_be_equal_get_different_ones(tmp_path):
    names = ["a/b.png", "a_b.png", "a.b.png", "a_b.jpg", "a_b.PNG"]
    for name in names:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture())
    entries = open_source(ImageFolder(uri=str(tmp_path / "images")), None).entries()
    assert sorted(entry.place for entry in entries) == sorted(names)
    assert len({entry.key for entry in entries}) == len(names)
    assert not any("." in entry.key or "/" in entry.key for entry in entries)


def test_class_numbers_follow_the_sorted_names_of_the_folders(tmp_path):
    names = ["zebra", "ape", "Übung", "10", "9"]
    for name in names:
        (tmp_path / name / "deeper").mkdir(parents=True)
        (tmp_path / name / "deeper" / "x.webp").write_bytes(b"")
    source = open_source(ImageFolder(uri=str(tmp_path), class_per_folder=True), None)
    assert source.class_names == sorted(names)
    assert {e.place.split("/")[0]: e.label for e in source.entries()} == {n: i for i, n in enumerate(sorted(names))}


def test_a_loose_file_among_class_folders_is_refused_by_name(folder):
    (folder / "loose.png").write_bytes(picture())
    with pytest.raises(DataError, match=r"loose\.png: expected a folder a class"):
        open_source(ImageFolder(uri=str(folder), class_per_folder=True), None)


def test_a_folder_without_images_is_refused_with_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match=r"expected image files \(\.jpg, \.jpeg, \.png, \.webp\), found none"):
            open_source(ImageFolder(uri=str(place)), None)


def test_the_digits_are_scikit_learns_in_full_range_with_their_classes(tmp_path):
    source = open_source(SklearnDigits(), None)
    entries = source.entries()
    assert len(entries) == len({e.key for e in entries}) == 1797
    assert {e.label for e in entries} == set(range(10)) == {int(name) for name in source.class_names}
    pixels = np.stack([np.asarray(source.image(e)) for e in random.Random(0).sample(entries, 100)])
    assert pixels.shape == (100, 8, 8, 3)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_a_shards_facts_survive_as_json(folder, tmp_path):
    (folder / "class 0" / "img.00 (copy).PNG").write_bytes(b"")
    artifact, indexes = packed(folder, tmp_path / "a", bad_sample_limit=1)
    for name, index in indexes.items():
        stored = json.loads(artifact.read(name.removesuffix(".tar") + ".index.json"))
        assert stored["facts"] == index.facts
