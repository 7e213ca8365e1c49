"""What pack makes of odd pictures and of oddly named ones, and what its record says of it."""

import io
import os
import struct
from functools import partial

import numpy as np
import pytest
from PIL import Image
from sources import declare, packed, rejected_of, samples_of, tar_of

from rayograph.config import ImageFolder, ParquetTable, WebDatasetShards
from rayograph.ingest.columns import image_of
from rayograph.ingest.sources import Rejected, open_source
from rayograph.ingest.sources.tables import unnamed
from rayograph.shards.pixels.colour import _PRIMARIES, matrix_profile
from rayograph.shards.pixels.decode import render
from rayograph.shards.sample import Sample
from rayograph.storage import open_store

AS_IS = {"resize": "none", "image_size": None, "held_out_fraction": 0}
P3 = matrix_profile(_PRIMARIES[12], None)
GREEN = np.full((8, 8, 3), (30, 160, 60), np.uint8)


def encoded(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def counted(records):
    return {name: sum(record.images.get(name, 0) for record in records) for record in records for name in record.images}


@pytest.mark.parametrize(("background", "seen"), [("white", (255, 127, 127)), ("#00ff00", (128, 127, 0))])
def test_transparent_pictures_are_packed_over_the_declared_background(tmp_path, background, seen):
    (tmp_path / "in").mkdir()
    red = np.full((8, 8, 4), (255, 0, 0, 128), np.uint8)
    for kind in ("png", "webp", "tiff"):
        options = {"lossless": True, "exact": True} if kind == "webp" else {}
        (tmp_path / "in" / f"{kind}.{kind}").write_bytes(encoded(red, kind.upper(), **options))
    for changes in ({}, AS_IS):
        source = ImageFolder(uri=str(tmp_path / "in"))
        changes = {"held_out_fraction": 0, "background": background} | changes
        found = samples_of(*(made := packed(source, tmp_path / f"out-{len(changes)}", **changes)))
        assert set(found) == {"png", "webp", "tiff"}
        for members in found.values():
            assert np.abs(render(members["png"], "a") - np.array(seen)).max() <= 1
        assert counted(made[1]) == {"composited": 3}
    assert declare(source, background="white").model_dump() != declare(source, background="#00ff00").model_dump()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_picture_of_wide_colours_that_is_kept_as_it_is_is_converted_by_whoever_reads_it(tmp_path, kind):
    (tmp_path / "in").mkdir()
    options = {"jpeg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(kind, {})
    data = encoded(GREEN, kind.upper(), icc_profile=P3, **options)
    (tmp_path / "in" / f"a.{kind}").write_bytes(data)
    artifact, records = packed(ImageFolder(uri=str(tmp_path / "in")), tmp_path / "out", **AS_IS)
    members = samples_of(artifact, records)["a"]
    assert members == {{"jpeg": "jpg"}.get(kind, kind): data}
    found = set()
    shown = render(*image_of(Sample("a", members)), found=found)
    assert np.abs(shown - np.array((0, 163, 41))).max() <= 2
    assert found == {"converted"}
    assert counted(records) == {"converted": 1}


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_of_an_animation_the_first_picture_is_packed_and_counted(tmp_path, kind):
    (tmp_path / "in").mkdir()
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 0, 250)))
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=[second], duration=100)
    (tmp_path / "in" / f"a.{kind.lower()}").write_bytes(buffer.getvalue())
    (tmp_path / "in" / "still.png").write_bytes(encoded(GREEN))
    artifact, records = packed(ImageFolder(uri=str(tmp_path / "in")), tmp_path / "out", held_out_fraction=0)
    shown = render(samples_of(artifact, records)["a"]["png"], "a")
    assert np.abs(shown - np.array((250, 0, 0))).max() <= 12
    assert counted(records) == {"animated": 1}


def test_colours_that_an_avif_names_by_number_are_converted():
    data = bytearray(encoded(GREEN, "AVIF", quality=100, subsampling="4:4:4"))
    at = data.index(b"colrnclx") + 8
    assert struct.unpack_from(">HH", data, at) == (1, 13)
    assert np.abs(render(bytes(data), "a") - GREEN.astype(int)).max() <= 3
    struct.pack_into(">HH", data, at, 12, 13)  # Display P3
    found = set()
    assert np.abs(render(bytes(data), "a", found=found) - np.array((0, 163, 41))).max() <= 3
    assert found == {"converted"}


def test_pipes_and_devices_among_the_files_are_no_files_and_hold_nothing_up(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(GREEN))
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink("/dev/zero", tmp_path / "zero.png")
    (tmp_path / "table.csv").write_text("file_name\na.png\npipe.png\nzero.png\n")
    folder = open_source(ImageFolder(uri=str(tmp_path)), None)
    assert [row.key for task in folder.tasks(16, 0) for row in folder.rows(task)] == ["a"]
    table = open_source(ImageFolder(uri=str(tmp_path), metadata="table.csv"), None)
    rows = {row.key: row for task in table.tasks(16, 0) for row in table.rows(task)}
    assert rows["a"].image == encoded(GREEN)
    for name in ("pipe", "zero"):
        assert rows[name].reason == f"{tmp_path}/{name}.png: expected an image, found no such file"


