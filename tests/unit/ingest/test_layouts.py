"""Folders as people have them: what is taken, what is passed over and counted, splits, classes, captions, patterns."""

import os
from collections import Counter

import pytest
from sources import packed, picture, rejected_of, samples_of, tar_of

from rayograph.config import Columns, ImageFolder, ParquetTable, WebDatasetShards
from rayograph.errors import ConfigError, DataError
from rayograph.ingest.sources import Rejected, open_source
from rayograph.ingest.sources.below import Below, files_below
from rayograph.ingest.sources.folder import MOST_CAPTION_BYTES
from rayograph.ingest.sources.patterns import Pattern, split_pattern
from rayograph.runs.manifest import HELD_OUT, TRAIN
from rayograph.stages.pack import told_of

AS_IS = {"resize": "none", "image_size": None, "held_out_fraction": 0}


def rows_of(source):
    return [row for task in source.tasks(16, 0) for row in source.rows(task)]


def write(folder, *names, data=None):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number) if data is None else data)


def opened(folder, **changes):
    return open_source(ImageFolder(uri=str(folder), **changes), None)


def test_files_that_are_not_taken_are_counted_by_kind(tmp_path):
    write(tmp_path, "a.png", "b.PNG", "_DSC1.png")
    write(tmp_path, "x.svg", "d/y.SVG", "README", "d/Makefile", "odd.name with blanks", data=b"")
    write(tmp_path, ".hidden.png", "._a.png", "__MACOSX/a.png", ".ipynb_checkpoints/a.png", "@eaDir/a.png/b.png")
    write(tmp_path, ".Trash-1000/files/a.png", "_temporary/0/a.png", "Thumbs.db", "d/desktop.ini", ".DS_Store")
    source = opened(tmp_path)
    assert sorted(row.key for row in rows_of(source)) == ["_DSC1", "a", "b"]
    assert source.findings.passed_over == {
        ".svg": 2,
        "no extension": 3,
        "hidden": 1,
        "._*": 1,
        "__MACOSX": 1,
        ".ipynb_checkpoints": 1,
        "@eaDir": 1,
        ".Trash*": 1,
        "_temporary": 1,
        "Thumbs.db": 1,
        "desktop.ini": 1,
        ".DS_Store": 1,
    }
    (line,) = told_of(source.findings, 0)
    assert line.startswith("files passed over: no extension 3, .svg 2, ")


def test_kinds_are_few_however_many_endings_there_are(tmp_path):
    write(tmp_path, "a.png")
    write(tmp_path, *(f"x.{number:04d}" for number in range(200)), data=b"")
    found = opened(tmp_path).findings.passed_over
    assert sum(found.values()) == 200
    assert len(found) == 65


def test_a_folder_without_an_image_says_what_is_there(tmp_path):
    write(tmp_path, "a.svg", "b.txt", data=b"")
    with pytest.raises(DataError, match=r"expected image files \(.*\), found none but \.svg 1, \.txt 1"):
        opened(tmp_path)


def test_a_name_that_is_no_utf8_is_accepted_under_an_escaped_key(tmp_path, tmp_path_factory):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:
        file.write(picture(1))
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "wb") as file:
        file.write(b"coffee\n")
    write(tmp_path, "fine.png")
    found = samples_of(*packed(ImageFolder(uri=str(tmp_path)), tmp_path_factory.mktemp("out"), **AS_IS))
    assert set(found) == {"caf_xe9", "fine"}
    assert found["caf_xe9"] == {"png": picture(1), "txt": b"coffee"}


