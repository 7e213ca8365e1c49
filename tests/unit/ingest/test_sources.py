"""Sources as people have them: tables, folders with tables beside, tars; what they lack is said in one line."""

import json
import pickle
import re
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sources import encoded, packed, picture, pixels, rejected_of, samples_of, tar_of

from rayograph.config import Columns, ImageFolder, ParquetTable, WebDatasetShards
from rayograph.errors import DataError
from rayograph.ingest.sources import Rejected, open_source
from rayograph.ingest.sources.source import Row
from rayograph.shards.pixels.decode import render
from rayograph.shards.scan import scan_shard
from rayograph.storage import ObjectStore, open_store
from rayograph.storage.range_file import RangeFile

AS_IS = {"resize": "none", "image_size": None, "held_out_fraction": 0}


def rows_of(source):
    return [row for task in source.tasks(16, 0) for row in source.rows(task)]


@pytest.fixture
def folder(tmp_path):
    for number in range(6):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / f"{number:03d}.png").write_bytes(picture(number))
    return tmp_path / "images"


ROWS = [
    {
        "file_name": f"{n:03d}.png",
        "text": f'a "picture",\nnumber {n}',
        "label": "odd" if n % 2 else "even",
        "score": n / 2,
    }
    for n in range(6)
]


def write_table(folder, kind, rows):
    name = f"metadata.{kind}"
    if kind == "jsonl":
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "csv":
        quoted = [
            [json.dumps(str(value)).replace('\\"', '""').replace("\\n", "\n") for value in r.values()] for r in rows
        ]
        (folder / name).write_text("\n".join([",".join(rows[0]), *(",".join(values) for values in quoted)]) + "\n")
    else:
        pq.write_table(pa.Table.from_pylist(rows), folder / name)
    return name


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_beside_the_images_gives_captions_classes_and_the_rest(folder, tmp_path, kind):
    (folder / "not in the table.png").write_bytes(picture())
    name = write_table(folder, kind, ROWS)
    source = ImageFolder(uri=str(folder), metadata=name)
    assert open_source(source, None).class_names == ["even", "odd"]
    found = samples_of(*packed(source, tmp_path / "out", **AS_IS))
    assert sorted(found) == [f"{n:03d}" for n in range(6)]
    for number in range(6):
        members = found[f"{number:03d}"]
        assert members["png"] == picture(number)
        assert members["txt"].decode() == f'a "picture",\nnumber {number}'
        assert members["cls"] == str(number % 2).encode()
        assert json.loads(members["json"]) == {"score": number / 2}


def test_names_of_digits_keep_their_zeros_and_the_table_may_lie_deeper(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "007").write_bytes(picture())
    (tmp_path / "deep" / "t.CSV").write_text("file_name,key,text\n007,042,1\n")
    (row,) = rows_of(open_source(ImageFolder(uri=str(tmp_path), metadata="deep/t.CSV"), None))
    assert (row.key, row.image, row.caption) == ("042", picture(), "1")


def test_bad_rows_of_a_table_are_rejected_by_name_and_counted(folder, tmp_path):
    lines = [b"file_name,text", b"000.png,fine", b"001.png,\xff\xfe", b"nowhere.png,a", b",b", b"../x.png,c"]
    (folder / "m.csv").write_bytes(b"\n".join(lines) + b"\n")
    source = ImageFolder(uri=str(folder), metadata="m.csv")
    artifact, records = packed(source, tmp_path / "out", bad_sample_limit=4, **AS_IS)
    assert set(samples_of(artifact, records)) == {"000"}
    reasons = rejected_of(records)
    assert "001.png: expected a caption in UTF-8" in reasons["001"]
    assert "nowhere.png: expected an image, found no such file" in reasons["nowhere"]
    assert "expected a file's name or URI" in reasons["row-000003"]
    assert "expected a file's name or URI below" in reasons["___x"]
    with pytest.raises(DataError, match=r"4 images rejected so far, bad_sample_limit 3"):
        packed(source, tmp_path / "again", bad_sample_limit=3, **AS_IS)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("m.csv", b"file,text\na,b\n", r"m\.csv: expected a column of images \(.*\), got columns file, text"),
        ("m.csv", b"file_name\n", r"m\.csv: expected a row an image, found none"),
        ("m.csv", b"", r"m\.csv: expected a table: "),
        ("m.jsonl", b'{"file_name": 1\n', r"m\.jsonl row 0: expected a line of JSON: "),
        ("m.jsonl", b'[{"file_name": "000.png"}]', r"m\.jsonl: expected an object a line, got a list"),
        ("m.parquet", b"PAR1", r"m\.parquet: expected a table: "),
        ("m.csv", b"file_name,key\n000.png,a\n001.png,a\n", r"m\.csv row 1: .* got 'a', as .*m\.csv row 0 has it"),
        ("m.csv", b"file_name\n000.png\n000.png\n", r"m\.csv row 1: .* got '000', as .*m\.csv row 0 has it"),
    ],
)
def test_a_table_of_no_use_is_refused_in_one_line(folder, name, data, reason):
    (folder / name).write_bytes(data)
    with pytest.raises(DataError, match=reason) as refused:
        open_source(ImageFolder(uri=str(folder), metadata=name), None)
    assert "\n" not in str(refused.value)


