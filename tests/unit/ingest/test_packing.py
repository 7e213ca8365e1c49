"""Packing: what goes where depends on keys alone; bad images are named and counted; what is made is not made again."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import declare, packed, picture, rejected_of, samples_of

from rayograph.config import ImageFolder, Job, Pack, Scale, SklearnDigits, WebDatasetShards
from rayograph.config.reading.files import load_job
from rayograph.errors import ConfigError, DataError
from rayograph.ingest import packing
from rayograph.ingest.packing import PackedTask, pack_task
from rayograph.ingest.sources import Rejected, Row, Task, open_source
from rayograph.ingest.sources.file_listing import Listing, unique_names
from rayograph.ingest.sources.source import Findings
from rayograph.pipeline.preflight import check
from rayograph.pipeline.resolve import resolve
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import HELD_OUT, TRAIN
from rayograph.shards.pixels.decode import render
from rayograph.shards.sample import key_fraction
from rayograph.stages.pack import Packed
from rayograph.storage import open_store

KEYS = [f"image-{number}" for number in range(200)]


def listing(names):
    return Listing.of(pa.array([f"{name}.png" for name in names], pa.large_string()), None, "row {}".format)


def plan(names, rows=16, fraction=0.25):
    """(split, keys) of every task."""
    found = listing(names)
    planned = []
    for task in found.tasks(rows, fraction):
        keys = [found.keys[row] for row in found.rows(task)]
        splits = {HELD_OUT if key_fraction(key) < fraction else TRAIN for key in keys}
        assert len(splits) == 1
        assert len(keys) == task.size
        planned.append((splits.pop(), keys))
    return planned


@pytest.fixture
def folder(tmp_path):
    """Forty pictures in four folders, names as people give them."""
    for number in range(40):
        path = tmp_path / "images" / f"class {number % 4}" / f"img.{number:02d} (copy).PNG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def images(folder, **changes):
    return ImageFolder(uri=str(folder), **changes)


@settings(max_examples=20)
@given(order=st.randoms(use_true_random=False))
def test_the_tasks_do_not_depend_on_the_order_in_which_images_are_listed(order):
    shuffled = list(KEYS)
    order.shuffle(shuffled)
    assert plan(shuffled) == plan(KEYS)


def test_every_image_stands_in_one_task_and_tasks_are_full_but_for_the_last_of_a_split():
    tasks = plan(KEYS)
    assert sorted(key for _, keys in tasks for key in keys) == sorted(KEYS)
    for split in (TRAIN, HELD_OUT):
        sizes = [len(keys) for other, keys in tasks if other == split]
        assert sizes[:-1] == [16] * (len(sizes) - 1)
        assert 0 < sizes[-1] <= 16
    assert [split for split, _ in tasks] == sorted((split for split, _ in tasks), reverse=True)


def test_a_key_is_held_out_by_its_own_hash_whatever_else_is_there():
    def held_out(names, fraction):
        return {key for split, keys in plan(names, fraction=fraction) if split == HELD_OUT for key in keys}

    assert held_out(KEYS, 0.25) == {key for key in KEYS if key_fraction(key) < 0.25}
    assert held_out(KEYS[:50], 0.25) == held_out(KEYS, 0.25) & set(KEYS[:50])
    assert held_out(KEYS, 0.1) < held_out(KEYS, 0.25)


def test_classes_are_mixed_within_a_task():
    by_class = sorted(KEYS, key=lambda key: int(key[6:]) % 3)
    for _, keys in plan(by_class):
        assert len(keys) < 16 or {int(key[6:]) % 3 for key in keys} == {0, 1, 2}


def test_a_path_that_stands_twice_is_refused_with_both_places():
    with pytest.raises(DataError, match=r"row 200: .* got 'image-3', as row 3 has it"):
        listing([*KEYS, "image-3"])


@pytest.mark.parametrize(("fraction", "empty"), [(1e-9, "held_out"), (1 - 1e-9, "train")])
def test_an_empty_split_is_refused_by_its_name_before_any_work(fraction, empty):
    with pytest.raises(DataError, match=f"expected images in the {empty} split, got none of 200"):
        plan(KEYS, fraction=fraction)


def test_without_a_held_out_fraction_there_is_no_held_out_split():
    assert {split for split, _ in plan(KEYS, fraction=0)} == {TRAIN}


def test_packing_twice_gives_the_same_bytes(folder, tmp_path):
    once, _ = packed(images(folder), tmp_path / "a")
    again, _ = packed(images(folder), tmp_path / "b")
    assert once.records("") == again.records("")
    assert len(once.records("")) > 4


def test_a_packed_image_is_the_middle_of_its_file_under_its_class(folder, tmp_path):
    samples = samples_of(*packed(images(folder, class_per_folder=True), tmp_path / "a"))
    assert len(samples) == 40
    for key, members in samples.items():
        assert set(members) == {"png", "cls"}
        assert render(members["png"], key).shape == (8, 8, 3)
        assert members["cls"] == key[len("class ")].encode()


def test_without_class_folders_samples_have_no_class(folder, tmp_path):
    assert {tuple(members) for members in samples_of(*packed(images(folder), tmp_path / "a")).values()} == {("png",)}


class Unreadable:
    """A source whose rows nobody may ask for again."""

    unit, class_names, findings = "images", [], Findings()

    def __init__(self, source):
        self.fingerprint = source.fingerprint

    def tasks(self, rows, held_out_fraction):
        raise AssertionError

    def rows(self, task):
        raise AssertionError("an image was read again")


def test_a_task_whose_record_is_there_is_not_run_again(folder, tmp_path):
    artifact, records = packed(images(folder), tmp_path / "a")
    source, before = open_source(images(folder), None), artifact.records("")
    for task, record in zip(source.tasks(16, 0.25), records, strict=True):
        again = pack_task(artifact, Unreadable(source), declare(images(folder)), task)
        assert PackedTask.model_validate_json(again) == record
    assert artifact.records("") == before


def test_a_source_that_changed_under_a_pack_is_refused(folder, tmp_path):
    packed(images(folder), tmp_path / "a")
    (folder / "class 0" / "new.png").write_bytes(picture())
    with pytest.raises(DataError, match="the source has changed since this pack began: raise its `revision`"):
        packed(images(folder), tmp_path / "a")


@pytest.mark.parametrize("lost", [".json", ".index", ".tar"])
def test_a_task_that_was_cut_off_is_finished_with_the_same_bytes(folder, tmp_path, lost):
    whole, records = packed(images(folder), tmp_path / "a")
    torn, _ = packed(images(folder), tmp_path / "b")
    for name in list(torn.names()):
        if name.endswith((".json", lost)):
            torn.store.delete(torn.key(name))
    again, found = packed(images(folder), tmp_path / "b")
    assert again.records("") == whole.records("")
    assert found == records


def test_bad_images_up_to_the_limit_are_left_out_and_named(folder, tmp_path):
    bad = folder / "class 1" / "img.01 (copy).PNG"
    bad.write_bytes(b"not an image")
    artifact, records = packed(images(folder), tmp_path / "a", bad_sample_limit=1)
    assert list(rejected_of(records)) == ["class 1_img_01 (copy)"]
    assert str(bad) in rejected_of(records)["class 1_img_01 (copy)"]
    assert len(samples_of(artifact, records)) == 39


@pytest.mark.parametrize("limit", [0, 2])
def test_one_bad_image_more_than_the_limit_fails_with_its_place(folder, tmp_path, limit):
    for path in sorted(folder.rglob("*.PNG"))[: limit + 1]:
        path.write_bytes(b"")
    expected = (
        rf"img.*: expected an image, got 0 bytes.*\({limit + 1} images rejected so far, bad_sample_limit {limit}\)"
    )
    with pytest.raises(DataError, match=expected):
        packed(images(folder), tmp_path / "a", bad_sample_limit=limit, samples_per_shard=64, held_out_fraction=0)
    assert Artifact(open_store(str(tmp_path / "a")), "packed").names() == []


def test_keys_stay_whole_for_webdataset_whatever_dots_and_blanks_the_files_names_have(folder, tmp_path):
    packed(images(folder), tmp_path / "a")
    shards = sorted(str(path) for path in (tmp_path / "a").rglob("*.tar"))
    read = list(webdataset.WebDataset(shards, shardshuffle=False))
    expected = {f"class {number % 4}_img_{number:02d} (copy)" for number in range(40)}
    assert {row["__key__"] for row in read} == expected
    assert all(render(row["png"], row["__key__"]).shape == (8, 8, 3) for row in read)


def test_files_whose_keys_would_be_equal_get_different_ones(tmp_path):
    paths = ["a.b.png", "a/b.png", "a_b.PNG", "a_b.jpg", "a_b.png", "a_b_png.png"]
    names = unique_names(paths)
    assert len(set(names)) == len(paths)
    assert names[0] == "a_b"
    assert not any("." in name or "/" in name for name in names)


def test_class_numbers_follow_the_sorted_names_of_the_folders(tmp_path):
    names = ["zebra", "ape", "Übung", "10", "9"]
    for name in names:
        (tmp_path / name / "deeper").mkdir(parents=True)
        (tmp_path / name / "deeper" / "x.webp").write_bytes(b"")
    source = open_source(images(tmp_path, class_per_folder=True), None)
    assert source.class_names == sorted(names)
    (task,) = source.tasks(16, 0)
    labels = {row.place.split("/")[-3]: row.label for row in source.rows(task)}
    assert labels == {name: number for number, name in enumerate(sorted(names))}


def test_a_loose_file_among_class_folders_is_refused_by_name(folder):
    (folder / "loose.png").write_bytes(picture())
    with pytest.raises(DataError, match=r"loose\.png: expected a folder a class"):
        open_source(images(folder, class_per_folder=True), None)


def test_a_folder_without_images_is_refused_with_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match=r"expected image files \(\.jpg, \.jpeg, \.png, .*\.tiff\), found none"):
            open_source(images(place), None)


def test_the_digits_are_scikit_learns_in_full_range_with_their_classes():
    source = open_source(SklearnDigits(), None)
    rows = [row for task in source.tasks(1000, 0.2) for row in source.rows(task)]
    assert len({row.key for row in rows}) == len(rows) == 1797
    assert {row.label for row in rows} == set(range(10)) == {int(name) for name in source.class_names}
    found = np.stack([render(row.image, row.key) for row in random.Random(0).sample(rows, 100)])
    assert found.shape == (100, 8, 8, 3)
    assert (found.min(), found.max()) == (0, 255)


class Rows:
    """A source that is a list."""

    unit, class_names, fingerprint, findings = "images", [], "rows", Findings()

    def __init__(self, rows):
        self._rows = rows

    def tasks(self, rows, held_out_fraction):
        return [Task(0, 0, 0, len(self._rows), len(self._rows))]

    def rows(self, task):
        return iter(self._rows)


def pack_rows(rows, target, **changes):
    artifact = Artifact(open_store(str(target)), "packed")
    source = Rows(rows)
    declared = declare(SklearnDigits(), bad_sample_limit=99, **changes)
    record = PackedTask.model_validate_json(pack_task(artifact, source, declared, source.tasks(1, 0)[0]))
    return artifact, [record]


def test_a_task_with_many_rows_writes_several_shards_of_each_split(tmp_path, monkeypatch):
    rows = [Row(f"{number:03d}", "here", picture(number)) for number in range(100)]
    artifact, records = pack_rows(rows, tmp_path / "by-count")
    assert sorted(samples_of(artifact, records)) == [row.key for row in rows]
    names = {shard.path: shard.samples for shard in records[0].shards if shard.split == TRAIN}
    assert list(names)[:2] == ["shards/train-000000.tar", "shards/train-000000-001.tar"]
    assert set(list(names.values())[:-1]) == {16}
    monkeypatch.setattr(packing, "SHARD_BYTES", 1000)
    _, by_size = pack_rows(rows, tmp_path / "by-size")
    assert all(file.bytes < 12_000 for file in by_size[0].files)
    assert len(by_size[0].shards) > len(records[0].shards)


def test_a_key_that_comes_twice_in_a_task_is_rejected_by_name_and_the_first_stands(tmp_path):
    rows = [Row("a", "first", picture(1)), Row("a", "second", picture(2)), Row("b", "third", picture(3))]
    artifact, records = pack_rows(rows, tmp_path)
    assert rejected_of(records) == {"a": "second: expected keys that differ, got 'a' a second time"}
    assert set(samples_of(artifact, records)) == {"a", "b"}


@pytest.mark.parametrize("key", ["", "a.b", "../a", "/a", "a//b", "a\\b", "a\0"])
def test_a_key_that_readers_would_not_find_again_is_rejected(tmp_path, key):
    _, records = pack_rows([Row(key, "here", picture())], tmp_path)
    assert "here: expected a key" in rejected_of(records)[key]


def test_what_the_source_never_got_is_counted_apart_and_does_not_fail(tmp_path):
    rows = [Row("a", "here", picture()), *(Rejected(str(n), "404", counted=False) for n in range(200))]
    _, (record,) = pack_rows(rows, tmp_path)
    assert (record.rows, record.unavailable, record.rejected) == (201, 200, [])


def test_a_record_that_is_none_is_refused_by_name(folder, tmp_path):
    artifact, _ = packed(images(folder), tmp_path / "a")
    artifact.write("packed/000000.json", b"{}")
    with pytest.raises(DataError, match=r"packed/000000\.json: not a record of a packed task"):
        packed(images(folder), tmp_path / "a")


def test_another_packs_shards_can_be_packed_again(folder, tmp_path):
    artifact, records = packed(images(folder, class_per_folder=True), tmp_path / "a", image_size=9)
    again = packed(WebDatasetShards(uri=f"{artifact.uri}/shards"), tmp_path / "b", image_size=9)
    assert samples_of(*again) == samples_of(artifact, records)


def test_size_and_resize_are_declared_together():
    with pytest.raises(ValueError, match="expected an image_size with resize='square'"):
        Pack(source=SklearnDigits())
    with pytest.raises(ValueError, match="expected no image_size with resize='none', got 8"):
        Pack(source=SklearnDigits(), resize="none", image_size=8)


def gathered(tmp_path, tasks, **changes):
    """What the stage makes of its tasks' records."""
    declared = declare(images(tmp_path / "images"), **changes)
    job = Job(name="j", stages={"pack": declared})
    stage = resolve(job, Scale(), open_store(str(tmp_path / "store")))["pack"]
    together = Packed(stage, declared)
    for task in tasks:
        together.add(task.model_dump_json().encode())
    return together.outcome([])