def test_what_is_no_regular_file_is_not_read(tmp_path):
    write(tmp_path, "a.png", "folder.png/b.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "missing")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    assert sorted(row.key for row in rows_of(opened(tmp_path))) == ["a", "folder_png_b"]


def test_a_text_beside_an_image_is_its_caption(tmp_path):
    write(tmp_path, "photo.png", "d/photo.PNG", "empty.png", "bare.png")
    for name, text in {"photo": "a cat\n", "d/photo": "\ufeffa dog, été", "empty": "\n", "alone": "?"}.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    source = opened(tmp_path)
    captions = {row.key: row.caption for row in rows_of(source)}
    assert captions == {"photo": "a cat", "d_photo": "a dog, été", "empty": "", "bare": None}
    assert source.findings.passed_over == {".txt without an image": 1}
    assert source.findings.notes == ("3 images have a caption beside them (.txt), 1 have none",)


def test_a_caption_file_that_is_no_text_is_its_images_rejection(tmp_path):
    write(tmp_path, "a.png", "b.png")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    rows = {row.key: row for row in rows_of(opened(tmp_path))}
    assert "a.txt: expected a caption in UTF-8" in rows["a"].reason
    assert rows["b"].caption is None


def test_a_text_that_is_too_long_for_a_caption_is_never_read(tmp_path):
    write(tmp_path, "a.png", "b.png")
    (tmp_path / "a.txt").write_bytes(b"x" * (MOST_CAPTION_BYTES + 1))
    (tmp_path / "b.txt").write_bytes(b"x" * MOST_CAPTION_BYTES)
    rows = {row.key: row for row in rows_of(opened(tmp_path))}
    assert rows["a"].reason == f"{tmp_path}/a.txt: expected a caption of at most 1,048,576 bytes, got 1,048,577"
    assert len(rows["b"].caption) == MOST_CAPTION_BYTES


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "VAL"), ("train", "valid"), ("train", "validation")])
def test_folders_called_so_are_splits_and_classes_lie_in_them(tmp_path, tmp_path_factory, names):
    train, held_out = names
    write(tmp_path, f"{train}/cat/1.png", f"{train}/dog/2.png", f"{held_out}/dog/3.png", f"{held_out}/cat/1.png")
    source = opened(tmp_path, class_per_folder=True)
    assert source.class_names == ["cat", "dog"]
    found = {row.key: (row.label, row.split) for row in rows_of(source)}
    assert found == {
        f"{train}_cat_1": (0, TRAIN),
        f"{train}_dog_2": (1, TRAIN),
        f"{held_out}_dog_3": (1, HELD_OUT),
        f"{held_out}_cat_1": (0, HELD_OUT),
    }
    (note,) = source.findings.notes
    assert note.startswith(f"folders as splits: {train} for training, {held_out} held out")
    for fraction in (0, 0.5):
        declared = ImageFolder(uri=str(tmp_path), class_per_folder=True)
        _, records = packed(declared, tmp_path_factory.mktemp("out"), **AS_IS | {"held_out_fraction": fraction})
        counts = Counter()
        for record in records:
            counts.update({shard.split: shard.samples for shard in record.shards})
        assert counts == {TRAIN: 2, HELD_OUT: 2}


def test_a_train_folder_alone_holds_the_classes_and_keys_say_what_is_held_out(tmp_path):
    write(tmp_path, *(f"train/{name}/{n}.png" for name in ("cat", "dog") for n in range(9)))
    source = opened(tmp_path, class_per_folder=True)
    assert source.class_names == ["cat", "dog"]
    assert {row.split for row in rows_of(source)} == {None}


def test_folders_that_are_classes_stay_classes(tmp_path):
    write(tmp_path, "train/1.png", "car/2.png", "bus/3.png")
    assert opened(tmp_path, class_per_folder=True).class_names == ["bus", "car", "train"]
    write(tmp_path, "test/4.png")
    with pytest.raises(
        DataError, match=r"expected splits or other folders, got test, train beside bus: .*split_folders"
    ):
        opened(tmp_path, class_per_folder=True)
    assert len(opened(tmp_path, class_per_folder=True, split_folders=False).class_names) == 4