def test_declarations_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"expected a name that ends in \.csv, \.jsonl, \.parquet, got 'm\.xlsx'"):
        ImageFolder(uri="/x", metadata="m.xlsx")
    with pytest.raises(ValueError, match="expected metadata beside it"):
        ImageFolder(uri="/x", columns=Columns(key="a"))
    for kind in (ImageFolder, ParquetTable, WebDatasetShards):
        with pytest.raises(ValueError, match="the web is not crawled: download with img2dataset first"):
            kind(uri="https://example.org/x")


def hugging_face(path, rows, **options):
    """As `datasets` writes it: images in structs, names of classes in the schema's metadata."""
    features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pa.table(
        {
            "image": pa.array(
                [{"bytes": picture(n), "path": f"{n}.png"} for n in rows],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "label": pa.array([n % 2 for n in rows], pa.int64()),
            "objects": [{"bbox": [[1.0, 1.0, 4.0, 4.0]], "category": [n]} for n in rows],
        }
    ).replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path, **options)


def test_hugging_faces_parquet(tmp_path):
    (tmp_path / "data").mkdir()
    hugging_face(tmp_path / "data" / "train-00000-of-00002.parquet", range(20), row_group_size=7)
    hugging_face(tmp_path / "data" / "train-00001-of-00002.parquet", range(20, 25))
    hugging_face(tmp_path / "data" / "test-00000-of-00001.parquet", [99])
    source = ParquetTable(uri=f"{tmp_path}/data/train-*.parquet")
    opened = open_source(source, None)
    assert opened.class_names == ["cat", "dog"]
    assert [task.size for task in opened.tasks(8, 0)] == [7, 7, 6, 5]
    assert [task.size for task in opened.tasks(14, 0)] == [14, 6, 5]
    artifact, records = packed(source, tmp_path / "out", samples_per_shard=5, **AS_IS)
    found = samples_of(artifact, records)
    assert found["train-00000-of-00002-000012"]["png"] == picture(12)
    assert found["train-00001-of-00002-000001"]["cls"] == b"1"
    assert json.loads(found["train-00001-of-00002-000001"]["json"])["labels"] == [21]
    assert len(found) == 25
    assert max(shard.samples for record in records for shard in record.shards) == 5


def test_img2datasets_parquet(tmp_path):
    rows = [
        {
            "url": f"https://example.org/{n}.jpg",
            "key": f"00000{n:04d}",
            "status": "success" if n else "failed_to_download",
            "error_message": None if n else "404",
            "caption": f"picture {n}",
            "width": 12,
            "sha256": "ab",
            "exif": None,
            "jpg": encoded(pixels(n), "JPEG") if n else None,
        }
        for n in range(5)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "00000.parquet")
    artifact, records = packed(ParquetTable(uri=str(tmp_path / "00000.parquet")), tmp_path / "out", **AS_IS)
    found = samples_of(artifact, records)
    assert sorted(found) == [f"00000{n:04d}" for n in range(1, 5)]
    assert found["000000003"]["jpg"] == encoded(pixels(3), "JPEG")
    assert found["000000003"]["txt"] == b"picture 3"
    assert json.loads(found["000000003"]["json"])["url"] == "https://example.org/3.jpg"
    assert [(record.unavailable, record.rejected) for record in records] == [(1, [])]