def test_the_manifest_names_every_shard_every_reject_and_what_samples_have(folder, tmp_path):
    for path in sorted(folder.rglob("*.PNG"))[::20]:
        path.write_bytes(b"")
    artifact, records = packed(images(folder, class_per_folder=True), tmp_path / "a", bad_sample_limit=2)
    outcome = gathered(tmp_path, records, bad_sample_limit=2)
    assert sorted((f.path, f.sha256) for f in outcome.files) == sorted((f.path, f.sha256) for f in artifact.records(""))
    assert sum(shard.samples for shard in outcome.shards) == 38
    assert outcome.facts["members"] == {"cls": 38, "png": 38}
    assert outcome.facts["class_names"] == ["0", "1", "2", "3"]  # numbers, where the source has no names
    assert {row["key"] for row in outcome.facts["rejected"]} == set(rejected_of(records))
    assert (outcome.facts["image_size"], outcome.facts["resize"]) == (8, "square")


def test_the_limit_holds_for_all_tasks_together(folder, tmp_path):
    for path in sorted(folder.rglob("*.PNG"))[::14]:
        path.write_bytes(b"")
    _, records = packed(images(folder), tmp_path / "a", bad_sample_limit=2, samples_per_shard=8)
    assert max(len(record.rejected) for record in records) < 3
    with pytest.raises(
        DataError, match=r"expected an image, got 0 bytes.* \(3 images rejected so far, bad_sample_limit 2\)"
    ):
        gathered(tmp_path, records, bad_sample_limit=2)


def test_a_split_without_an_image_is_refused_in_the_end_too(folder, tmp_path):
    _, records = packed(images(folder), tmp_path / "a", held_out_fraction=0)
    with pytest.raises(DataError, match="expected images in the held_out split, got none of 40"):
        gathered(tmp_path, records)
    assert gathered(tmp_path, records, held_out_fraction=0).facts["rejected"] == []


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (["pack.held_out_fraction=0"], "pack.held_out_fraction: expected more than 0, as evaluate needs held-out"),
        (["pack.image_size=null", "pack.resize=none"], "train_autoencoder.view.image_size: expected a size, as pack"),
    ],
)
def test_what_later_stages_need_of_a_pack_is_asked_before_any_work(assignments, expected):
    job = load_job(str(Path(__file__).parents[3] / "jobs" / "digits.py"))
    stages = {name: stage.model_dump() for name, stage in job.stages.items()}
    for assignment in assignments:
        field, _, value = assignment.removeprefix("pack.").partition("=")
        stages["pack"][field] = {"null": None, "0": 0}.get(value, value)
    changed = Job.model_validate(job.model_dump() | {"stages": stages})
    with pytest.raises(ConfigError, match=expected):
        check(changed, Scale(), list(changed.stages))