def test_splits_without_classes_and_what_does_not_fit_them(tmp_path):
    write(tmp_path, "train/1.png", "test/2.png")
    assert {row.key: row.split for row in rows_of(opened(tmp_path))} == {"train_1": TRAIN, "test_2": HELD_OUT}
    assert {row.split for row in rows_of(opened(tmp_path, split_folders=False))} == {None}
    with pytest.raises(
        DataError, match=r"test/2\.png: expected a folder a class \(class_per_folder\) below each split"
    ):
        opened(tmp_path, class_per_folder=True)
    write(tmp_path, "loose.png")
    with pytest.raises(DataError, match=r"expected splits' folders \(split_folders=True\), got files beside them"):
        opened(tmp_path, split_folders=True)
    assert {row.split for row in rows_of(opened(tmp_path))} == {None}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["0", "1", "10", "2"], ["0", "1", "2", "10"]),
        ([*"0123456789", "10", "11"], [str(n) for n in range(12)]),
        (["007", "7", "08"], ["007", "7", "08"]),
        (["10", "9", "ape"], ["10", "9", "ape"]),
    ],
)
def test_numeric_class_folders_are_numbered_by_value(tmp_path, names, expected):
    write(tmp_path, *(f"{name}/{name}.png" for name in names))
    source = opened(tmp_path, class_per_folder=True)
    assert source.class_names == expected
    assert {row.place.split("/")[-2]: row.label for row in rows_of(source)} == {
        name: number for number, name in enumerate(expected)
    }


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.tar", {"00000.tar", "00001.tar", "00002.tar", "x[1].tar"}),
        ("0000?.tar", {"00000.tar", "00001.tar", "00002.tar"}),
        ("0000[0-1].tar", {"00000.tar", "00001.tar"}),
        ("0000[!0].tar", {"00001.tar", "00002.tar"}),
        ("{00000..00002}.tar", {"00000.tar", "00001.tar", "00002.tar"}),
        ("{00000,sub/deep/00003}.tar", {"00000.tar", "sub/deep/00003.tar"}),
        ("**/*.tar", {"00000.tar", "00001.tar", "00002.tar", "x[1].tar", "sub/deep/00003.tar"}),
        ("s*", {"sub/deep/00003.tar"}),
        ("*/deep", {"sub/deep/00003.tar"}),
        ("x[1].tar", {"x[1].tar"}),
    ],
)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_patterns_mean_what_shells_mean_and_a_literal_name_comes_first(tmp_path, pattern, expected, scheme):
    names = ["00000.tar", "00001.tar", "00002.tar", "x[1].tar", "sub/deep/00003.tar", "sub/.hidden.tar", "sub/a.txt"]
    write(tmp_path, *names, data=b"")
    _, files, _ = files_below(f"{scheme}{tmp_path}/{pattern}", None, ".tar")
    assert {key for key, _ in files} == expected


def test_patterns_work_for_every_source(tmp_path, moto_s3):
    write(tmp_path, "a1.png", "a2.png", "b/c/d3.png", "e[4].png")
    keys = {row.key for row in rows_of(opened(tmp_path / "{a[0-1],b/**/d?}.png"))}
    assert keys == {"a1", "b_c_d3"}
    assert [row.key for row in rows_of(opened(tmp_path / "b*"))] == ["b_c_d3"]
    for number in range(3):
        tar_of(tmp_path / f"{number:05d}.tar", [(f"{number}.png", picture())])
    tars = open_source(WebDatasetShards(uri=f"{tmp_path}/{{00000..00001}}.tar"), None)
    assert [row.key for row in rows_of(tars)] == ["0", "1"]
    bucket = moto_s3.new_bucket()
    store = Below(bucket, moto_s3.endpoint_url).store
    for name in ("x/1.png", "x/2.png", "x/y/3.png", "z{1}.png"):
        store.put(name, picture())
    for pattern, expected in {"x/?.png": {"1", "2"}, "x/**": {"1", "2", "y_3"}, "x/{1,2}.png": {"1", "2"}}.items():
        source = open_source(ImageFolder(uri=f"{bucket}/{pattern}"), moto_s3.endpoint_url)
        assert {row.key for row in rows_of(source)} == expected