def test_addresses_relative_and_absolute_and_masks_beside_them(folder, tmp_path):
    (folder / "mask.png").write_bytes(encoded(np.full((9, 12), 3, np.uint8)))
    images = ["000.png", str(folder / "001.png"), f"file://{folder}/002.png", "./003.png", "missing.png"]
    pq.write_table(pa.table({"uri": images, "mask": ["mask.png"] * 5}), folder / "t.parquet")
    artifact, records = packed(ParquetTable(uri=str(folder)), tmp_path / "out", bad_sample_limit=1, **AS_IS)
    found = samples_of(artifact, records)
    assert [found[f"t-{n:06d}"]["png"] for n in range(4)] == [picture(n) for n in range(4)]
    assert {key: "found no such file" in reason for key, reason in rejected_of(records).items()} == {"t-000004": True}
    assert records[0].members == {"png": 4, "mask.png": 4}


def test_a_large_row_group_of_addresses_is_cut_into_tasks_with_the_same_rows(folder, tmp_path):
    pq.write_table(pa.table({"uri": [f"{n % 6:03d}.png" for n in range(100)]}), folder / "t.parquet")
    source = open_source(ParquetTable(uri=str(folder)), None)
    assert [(task.start, task.stop) for task in source.tasks(30, 0)] == [(0, 30), (30, 60), (60, 90), (90, 100)]
    assert len(source.tasks(1, 0)) == 15
    rows = [row for task in source.tasks(30, 0) for row in source.rows(task)]
    assert [row.key for row in rows] == [f"t-{n:06d}" for n in range(100)]
    assert [row.image for row in rows] == [picture(n % 6) for n in range(100)]


