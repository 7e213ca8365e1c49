"""Tables as people write them: each oddity has the right reading, or one line that names file and row."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sources import encoded, packed, picture, rejected_of, samples_of

from rayograph.config import Columns, ImageFolder, ParquetTable
from rayograph.errors import DataError
from rayograph.ingest.sources import Rejected, open_source
from rayograph.ingest.sources.labels import class_order, labels_of_texts
from rayograph.ingest.sources.tables import csv_blocks, csv_tables, json_lines
from rayograph.runs.manifest import HELD_OUT, TRAIN
from rayograph.storage import open_store

AS_IS = {"resize": "none", "image_size": None, "held_out_fraction": 0}


def rows_of(source):
    return [row for task in source.tasks(16, 0) for row in source.rows(task)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for number, name in enumerate("abc"):
        (tmp_path / "in" / f"{name}.jpg").write_bytes(picture(number))
    return tmp_path / "in"


def table(folder, data, name="metadata.csv", **changes):
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return open_source(ImageFolder(uri=str(folder), metadata=name, **changes), None)


def captions(source):
    return {row.key: row.reason if isinstance(row, Rejected) else row.caption for row in rows_of(source)}


@pytest.mark.parametrize(
    "data",
    [
        b"file_name, caption\na.jpg, a cat\nb.jpg, two, or so\n".replace(b"two, or so", b'"two, or so"'),
        b'file_name;caption\na.jpg;a cat\nb.jpg;"two, or so"\n',
        b"file_name\tcaption\r\na.jpg\ta cat\r\nb.jpg\ttwo, or so\r\n",
        b"sep=|\n file_name |caption \na.jpg|a cat\nb.jpg|two, or so",
        b'\xef\xbb\xbffile_name,caption\ra.jpg,a cat\rb.jpg,"two, or so"\r',
        'file_name,caption\na.jpg,a cat\nb.jpg,"two, or so"\n'.encode("utf-16"),
        b'\n\nfile_name,caption,\na.jpg,a cat,\n\nb.jpg,"two, or so",,\n\n',
    ],
    ids=["blanks", "semicolons", "tabs", "sep", "mark and CR", "UTF-16", "empty lines and cells"],
)
def test_tables_of_every_make_are_read_alike(folder, data):
    assert captions(table(folder, data)) == {"a": "a cat", "b": "two, or so"}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ('a.jpg,"oops\nb.jpg,x\nc.jpg,y\n', r"metadata\.csv row 0 \(line 2\): expected quotes that close"),
        ('a.jpg,x\n\nb.jpg,"oops\nc.jpg,"y"\n', r"metadata\.csv row 1 \(line 4\): expected quotes that close"),
        (
            'a.jpg,"oops\nb.jpg,x\nc.jpg,y"\n',
            r"row 0 \(line 2\): expected quotes that close: one opens .* other images",
        ),
        ('a.jpg,x\nb.jpg,"a "big" cat"\n', r"metadata\.csv row 1 \(line 3\): expected quotes that close"),
    ],
)
def test_a_quote_that_does_not_close_is_named_by_the_row_where_it_opens(folder, rows, reason):
    with pytest.raises(DataError, match=reason) as refused:
        table(folder, "file_name,caption\n" + rows)
    assert "\n" not in str(refused.value)


def test_quotes_and_lines_within_a_caption_are_a_captions_own(folder):
    text = 'file_name,caption\na.jpg,"two\nlines, ""quoted"""\nb.jpg,5" of rain\n'
    assert captions(table(folder, text)) == {"a": 'two\nlines, "quoted"', "b": '5" of rain'}


@pytest.mark.parametrize(
    ("name", "data"),
    [("m.csv", b"file_name,caption, caption\na.jpg,b,c\n"), ("m.parquet", None)],
)
def test_a_column_that_stands_twice_is_named(folder, name, data):
    if data is None:
        pq.write_table(pa.table([["a.jpg"], ["b"], ["c"]], ["file_name", "caption", "caption"]), folder / "x.parquet")
        data = (folder / "x.parquet").read_bytes()
        with pytest.raises(DataError, match=r"x\.parquet: expected columns of different names, got 'caption' twice"):
            open_source(ParquetTable(uri=str(folder / "x.parquet")), None)
    with pytest.raises(DataError, match=rf"{name}: expected columns of different names, got 'caption' twice"):
        table(folder, data, name)