def test_a_name_of_braces_that_is_missing_is_named(tmp_path):
    write(tmp_path, "00000.tar", "00002.tar", data=b"")
    with pytest.raises(DataError, match=r"expected .*/00001\.tar, found no such file \(2 are missing\)"):
        files_below(f"{tmp_path}/{{00000..00003}}.tar", None, ".tar")
    with pytest.raises(ConfigError, match="stand for at most 1,000,000 names"):
        Pattern("{0..1000000}.tar")
    with pytest.raises(ConfigError, match="expected braces that match"):
        Pattern("{a,b}{c.tar")
    with pytest.raises(DataError, match=r"expected files \(\.tar\), found none"):
        files_below(f"{tmp_path}/{{7..9}}.tar", None, ".tar")


def test_only_what_looks_like_a_pattern_is_one():
    assert split_pattern("s3://b/plain{name}/[x") is None
    assert split_pattern("s3://b/a/x-*.tar") == ("s3://b/a", "x-*.tar")
    assert split_pattern("*.tar") == (".", "*.tar")
    assert split_pattern("/*/a") == ("/", "*/a")


def test_commands_are_refused_with_a_reason():
    for kind in (ImageFolder, ParquetTable, WebDatasetShards):
        with pytest.raises(
            ValueError, match=r"pipe:curl x: expected a folder, file or URI, got a command: none is run"
        ):
            kind(uri="pipe:curl x")


def test_a_listed_key_is_read_as_it_is_whatever_it_looks_like(tmp_path, moto_s3):
    bucket = moto_s3.new_bucket()
    store = Below(bucket, moto_s3.endpoint_url).store
    keys = ["~/a.png", "http:/x.png", "s3:/b/c.png", "a b%20c.png", "été.png", "x?y.png", "[1].png", "*.png"]
    for number, key in enumerate(keys):
        store.put(f"in/{key}", picture(number))
    rows = rows_of(open_source(ImageFolder(uri=f"{bucket}/in"), moto_s3.endpoint_url))
    assert {row.place.removeprefix(f"{bucket}/in/"): row.image for row in rows} == {
        key: picture(number) for number, key in enumerate(keys)
    }


def test_any_exception_of_a_file_is_its_rejection(tmp_path, tmp_path_factory, monkeypatch):
    write(tmp_path, "a.png", "b.png")

    def failing(row, declared, images):
        if row.key == "a":
            raise OverflowError(f"too\nlarge {object()} \ud800")
        return plain(row, declared, images)

    from rayograph.ingest import packing

    plain = packing.to_sample
    monkeypatch.setattr(packing, "to_sample", failing)
    artifact, records = packed(
        ImageFolder(uri=str(tmp_path)), tmp_path_factory.mktemp("out"), bad_sample_limit=1, **AS_IS
    )
    assert set(samples_of(artifact, records)) == {"b"}
    assert rejected_of(records) == {"a": rf"{tmp_path}/a.png: OverflowError: too large <object object at 0x…> \ud800"}
    with pytest.raises(DataError, match=r"a\.png: OverflowError: .* \(1 images rejected so far, bad_sample_limit 0\)"):
        packed(ImageFolder(uri=str(tmp_path)), tmp_path_factory.mktemp("out"), **AS_IS)


def test_hidden_parquet_and_tars_are_ignored_and_others_counted(tmp_path):
    write(tmp_path, "_SUCCESS", "_metadata", ".a.tar.crc", "._a.tar", "_temporary/b.tar", "stats.json", data=b"")
    tar_of(tmp_path / "a.tar", [("1.png", picture())])
    source = open_source(WebDatasetShards(uri=str(tmp_path), columns=Columns()), None)
    assert [row.key for row in rows_of(source) if not isinstance(row, Rejected)] == ["1"]
    assert source.findings.passed_over == {
        "_SUCCESS": 1,
        "_metadata": 1,
        "hidden": 1,
        "._*": 1,
        "_temporary": 1,
        ".json": 1,
    }