def test_addresses_in_the_web_fail_the_pack_at_once(tmp_path):
    pq.write_table(pa.table({"url": ["https://example.org/a.jpg"] * 9}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet row 0: .*the web is not crawled: download with img2dataset first"):
        packed(ParquetTable(uri=str(tmp_path)), tmp_path / "out", bad_sample_limit=99, **AS_IS)


@pytest.mark.parametrize(
    ("labels", "columns", "names", "expected"),
    [
        (["b", "a", "b"], {}, ["a", "b"], [1, 0, 1]),
        (["b", "a", "x"], {"class_names": ("b", "a")}, ["b", "a"], [0, 1, None]),
        ([2, 0, -1], {}, [], [2, 0, None]),
        ([1, 5, None], {"class_names": ("b", "a")}, ["b", "a"], [1, None, None]),
        ([1.0, 0.5, float("nan")], {}, [], [1, None, None]),
        (["b", "a", "b"], {"label": ""}, [], ["none"] * 3),
        (pa.array(["b", "a", "b"]).dictionary_encode(), {}, ["a", "b"], [1, 0, 1]),
    ],
)
def test_labels_become_numbers_or_are_rejected(tmp_path, labels, columns, names, expected):
    pq.write_table(pa.table({"image": [picture()] * 3, "label": labels}), tmp_path / "t.parquet")
    source = open_source(ParquetTable(uri=str(tmp_path), columns=Columns(**columns)), None)
    assert source.class_names == names
    rows = rows_of(source)
    found = [None if isinstance(row, Rejected) else "none" if row.label is None else row.label for row in rows]
    assert found == expected
    assert all("expected" in row.reason and "row" in row.reason for row in rows if isinstance(row, Rejected))


def test_a_caption_in_other_bytes_is_one_rows_fault_and_not_its_files(tmp_path):
    text = pa.Array.from_buffers(pa.string(), 2, pa.array([b"fine", b"\xff"]).buffers())
    pq.write_table(pa.table({"image": [picture()] * 2, "text": text, "other": text}), tmp_path / "t.parquet")
    fine, bad = rows_of(open_source(ParquetTable(uri=str(tmp_path)), None))
    assert fine.caption == "fine"
    assert "t.parquet row 1: expected a caption in UTF-8" in bad.reason


@pytest.mark.parametrize(
    ("table", "columns", "reason"),
    [
        ({"a": [1]}, {}, r"t\.parquet: expected a column of images \(image, jpg, .*\), got columns a"),
        (
            {"image": [b""]},
            {"caption": "title"},
            r"t\.parquet: expected a column 'title' \(caption\), got columns image",
        ),
        ({"image": [1]}, {}, r"t\.parquet: expected bytes, a struct of bytes or URIs in column 'image', got int64"),
    ],
)
def test_a_column_that_is_missing_is_named_with_those_there_are(tmp_path, table, columns, reason):
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=reason):
        open_source(ParquetTable(uri=str(tmp_path), columns=Columns(**columns)), None)


def test_files_of_other_columns_are_refused(tmp_path):
    pq.write_table(pa.table({"image": [b""], "text": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": [b""]}), tmp_path / "b.parquet")
    with pytest.raises(
        DataError, match=r"b\.parquet: expected a column 'text', as .*a\.parquet has it, got columns image"
    ):
        open_source(ParquetTable(uri=str(tmp_path)), None)


def test_a_broken_parquet_is_refused_by_name_whichever_part_is_broken(tmp_path):
    hugging_face(tmp_path / "t.parquet", range(9), compression="none")
    data = bytearray((tmp_path / "t.parquet").read_bytes())
    data[4:4000] = b"\xff" * 3996
    (tmp_path / "t.parquet").write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"t\.parquet: expected a parquet file: "):
        rows_of(open_source(ParquetTable(uri=str(tmp_path)), None))
    (tmp_path / "t.parquet").write_bytes(bytes(data[:-9]))
    with pytest.raises(DataError, match=r"t\.parquet: expected a parquet file: "):
        open_source(ParquetTable(uri=str(tmp_path)), None)
    with pytest.raises(DataError, match=r"expected files \(\.parquet\), found none"):
        open_source(ParquetTable(uri=str(tmp_path / "elsewhere")), None)


def test_of_a_large_file_only_what_is_asked_for_is_read(tmp_path, monkeypatch):
    images = [np.random.default_rng(n).bytes(100_000) for n in range(100)]
    table = pa.table({"image": images, "label": ["a", "b"] * 50})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=5)
    read, plain = [], ObjectStore.read_range

    def metered(store, key, start, length):
        read.append(length)
        return plain(store, key, start, length)

    monkeypatch.setattr(ObjectStore, "read_range", metered)
    store = open_store(str(tmp_path))
    with pq.ParquetFile(RangeFile(store, "t.parquet"), pre_buffer=False, buffer_size=4 << 20) as file:
        assert file.metadata.num_rows == 100
        assert sum(read) < 200_000
        list(file.iter_batches(columns=["label"]))
        assert sum(read) < 400_000
        next(file.iter_batches(5, row_groups=[3]))
        assert sum(read) < 2_000_000


def img2dataset_tar(path, numbers):
    members = []
    for n in numbers:
        key = f"{n:09d}"
        members += [(f"{key}.jpg", encoded(pixels(n), "JPEG")), (f"{key}.txt", f"picture {n}".encode())]
        members += [
            (f"{key}.json", json.dumps({"key": key, "caption": f"picture {n}", "width": 12, "x": [1]}).encode())
        ]
    tar_of(path, members)


def test_img2datasets_tars(tmp_path):
    (tmp_path / "in").mkdir()
    img2dataset_tar(tmp_path / "in" / "00000.tar", range(40))
    img2dataset_tar(tmp_path / "in" / "00001.tar", range(10_000, 10_003))
    (tmp_path / "in" / "00000.parquet").write_bytes(b"")
    source = WebDatasetShards(uri=str(tmp_path / "in"))
    artifact, records = packed(source, tmp_path / "out", **AS_IS)
    found = samples_of(artifact, records)
    assert [(record.rows, len(record.shards)) for record in records] == [(40, 3), (3, 1)]
    for n in (0, 39, 10_002):
        members = found[f"{n:09d}"]
        assert members["jpg"] == encoded(pixels(n), "JPEG")
        assert members["txt"] == f"picture {n}".encode()
        assert json.loads(members["json"])["x"] == [1]
    assert packed(source, tmp_path / "again", **AS_IS)[0].records("") == artifact.records("")


def test_a_tars_classes_boxes_and_masks_whatever_the_case_of_their_endings(tmp_path):
    tar_of(
        tmp_path / "a.tar",
        [
            ("d/one.PNG", picture()),
            ("d/one.cls", b"4"),
            ("d/one.Json", b'{"boxes": [[0, 0, 6, 9]], "score": NaN}'),
            ("d/one.seg.png", encoded(np.full((9, 12), 2, np.uint8))),
        ],
    )
    artifact, (record,) = packed(WebDatasetShards(uri=str(tmp_path / "a.tar")), tmp_path / "out", **AS_IS)
    members = samples_of(artifact, [record])["d/one"]
    assert members["png"] == picture()
    assert members["cls"] == b"4"
    assert (render(members["mask.png"], "mask") == 2).all()
    assert json.loads(members["json"]) == {"boxes": [[0.0, 0.0, 0.5, 1.0]], "score": None}
    assert record.classes == 5


def test_bad_samples_of_a_tar_are_rejected_by_name(tmp_path):
    tar_of(
        tmp_path / "a.tar",
        [
            *[("fine.png", picture()), ("fine.cls", b"cat")],
            *[("bare.txt", b"no image")],
            *[("lion.png", picture()), ("lion.cls", b"lion")],
            *[("other.png", picture()), ("other.txt", b"\xff")],
            *[("torn.png", picture()), ("torn.json", b"{")],
            *[("half.png", picture()[:99])],
        ],
    )
    source = WebDatasetShards(uri=str(tmp_path), columns=Columns(class_names=("cat",)))
    artifact, records = packed(source, tmp_path / "out", bad_sample_limit=5, **AS_IS)
    assert set(samples_of(artifact, records)) == {"fine"}
    reasons = rejected_of(records)
    assert re.search(r"bare: expected an image \(jpg, jpeg, png, .*, tiff\), got txt", reasons["bare"])
    assert "lion: expected one of 1 class names, got 'lion'" in reasons["lion"]
    assert "other: expected a caption in UTF-8" in reasons["other"]
    assert "torn: expected JSON" in reasons["torn"]
    assert "half: expected an image, got 99 bytes" in reasons["half"]


ODD_JSON = {
    "beyond": b'{"score": 1e999}',
    "infinite": b'{"score": -Infinity}',
    "deep": b'{"x": ' + b"[" * 200_000,
    "closed": b'{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "surrogate": b'{"text": "\\ud800"}',
    "digits": b'{"x": ' + b"9" * 5000 + b"}",
    "bytes": b'{"text": "\xff"}',
    "empty": b" ",
    "number": b'{"caption": 7}',
    "mapping": b'{"caption": {"en": "a cat"}}',
}


def test_odd_json_is_its_samples_rejection_by_name(tmp_path):
    """Of the kinds of json-1e999.tar and json-caption-list.tar."""
    members = [("fine.png", picture()), ("fine.json", b'{"caption": "", "score": NaN}')]
    members += [("list.png", picture()), ("list.json", b'{"caption": ["a cat", "a dog"]}')]
    for key, data in ODD_JSON.items():
        members += [(f"{key}.png", picture()), (f"{key}.json", data)]
    tar_of(tmp_path / "a.tar", members)
    source = WebDatasetShards(uri=str(tmp_path / "a.tar"))
    artifact, records = packed(source, tmp_path / "out", bad_sample_limit=len(ODD_JSON), **AS_IS)
    found, reasons = samples_of(artifact, records), rejected_of(records)
    assert set(found) == {"fine", "list"}
    assert (found["fine"]["txt"], found["list"]["txt"]) == (b"", b"a cat")
    assert set(reasons) == set(ODD_JSON)
    for key, reason in reasons.items():
        assert reason.startswith(f"{tmp_path}/a.tar: {key}: expected ")
        assert len(reason) < 600
        assert "\n" not in reason
    with pytest.raises(DataError, match=r"a\.tar: beyond: expected JSON in its member json: Out of range"):
        packed(source, tmp_path / "strict", **AS_IS)


def test_any_exception_of_one_sample_is_its_rejection(tmp_path, monkeypatch):
    tar_of(tmp_path / "a.tar", [("a.png", picture()), ("b.png", picture()), ("b.cls", b"1")])

    def failing(*_):
        raise OverflowError("too large\nby far")

    monkeypatch.setattr("rayograph.ingest.sources.labels.Labels.number", failing)
    rows = list(rows_of(open_source(WebDatasetShards(uri=str(tmp_path)), None)))
    assert [type(row) for row in rows] == [Row, Rejected]
    assert rows[1].reason == f"{tmp_path}/a.tar: b: OverflowError: too large by far"


def test_dots_and_dot_slashes_and_empty_captions_of_a_tar(tmp_path):
    """Of the kinds of dot-slash.tar, empty-caption.tar and dots-in-keys.tar."""
    tar_of(
        tmp_path / "a.tar",
        [("./1.png", picture()), ("./1.txt", b""), ("./2.5.png", picture()), ("./2.5.txt", b"torn"), ("3.png", b"")],
    )
    source = WebDatasetShards(uri=str(tmp_path))
    artifact, records = packed(source, tmp_path / "out", bad_sample_limit=2, **AS_IS)
    assert {key: members["txt"] for key, members in samples_of(artifact, records).items()} == {"1": b""}
    reasons = rejected_of(records)
    assert set(reasons) == {"2", "3"}
    assert "expected an image" in reasons["2"]
    assert "a key ends at the first dot" in reasons["2"]


def test_a_sidecar_that_no_longer_holds_is_not_believed(tmp_path):
    """Of the kind of stale-index/."""
    tar_of(tmp_path / "a.tar", [("1.png", picture())])
    store = open_store(str(tmp_path))
    store.put("a.index", scan_shard(store, "a.tar", ("png",)).to_bytes())
    source = WebDatasetShards(uri=str(tmp_path))
    assert [row.key for row in rows_of(open_source(source, None))] == ["1"]
    tar_of(tmp_path / "a.tar", [("1.png", picture()), ("2.png", picture())])
    assert [row.key for row in rows_of(open_source(source, None))] == ["1", "2"]
    size = store.size("a.tar")
    store.put("a.index", scan_shard(store, "a.tar", ("png",)).to_bytes())
    tar_of(tmp_path / "a.tar", [("3.png", picture()), ("4.png", picture())])
    assert store.size("a.tar") == size
    assert [row.key for row in rows_of(open_source(source, None))] == ["3", "4"]
    store.put("a.index", store.read("a.index")[:-20])
    assert [row.key for row in rows_of(open_source(source, None))] == ["3", "4"]


def test_a_tar_without_images_and_a_place_without_tars_are_refused(tmp_path):
    tar_of(tmp_path / "a.tar", [("a.txt", b"b")])
    with pytest.raises(DataError, match=r"a\.tar: expected images \(jpg, jpeg, png, .*, tiff\), got members txt"):
        rows_of(open_source(WebDatasetShards(uri=str(tmp_path)), None))
    with pytest.raises(DataError, match=r"expected files \(\.tar\), found none"):
        open_source(WebDatasetShards(uri=str(tmp_path / "none")), None)


def test_sources_travel_to_workers(folder, tmp_path):
    write_table(folder, "jsonl", ROWS)
    hugging_face(folder / "t.parquet", range(3))
    img2dataset_tar(folder / "t.tar", range(3))
    for declared in (
        ImageFolder(uri=str(folder), metadata="metadata.jsonl"),
        ParquetTable(uri=str(folder / "t.parquet")),
        WebDatasetShards(uri=str(folder / "t.tar")),
    ):
        source = open_source(declared, None)
        again = pickle.loads(pickle.dumps(source))  # noqa: S301 - ours
        assert again.fingerprint == source.fingerprint
        assert list(map(repr, rows_of(again))) == list(map(repr, rows_of(source)))


@pytest.mark.parametrize("scheme", ["s3", "memory"])
def test_sources_and_target_may_lie_in_any_store(moto_s3, folder, scheme):
    place = moto_s3.new_bucket() if scheme == "s3" else f"memory://{uuid4().hex}"
    store = open_store(place, moto_s3.endpoint_url)
    write_table(folder, "csv", ROWS)
    hugging_face(folder / "t.parquet", range(3))
    img2dataset_tar(folder / "t.tar", range(3))
    addresses = [f"{place}/in/000.png", "001.png"]
    pq.write_table(pa.table({"uri": addresses}), folder / "addresses.parquet")
    for path in folder.iterdir():
        store.put(f"in/{path.name}", path.read_bytes())
    for number, (declared, samples) in enumerate(
        [
            (ImageFolder(uri=f"{place}/in"), 6),
            (ImageFolder(uri=f"{place}/in", metadata="metadata.csv"), 6),
            (ParquetTable(uri=f"{place}/in/t.parquet"), 3),
            (ParquetTable(uri=f"{place}/in/addresses.parquet"), 2),
            (WebDatasetShards(uri=f"{place}/in/*.tar"), 3),
        ]
    ):
        artifact, records = packed(declared, f"{place}/out/{number}", moto_s3.endpoint_url, **AS_IS)
        assert len(samples_of(artifact, records)) == samples