def test_rows_of_another_width_are_rejected_one_by_one(folder, tmp_path):
    (folder / "m.csv").write_text("file_name,caption\na.jpg,one, two\nb.jpg,fine\nc.jpg\n")
    source = ImageFolder(uri=str(folder), metadata="m.csv")
    artifact, records = packed(source, tmp_path / "out", bad_sample_limit=2, **AS_IS)
    assert set(samples_of(artifact, records)) == {"b"}
    assert rejected_of(records) == {
        "row-000000": f"{folder}/m.csv row 0: expected 2 cells, as the header has, got 3",
        "row-000002": f"{folder}/m.csv row 2: expected 2 cells, as the header has, got 1",
    }


ODD_LINES = {
    "deep": (b'{"file_name": "a.jpg", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "expected a line of JSON"),
    "torn": (b'{"file_name": "a.jpg"', "expected a line of JSON"),
    "list": (b"[1]", "expected a line of JSON: expected an object, got list"),
    "infinite": (b'{"file_name": "a.jpg", "x": -Infinity}', "expected a line of JSON: -Infinity is no number"),
    "beyond": (b'{"file_name": "a.jpg", "x": 1e999}', "Out of range float values"),
    "surrogate": (b'{"file_name": "\\ud800.jpg"}', "surrogates not allowed"),
    "caption": (b'{"file_name": "a.jpg", "text": "\\ud800"}', "surrogates not allowed"),
    "bytes": (b'{"file_name": "a.jpg", "text": "\xff"}', "expected a line of JSON: 'utf-8' codec"),
    "twice": (b'{"file_name": "a.jpg", "text": "a", "text": "b"}', "got 'text' twice"),
    "digits": (b'{"file_name": "a.jpg", "x": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
    "number": (b'{"file_name": 7}', "expected an image's bytes or URI, got int"),
    "mapping": (b'{"file_name": "a.jpg", "text": {"en": "cat"}}', "expected a caption that is text, got dict"),
    "date": (b'{"file_name": "a.jpg", "text": 2020}', "expected a caption that is text, got int"),
    "boxes": (b'{"file_name": "a.jpg", "boxes": [[1, 2, NaN, 4]]}', "expected boxes"),
    "label": (b'{"file_name": "a.jpg", "label": ' + b"9" * 30 + b"}", "expected a class below 1000000, got 999"),
    "label list": (b'{"file_name": "a.jpg", "label": [1]}', "expected a class below 1000000, got [1]"),
    "null": (b'{"file_name": null}', "expected an image's bytes or URI, got none"),
}


@pytest.mark.parametrize("kind", ODD_LINES)
def test_any_oddity_of_a_line_of_json_is_its_rejection_with_file_and_row(folder, tmp_path, kind):
    line, reason = ODD_LINES[kind]
    fine = b'{"file_name": "b.jpg", "label": 0, "text": "b"}'
    (folder / "m.jsonl").write_bytes(b"\xef\xbb\xbf" + fine + b"\r\n\n" + line + b"\n")
    source = ImageFolder(uri=str(folder), metadata="m.jsonl", columns=Columns(label=None if b"label" in line else ""))
    artifact, records = packed(source, tmp_path / "out", bad_sample_limit=1, **AS_IS)
    assert set(samples_of(artifact, records)) == {"b"}
    (found,) = rejected_of(records).values()
    assert reason in found
    assert found.startswith(f"{folder}/m.jsonl row 1: " if kind in NO_IMAGE else f"{folder}/a.jpg: ")
    assert "\n" not in found
    assert len(found) < 1100
    with pytest.raises(DataError, match=r"\(1 images rejected so far, bad_sample_limit 0\)"):
        packed(source, tmp_path / "strict", **AS_IS)


NO_IMAGE = {"deep", "torn", "list", "infinite", "surrogate", "bytes", "twice", "digits", "number", "null"}


def test_json_lines_keep_what_they_say(folder, tmp_path):
    rows = [
        {"file_name": "a.jpg", "text": "2020-01-01", "when": "2020-01-01T10:00", "id": 2**70, "tags": ["x", 1]},
        {"file_name": "b.jpg", "text": "", "zip": "007", "score": 0.5, "nothing": None},
        {"file_name": "c.jpg", "score": "high"},
    ]
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = samples_of(*packed(ImageFolder(uri=str(folder), metadata="m.jsonl"), tmp_path / "out", **AS_IS))
    assert [found[key].get("txt") for key in "abc"] == [b"2020-01-01", b"", None]
    assert json.loads(found["a"]["json"]) == {"when": "2020-01-01T10:00", "id": 2**70, "tags": ["x", 1]}
    assert json.loads(found["b"]["json"]) == {"zip": "007", "score": 0.5}
    assert json.loads(found["c"]["json"]) == {"score": "high"}


def test_cells_of_a_csv_become_numbers_column_by_column_and_only_where_nothing_is_lost(folder, tmp_path):
    text = "file_name,caption,score,n,zip,id,flag,day,some\n"
    text += f"a.jpg,,0.5,3,007,{10**20},true,2020-01-01,\nb.jpg,NA,-1e-3,-4,08,1,false,2020-01-02,2\n"
    (folder / "m.csv").write_text(text)
    found = samples_of(*packed(ImageFolder(uri=str(folder), metadata="m.csv"), tmp_path / "out", **AS_IS))
    assert [found[key]["txt"] for key in "ab"] == [b"", b"NA"]
    assert json.loads(found["a"]["json"]) == {
        "score": 0.5,
        "n": 3,
        "zip": "007",
        "id": str(10**20),
        "flag": True,
        "day": "2020-01-01",
    }
    assert json.loads(found["b"]["json"])["some"] == 2
    assert json.loads(found["b"]["json"])["score"] == -0.001


def test_rows_of_one_image_are_its_captions(folder, tmp_path):
    """As Flickr8k has them."""
    lines = [f"{name}.jpg,{n},caption {n} of {name}" for name in "ab" for n in range(5)]
    (folder / "m.csv").write_text("image,comment_number,caption\n" + "\n".join(lines) + "\nc.jpg,0,alone\n")
    source = ImageFolder(uri=str(folder), metadata="m.csv")
    assert open_source(source, None).findings.notes == ("8 rows give a further caption to an image of an earlier row",)
    artifact, records = packed(source, tmp_path / "first", **AS_IS)
    found = samples_of(artifact, records)
    assert [found[key]["txt"] for key in "abc"] == [b"caption 0 of a", b"caption 0 of b", b"alone"]
    assert json.loads(found["a"]["json"]) == {"comment_number": [0, 1, 2, 3, 4]}
    assert sum(record.captions_left for record in records) == 8
    declared = ImageFolder(uri=str(folder), metadata="m.csv", columns=Columns(captions="all"))
    artifact, records = packed(declared, tmp_path / "all", **AS_IS)
    found = samples_of(artifact, records)
    assert json.loads(found["b"]["json"])["captions"] == [f"caption {n} of b" for n in range(5)]
    assert json.loads(found["c"]["json"]) == {"captions": ["alone"], "comment_number": 0}
    assert found["b"]["txt"] == b"caption 0 of b"
    assert sum(record.captions_left for record in records) == 0


def test_rows_of_one_image_that_disagree_are_rejected_with_both_rows(folder):
    source = table(folder, "file_name,caption,label\na.jpg,x,cat\nb.jpg,y,dog\na.jpg,z,dog\n")
    reason = captions(source)["a"]
    assert (
        reason == f"{folder}/metadata.csv row 2: expected the label that row 0 gives the same image, 'cat', got 'dog'"
    )


def test_rows_with_keys_of_their_own_are_samples_of_their_own(folder):
    source = table(folder, "key,file_name,caption\n1,a.jpg,x\n2,a.jpg,y\n")
    assert captions(source) == {"1": "x", "2": "y"}


@pytest.mark.parametrize(
    ("cell", "first", "every"),
    [
        (["a cat", "a dog"], "a cat", ["a cat", "a dog"]),
        ([None, "a dog"], "a dog", ["a dog"]),
        ([""], "", [""]),
        ([], None, None),
        (None, None, None),
    ],
)
def test_lists_of_captions_give_the_first_or_all_and_never_a_repr(tmp_path, cell, first, every):
    """As COCO has them."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": [picture()], "caption": pa.array([cell], pa.list_(pa.string()))}), path)
    for which, expected in (("first", None), ("all", every)):
        (row,) = rows_of(open_source(ParquetTable(uri=str(path), columns=Columns(captions=which)), None))
        assert row.caption == first
        assert row.metadata.get("captions") == expected
        assert row.captions_left == (max(0, len(every or []) - 1) if which == "first" else 0)


@pytest.mark.parametrize(
    ("captions", "got"),
    [
        (pa.array([1]), "int"),
        (pa.array([0], pa.date32()), "date"),
        (pa.array([{"en": "cat"}]), "dict"),
        (pa.array([[1]]), "int"),
    ],
)
def test_a_caption_that_is_no_text_is_refused_by_name(tmp_path, captions, got):
    pq.write_table(pa.table({"image": [picture()], "caption": captions}), tmp_path / "t.parquet")
    (row,) = rows_of(open_source(ParquetTable(uri=str(tmp_path)), None))
    assert row.reason == f"{tmp_path}/t.parquet row 0: expected a caption that is text, got {got}"


def test_blanks_around_headers_are_nothing_in_parquet_too(tmp_path):
    pq.write_table(pa.table({" image": [picture()], "label ": ["a"], " x ": [1]}), tmp_path / "t.parquet")
    (row,) = rows_of(open_source(ParquetTable(uri=str(tmp_path)), None))
    assert (row.image, row.label, row.metadata) == (picture(), 0, {"x": 1})


def test_an_empty_label_is_its_rows_rejection_and_no_class(folder):
    source = table(folder, "file_name,label\na.jpg,cat\nb.jpg,\nc.jpg, cat\n")
    assert source.class_names == ["cat"]
    rows = {row.key: row for row in rows_of(source)}
    assert (rows["a"].label, rows["c"].label) == (0, 0)
    assert rows["b"].reason == f"{folder}/b.jpg: expected one of 1 class names, got an empty label"


@pytest.mark.parametrize(
    ("texts", "names", "numbers"),
    [
        (["10", "9", "2"], (), [10, 9, 2]),
        (["1.0", "0.0", ""], (), [1, 0, None]),
        (["1", "NA", "-1"], (), [1, None, None]),
        (["9" * 30, "9" * 5000, "1"], None, [None, None, None]),
        (["2", "10", "queen"], ("10", "2", "queen"), [1, 0, 2]),
        ([" cat", "cat ", "dog"], ("cat", "dog"), [0, 0, 1]),
    ],
)
def test_labels_of_text_are_numbers_where_all_are(texts, names, numbers):
    labels = labels_of_texts(texts)
    if names is None:  # digits beyond any number are names
        assert labels.names == class_order(texts)
        return
    assert labels.names == names

    def number(text):
        try:
            return labels.number(text, "here")
        except DataError:
            return None

    assert [number(text) for text in texts] == numbers


def test_a_class_of_thirty_digits_is_its_rows_rejection(folder):
    rows = {row.key: row for row in rows_of(table(folder, f"file_name,label\na.jpg,{'9' * 30}\nb.jpg,3\n"))}
    assert rows["a"].reason.startswith(f"{folder}/a.jpg: expected a class below 1000000, got 999")
    assert rows["b"].label == 3


def write_labels(tmp_path, *labels):
    for number, values in enumerate(labels):
        pq.write_table(pa.table({"image": [picture()] * len(values), "label": values}), tmp_path / f"{number}.parquet")
    return ParquetTable(uri=str(tmp_path))


def test_labels_of_two_types_are_read_alike_or_named_with_both_files(tmp_path):
    source = open_source(write_labels(tmp_path, ["10", "2"], [1]), None)
    assert [row.label for row in rows_of(source)] == [10, 2, 1]
    declared = write_labels(tmp_path, ["cat"], [1])
    with pytest.raises(
        DataError, match=r"1\.parquet: expected labels of one type in 'label', got int64, while .*0\.parq"
    ):
        open_source(declared, None)
    named = declared.model_copy(update={"columns": Columns(class_names=("dog", "cat"))})
    assert [row.label for row in rows_of(open_source(named, None))] == [1, 1]


def test_labels_of_two_types_in_lines_of_json_name_both_rows(folder):
    lines = '{"file_name": "a.jpg", "label": "cat"}\n{"file_name": "b.jpg", "label": 1}\n'
    with pytest.raises(
        DataError, match=r"one type in 'label', got text in row 0 \('cat'\) and a number in row 1 \(1\)"
    ):
        table(folder, lines, "m.jsonl")
    numbers = table(folder, lines.replace("cat", "2"), "m.jsonl")
    assert sorted(row.label for row in rows_of(numbers)) == [1, 2]


def test_class_names_that_differ_from_file_to_file_are_named(tmp_path):
    for number, names in enumerate((["cat", "dog"], ["dog", "cat"])):
        features = {"info": {"features": {"label": {"names": names}}}}
        part = pa.table({"image": [picture()], "label": [0]})
        pq.write_table(
            part.replace_schema_metadata({"huggingface": json.dumps(features)}), tmp_path / f"{number}.parquet"
        )
    with pytest.raises(DataError, match=r"1\.parquet: expected the class names of .*0\.parquet"):
        open_source(ParquetTable(uri=str(tmp_path)), None)


def test_folders_label_equals_cat_are_a_column(tmp_path):
    for name, day in (("cat", "1"), ("a%20dog", "2"), ("__HIVE_DEFAULT_PARTITION__", "3")):
        (tmp_path / f"label={name}" / f"day={day}").mkdir(parents=True)
        pq.write_table(pa.table({"image": [picture()]}), tmp_path / f"label={name}" / f"day={day}" / "part-0.parquet")
    source = open_source(ParquetTable(uri=str(tmp_path)), None)
    assert source.class_names == ["a dog", "cat"]
    rows = rows_of(source)
    assert sorted(row.label for row in rows if not isinstance(row, Rejected)) == [0, 1]
    assert sorted(row.metadata["day"] for row in rows if not isinstance(row, Rejected)) == ["1", "2"]
    assert "expected one of 2 class names" not in rows[0].reason if isinstance(rows[0], Rejected) else True
    one = open_source(ParquetTable(uri=f"{tmp_path}/label=c*/**/*.parquet"), None)
    assert one.class_names == ["cat"]
    (tmp_path / "loose.parquet").write_bytes((tmp_path / "label=cat" / "day=1" / "part-0.parquet").read_bytes())
    with pytest.raises(DataError, match=r"loose\.parquet: expected folders label=…, day=…, as label="):
        open_source(ParquetTable(uri=str(tmp_path)), None)


def test_parquet_files_of_both_splits_are_splits(tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        pq.write_table(pa.table({"image": [picture()] * 2}), tmp_path / f"{name}.parquet")
    source = open_source(ParquetTable(uri=str(tmp_path)), None)
    splits = {row.key[:-7]: row.split for row in rows_of(source)}
    assert splits == {"train-00000-of-00002": TRAIN, "train-00001-of-00002": TRAIN, "test-00000-of-00001": HELD_OUT}
    assert source.findings.notes == ("files as splits: 1 of 3 held out (split_files=False reads all alike)",)
    for uri, changes in ((f"{tmp_path}/train-*", {}), (str(tmp_path), {"split_files": False})):
        rows = rows_of(open_source(ParquetTable(uri=uri, **changes), None))
        assert {row.split for row in rows} == {None}


def test_rows_reach_only_below_their_table_unless_more_is_allowed(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.png").write_bytes(picture(9))
    names = [
        "a.jpg",
        "../outside/x.png",
        str(outside / "x.png"),
        f"file://{outside}/x.png",
        "/etc/passwd",
        "../in/b.jpg",
    ]
    pq.write_table(pa.table({"uri": [*names, "./c.jpg", "~/x.png", "d/../a.jpg"]}), folder / "t.parquet")
    found = rows_of(open_source(ParquetTable(uri=str(folder)), None))
    assert [not isinstance(row, Rejected) for row in found] == [True] + [False] * 4 + [True] * 2 + [False, True]
    for number in range(1, 5):
        assert f"expected a file's name or URI below {folder}: allow=(…)" in found[number].reason
    allowed = rows_of(open_source(ParquetTable(uri=str(folder), allow=(str(outside),)), None))
    assert [row.image for row in allowed[1:4]] == [picture(9)] * 3
    assert isinstance(allowed[4], Rejected)
    with pytest.raises(ValueError, match="expected an absolute folder or a URI, got 'outside'"):
        ParquetTable(uri="/x", allow=("outside",))


def test_a_row_of_one_bucket_reaches_no_other(moto_s3):
    from rayograph.storage import open_store

    one, other = moto_s3.new_bucket(), moto_s3.new_bucket()
    for bucket in (one, other):
        open_store(bucket, moto_s3.endpoint_url).put("d/a.png", picture())
    names = ["a.png", f"{one}/d/a.png", f"{other}/d/a.png", "../a.png", "/etc/passwd", "s3://a"]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"uri": names}), sink)
    open_store(one, moto_s3.endpoint_url).put("d/t.parquet", sink.getvalue().to_pybytes())
    found = rows_of(open_source(ParquetTable(uri=f"{one}/d/t.parquet"), moto_s3.endpoint_url))
    assert [isinstance(row, Rejected) for row in found] == [False, False, True, True, True, True]
    declared = ParquetTable(uri=f"{one}/d/t.parquet", allow=(f"{other}/d",))
    found = rows_of(open_source(declared, moto_s3.endpoint_url))
    assert [isinstance(row, Rejected) for row in found] == [False, False, False, True, True, True]


def test_text_that_is_no_utf8_is_its_rows_rejection_in_whatever_column(tmp_path):
    def texts(*values):
        return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())

    columns = {"key": texts(b"a", b"b"), "note": texts(b"fine", b"\xff"), "label": texts(b"cat", b"dog")}
    pq.write_table(pa.table({"image": [picture()] * 2, **columns}), tmp_path / "t.parquet")
    fine, bad = rows_of(open_source(ParquetTable(uri=str(tmp_path)), None))
    assert fine.metadata == {"note": "fine"}
    assert bad.reason.startswith(f"{tmp_path}/t.parquet row 1: expected text in UTF-8 in column 'note'")
    pq.write_table(
        pa.table({"file_name": texts(b"a.jpg", b"\xff"), "label": texts(b"\xff", b"dog")}), tmp_path / "m.parquet"
    )
    (tmp_path / "a.jpg").write_bytes(picture())
    source = open_source(ImageFolder(uri=str(tmp_path), metadata="m.parquet"), None)
    assert source.class_names == ["dog"]
    assert {row.key: "expected text in UTF-8 in column" in row.reason for row in rows_of(source)} == {
        "a": True,
        "row-000001": True,
    }


def test_columns_that_json_cannot_hold_are_left_out_and_named(tmp_path):
    pq.write_table(pa.table({"image": [picture()], "exif": [{"a": 1}], "x": [1]}), tmp_path / "t.parquet")
    source = open_source(ParquetTable(uri=str(tmp_path)), None)
    assert source.findings.notes == ("columns left out: exif (struct<a: int64>)",)
    assert rows_of(source)[0].metadata == {"x": 1}


def test_a_parquet_that_breaks_off_says_from_which_row_on(tmp_path):
    images = [np.random.default_rng(n).bytes(2000) for n in range(64)]
    pq.write_table(pa.table({"image": images}), tmp_path / "t.parquet", row_group_size=32, compression="none")
    data = bytearray((tmp_path / "t.parquet").read_bytes())
    at = data.index(images[32][:100])
    data[at - 200 : at] = b"\xff" * 200
    (tmp_path / "t.parquet").write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"t\.parquet: expected a parquet file: .* from row [0-9]+ on"):
        rows_of(open_source(ParquetTable(uri=str(tmp_path)), None))


def test_classes_of_folders_may_stand_beside_a_table_of_captions(tmp_path):
    for number, name in enumerate(("train/cat/1.png", "train/dog/2.png", "test/cat/3.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encoded(np.full((9, 12, 3), number, np.uint8)))
    text = "file_name,caption\ntrain/cat/1.png,one\ntrain/dog/2.png,two\ntest/cat/3.png,three\n"
    rows = {row.caption: row for row in rows_of(table(tmp_path, text, class_per_folder=True))}
    assert {name: (row.label, row.split) for name, row in rows.items()} == {
        "one": (0, TRAIN),
        "two": (1, TRAIN),
        "three": (0, HELD_OUT),
    }


CELLS = ["a.jpg", "b", "", " ", "é", '"x"', '"x, y"', '"a ""b"" c"', '""', '"', 'x"y', '"x"y', "\0", "\udce9"]
ENDS = ["\n", "\n", "\n", "\r\n", "\r", "\n\n", '"\n']


def made_up_csv(seed):
    random = np.random.default_rng(seed)
    odd = seed % 3  # none, few, many
    cells, ends = (CELLS[:9], ENDS[:4]) if not odd else (CELLS, ENDS)
    plain = [0.97, 0.03] if odd == 1 else [0.5, 0.5]

    def row():
        width = 2 if random.random() < 0.98 or not odd else int(random.integers(0, 5))
        chosen = [
            cells[random.integers(len(cells))] if n and random.choice(2, p=plain) else "c.jpg" for n in range(width)
        ]
        return ",".join(chosen) + (ends[random.integers(len(ends))] if random.choice(2, p=plain) else "\n")

    return ("file_name,caption\n" + "".join(row() for _ in range(60))).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("block_bytes", [64, 1 << 18])
def test_rows_that_are_cut_at_once_are_those_of_pythons_reader(folder, monkeypatch, block_bytes):
    monkeypatch.setattr(csv_blocks, "_FIRST_BYTES", 32)
    monkeypatch.setattr(csv_blocks, "_BLOCK_BYTES", block_bytes)
    store, at_once = open_store(str(folder), None), []

    def read(data, cut):
        (folder / "m.csv").write_bytes(data)
        monkeypatch.setattr(csv_tables, "cut_plainly", cut)
        try:
            found, faults = csv_tables.read_csv(store, "m.csv")
        except DataError as error:
            return str(error)
        return [column.cast(pa.large_binary()).to_pylist() for column in found.columns], dict(faults)

    def counted(*block):
        found = csv_blocks.cut_plainly(*block)
        at_once.append(found is not None)
        return found

    for seed in range(300):
        data = made_up_csv(seed)
        assert read(data, counted) == read(data, lambda *_: None), data
    assert 0.1 < np.mean(at_once) < 0.95


LINES = [
    *(b'{"file_name": "a.jpg"}', b'{"file_name": "a.jpg", "n": 1}', b' {"key": 7, "label": "cat"} ', b'{"label": 3}'),
    *(b'{"label": 2.5}', b'{"label": true}', b'{"label": null}', b'{"label": [1]}', b'{"key": "\\u00e9"}', b"{}"),
    *(
        b'{"file_name": "|"}',
        b'{"key": "\\ud800"}',
        b'{"x": NaN}',
        b'{"x": Infinity}',
        b'{"x": 1, "x": 1}',
        b"[]",
        b"1",
    ),
    *(
        b'{"a": [{}',
        b"{}]}",
        b"{}, {}",
        b'{}, "|", {}',
        b'{}, "\\u007c", {}',
        b'{"x": "\xff"}',
        b"[" * 5000,
        b'{"x":1e999}',
    ),
]


def test_lines_that_are_parsed_together_are_those_that_are_parsed_alone(folder, monkeypatch):
    monkeypatch.setattr(json_lines, "_CHUNK_ROWS", 4)
    store, together = open_store(str(folder), None), []

    def read(parse):
        monkeypatch.setattr(json_lines, "_parse_together", parse)
        try:
            found = json_lines.JsonLines(store, "m.jsonl", ["file_name", "key"], ["label"])
        except DataError as error:
            return str(error)
        labels = sorted(map(repr, found._values["label"].items()))
        texts = {name: found.text(name).to_pylist() for name in ("file_name", "key")}
        return found.names, texts, labels, dict(found.faults), list(found.cells(range(len(found))))

    def counted(lines, parse=json_lines._parse_together):
        found = parse(lines)
        together.append(found is not None)
        return found

    for seed in range(400):
        random = np.random.default_rng(seed)
        many = [LINES[int(random.integers(len(LINES) if random.random() < 0.3 else 10))] for _ in range(12)]
        (folder / "m.jsonl").write_bytes(b"\n".join(many))
        assert repr(read(counted)) == repr(read(lambda _: None)), many
    assert 0.1 < np.mean(together) < 0.95