ODD = (
    *("p//x.png", "a/../y.png", "../y.png", "./x.png", "~.png", "~/x.png", "s3://other/key.png", "/lead.png"),
    *("https://host/x.png", "file:///etc/hostname.png", "%2e.png", "a b+c.png", "é.png", "*?[0].png", "x\\y.png"),
)


@pytest.fixture
def bucket(moto_s3):
    """Pictures under odd keys below p/, each of its own colour, and others outside."""
    uri = moto_s3.new_bucket()
    client, name = moto_s3._client, uri.removeprefix("s3://")
    colours = {key: encoded(np.full((4, 4, 3), 16 * n, np.uint8)) for n, key in enumerate(ODD)}
    for key, data in colours.items():
        client.put_object(Bucket=name, Key=f"p/{key}", Body=data)
    client.put_object(Bucket=name, Key="y.png", Body=b"outside")
    return uri, partial(client.put_object, Bucket=name), colours


def rows_of(source):
    return [row for task in source.tasks(64, 0) for row in source.rows(task)]


def test_a_folder_of_an_object_store_is_its_keys_whatever_they_look_like(moto_s3, bucket):
    uri, _, colours = bucket
    rows = rows_of(open_source(ImageFolder(uri=f"{uri}/p"), moto_s3.endpoint_url))
    assert sorted(row.image for row in rows) == sorted(colours.values())
    assert len({row.key for row in rows}) == len(colours)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_of_a_table_in_an_object_store_reach_what_lies_below_it_and_no_more(moto_s3, bucket, kind, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    uri, put, colours = bucket
    below = [key for key in ODD if not key.startswith(("../", "s3://", "https://", "file://", "/"))]
    names = [
        *below,
        "../y.png",
        "/lead.png",
        "s3://other/key.png",
        "file:///etc/hostname",
        f"{uri}/y.png",
        f"{uri}/p/%2e.png",
    ]
    if kind == "csv":
        put(Key="p/t.csv", Body=("file_name\n" + "\n".join(names) + "\n").encode())
        declared = ImageFolder(uri=f"{uri}/p", metadata="t.csv")
    else:
        pq.write_table(pa.table({"file_name": names[:-2] + names[-2:]}).rename_columns(["uri"]), tmp_path / "t.parquet")
        put(Key="p/t.parquet", Body=(tmp_path / "t.parquet").read_bytes())
        declared = ParquetTable(uri=f"{uri}/p/t.parquet")
    rows = rows_of(open_source(declared, moto_s3.endpoint_url))
    read = [row for row in rows if not isinstance(row, Rejected)]
    # A path is a path: a/../y.png and ./x.png are y.png and x.png, which are not there.
    plain = [key for key in below if key not in ("a/../y.png", "./x.png")]
    assert sorted(row.image for row in read) == sorted([*(colours[key] for key in plain), colours["%2e.png"]])
    reasons = sorted(row.reason for row in rows if isinstance(row, Rejected))
    assert len(reasons) == 7
    assert sum("found no such file" in reason for reason in reasons) == 2
    assert sum(f"expected a file's name or URI below {uri}/p" in reason for reason in reasons) == 5
    assert not any(row.image == b"outside" for row in read)


def test_tars_under_odd_keys_are_packed(moto_s3, tmp_path):
    uri = moto_s3.new_bucket()
    store = open_store(uri, moto_s3.endpoint_url)
    for number, key in enumerate(("p//x.tar", "a/../y.tar", "~/z.tar", "s3://other/key.tar")):
        tar_of(tmp_path / "t.tar", [(f"{number}.png", encoded(GREEN))])
        moto_s3._client.put_object(Bucket=uri[5:], Key=f"in/{key}", Body=(tmp_path / "t.tar").read_bytes())
    assert len(list(store.list("in/"))) == 4
    artifact, records = packed(
        WebDatasetShards(uri=f"{uri}/in"), tmp_path / "out", moto_s3.endpoint_url, held_out_fraction=0
    )
    assert set(samples_of(artifact, records)) == {"0", "1", "2", "3"}
    assert rejected_of(records) == {}


def test_files_that_a_table_does_not_name_are_counted_by_kind(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.png", "b.png", "c.jpg", "sub/d.png", "sub/e.png", ".hidden.png", "notes.md", "old.csv"):
        (tmp_path / "in" / name).write_bytes(encoded(GREEN))
    (tmp_path / "in" / "t.csv").write_text(f"file_name\na.png\n./sub/d.png\n{tmp_path}/in/sub/../b.png\ngone.png\n")
    source = open_source(ImageFolder(uri=str(tmp_path / "in"), metadata="t.csv"), None)
    assert source.findings.passed_over == {
        ".jpg not in t.csv": 1,
        ".png not in t.csv": 1,
        "hidden": 1,
        ".md": 1,
        ".csv": 1,
    }
    assert source.findings.notes == ()


def test_a_table_above_a_whole_bucket_lists_no_more_than_a_few_files_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(unnamed, "_LISTED_AT_LEAST", 8)
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(encoded(GREEN))
    (tmp_path / "t.csv").write_text("file_name\n3.png\n")
    findings = open_source(ImageFolder(uri=str(tmp_path), metadata="t.csv"), None).findings
    assert findings.passed_over[".png not in t.csv"] in (8, 9)
    assert findings.notes == ("of the images below the table 8 were looked at; others are not counted",)
