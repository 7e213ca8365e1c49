"""Requests: the same rows whatever the file, held a page at a time; a bad row is one line that says which and why."""

import io
import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asked import NAMES, SPEC, as_csv, as_json_lines, as_parquet, pages, plan_of, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayograph.conditioning.class_label import ClassLabelConditioner
from rayograph.conditioning.unconditional import UnconditionalConditioner
from rayograph.config import Request, Sample
from rayograph.config.job.conditioners import Unconditional
from rayograph.errors import DataError, RayographError
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import Manifest
from rayograph.sampling.requests import readers as reading
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.sampling.requests.planner import validate_request
from rayograph.sampling.requests.readers import MAX_LINE_BYTES, PAGE_ROWS, fingerprint, known_columns, read_rows
from rayograph.sampling.requests.validation import MAX_TEXT_BYTES
from rayograph.shards import sample as shards
from rayograph.shards.store import put_shard, shard_files, shard_name
from rayograph.storage import open_store
from rayograph.storage.range_file import RangeFile

KINDS = ("parquet", "jsonl", "csv")
ONES = "1" * 30
PLAIN = ModelSpec(UnconditionalConditioner(Unconditional(), None), side=8, multiple=4, num_train_timesteps=1000)
ROWS = [
    {"class": "dog", "count": 3, "seed": 2**64 - 1, "prompt": 'a "dog",\nin ünïcode 犬', "width": 16, "height": 4},
    {"class": "7", "count": 1, "seed": 0, "prompt": "NA", "num_inference_steps": 1000, "guidance_scale": 0.0},
    {"class": "0", "scheduler": "dpmsolver++", "guidance_scale": 1.25},
    {"class": "cat", "prompt": "null"},
]


def committed(folder, samples, kind="pack", per_shard=2):
    """An artifact of shards of these samples."""
    artifact = Artifact(open_store(str(folder)), "")
    files, records = [], []
    for number, start in enumerate(range(0, len(samples), per_shard)):
        name = shard_name("samples", number)
        index = put_shard(artifact, name, samples[start : start + per_shard])
        its_files, record = shard_files(artifact, name, "samples", index)
        files += its_files
        records.append(record)
    artifact.commit(
        Manifest(
            job="job", stage="stage", kind=kind, key="key", seed=0, files=files, shards=records, parents=[], config={},
            scale={}, facts={}, created="2026-01-01T00:00:00+00:00", seconds=0.0, machine={}, versions={},
        )
    )  # fmt: skip
    return str(folder)


def shard_samples(rows):
    """Rows as a pack has them: cls and txt where these are all, json for what is more."""
    samples = []
    for number, row in enumerate(rows):
        rest = {name: value for name, value in row.items() if name not in ("class", "prompt")}
        members = {"png": b"image", "cls": row["class"].encode()}
        if "prompt" in row:
            members["txt"] = row["prompt"].encode()
        if rest:
            members["json"] = json.dumps(rest).encode()
        samples.append(shards.Sample(f"{number:09d}", members))
    return samples


def request_of(folder, kind, rows):
    folder.mkdir(exist_ok=True)
    return committed(folder, shard_samples(rows)) if kind == "shards" else written(folder, kind, rows)


def together(found):
    """All pages as plain lists."""
    whole = {}
    for page in found:
        for name, values in page.items():
            whole.setdefault(name, []).extend(values.to_pylist())
    return whole


def refused(uri, **options):
    """The one line that a bad request comes to."""
    with pytest.raises(DataError) as caught:
        list(pages(uri, **options))
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(uri)
    return line.removeprefix(uri)


def said_of(uri, **options):
    """What a request is refused with, if it is; the rows of a good one are good."""
    try:
        for page in pages(uri, **options):
            assert all(count >= 1 for count in page["count"].to_pylist())
            assert {*page["class"].to_pylist()} <= {0, 1, 2}
    except RayographError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", [*KINDS, "shards"])
def test_every_kind_of_request_gives_the_same_rows_with_defaults_filled_in(tmp_path, kind):
    found = together(pages(request_of(tmp_path / kind, kind, ROWS), keep=("prompt",)))
    assert found == {
        "count": [3, 1, 1, 1],
        "width": [16, 8, 8, 8],
        "height": [4, 8, 8, 8],
        "num_inference_steps": [4, 1000, 4, 4],
        "guidance_scale": [2.0, 0.0, 1.25, 2.0],
        "scheduler": ["ddim", "ddim", "dpmsolver++", "ddim"],
        "seed": [2**64 - 1, 0, None, None],
        "class": [1, 2, 0, 0],
        "prompt": [ROWS[0]["prompt"], "NA", None, "null"],
    }


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"class": st.sampled_from([*NAMES, "0", "1", "2"]), "count": st.integers(1, 10**9)},
            optional={
                "seed": st.integers(0, 2**64 - 1),
                "prompt": st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20),
                "guidance_scale": st.floats(0, 1000),
                "width": st.integers(1, 1024).map(lambda n: 4 * n),
            },
        ),
        min_size=1,
        max_size=12,
    )
)
def test_no_kind_of_file_changes_what_is_asked_for(tmp_path, rows):
    names = dict.fromkeys(name for row in rows for name in row)
    rows = [{name: row.get(name) for name in names} for row in rows]
    keep = ("prompt",) if "prompt" in names else ()
    as_it_was = together(pages(as_parquet(tmp_path / "r.parquet", rows), keep=keep))
    for write, name in ((as_json_lines, "r.jsonl"), (as_csv, "r.csv")):
        assert together(pages(write(tmp_path / name, rows), keep=keep)) == as_it_was


def test_the_records_of_generated_images_are_a_request_but_their_seeds_are_not(tmp_path):
    records = [
        {"number": n, "seed": 5, "counter": n, "class": n % 3, "prompt": f"p{n}", "width": 16, "height": 8,
         "scheduler": "ddim", "num_inference_steps": 7, "guidance_scale": 1.5, "artifact": "a/b/c", "model": "ab",
         "request": "cd", "data": ["ef"]}
        for n in range(5)
    ]  # fmt: skip
    samples = [
        shards.Sample(
            f"{r['number']:09d}", {"png": b"", "cls": str(r["class"]).encode(), "json": json.dumps(r).encode()}
        )
        for r in records
    ]
    found = together(pages(committed(tmp_path / "made", samples, "sample"), keep=("prompt",)))
    assert found["class"] == [0, 1, 2, 0, 1]
    assert found["prompt"] == [f"p{n}" for n in range(5)]
    assert found["seed"] == [None] * 5  # otherwise all five would begin with one noise
    assert (found["width"], found["num_inference_steps"]) == ([16] * 5, [7] * 5)


@pytest.mark.parametrize("group", [1000, PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1, 200_000])
def test_pages_are_of_one_size_whatever_the_row_groups(tmp_path, group):
    rows = 2 * PAGE_ROWS + 17
    table = pa.table({"class": np.arange(rows) % 3, "seed": np.arange(rows)})
    found = list(pages(as_parquet(tmp_path / "r.parquet", table, row_group_size=group)))
    assert [len(page["count"]) for page in found] == [PAGE_ROWS, PAGE_ROWS, 17]
    assert together(found)["seed"] == list(range(rows))


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_pages_of_text_are_of_that_size_too_and_a_row_keeps_its_number_on_a_later_one(tmp_path, kind):
    rows = [{"class": n % 3} for n in range(PAGE_ROWS + 5)]
    uri = written(tmp_path, kind, rows)
    assert [len(page["count"]) for page in pages(uri)] == [PAGE_ROWS, 5]
    rows[PAGE_ROWS + 3]["class"] = 3
    uri = written(tmp_path, kind, rows)
    assert refused(uri).startswith(f" row {PAGE_ROWS + 3}: class: expected a class from 0 to 2")


def test_a_column_that_a_later_part_lacks_is_empty_there(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PAGE_ROWS", 2)
    rows = [{"class": 0, "prompt": "a"}, {"class": 1}, {"class": 2}, {"class": 0}]
    assert together(pages(as_json_lines(tmp_path / "r.jsonl", rows), keep=("prompt",)))["prompt"] == ["a", *[None] * 3]


SIDE = "a whole number from 1 to 4096"
COUNT = "a whole number from 1 to 1000000000"
CLASS = "a class from 0 to 2 or its name (cat, dog, 7)"
STEPS = "a whole number from 1 to 1000"
GUIDANCE = "a number from 0 to 1000"
SEED = "a whole number from 0 to 2⁶⁴ - 1"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("count", -1, COUNT),
        ("count", 0, COUNT),
        ("count", 10**12, COUNT),
        ("width", 10**6, SIDE),
        ("height", 0, SIDE),
        ("width", 6, "a multiple of 4"),
        ("class", "bird", CLASS),
        ("class", "3", CLASS),
        ("class", "-1", CLASS),
        ("class", "99999999999999999999", CLASS),
        ("class", None, CLASS),
        ("num_inference_steps", 1001, STEPS),
        ("guidance_scale", -0.5, GUIDANCE),
        ("guidance_scale", float("nan"), GUIDANCE),
        ("guidance_scale", float("inf"), GUIDANCE),
        ("guidance_scale", 1000.5, GUIDANCE),
        ("seed", -1, SEED),
        ("scheduler", "euler", "one of ddim, dpmsolver++, euler_ancestral"),
    ],
)
def test_a_bad_value_is_one_line_with_file_row_column_expected_and_got(tmp_path, kind, column, value, expected):
    rows = [{"class": "0"}, {"class": "1"}, {"class": "2"}]
    good = {"count": 1, "width": 8, "height": 8, "num_inference_steps": 3, "guidance_scale": 1.5, "seed": 4,
            "class": "cat", "scheduler": "ddim"}  # fmt: skip
    for row in rows:
        row[column] = good[column]
    rows[1][column] = value
    line = refused(written(tmp_path, kind, rows))
    assert line == f" row 1: {column}: expected {expected}, got {value!r}"


@pytest.mark.parametrize(
    ("column", "values", "line"),
    [
        ("class", pa.array([0, 3]), f" row 1: class: expected {CLASS}, got 3"),
        ("class", pa.array([0, 2**64 - 1], pa.uint64()), f" row 1: class: expected {CLASS}, got {2**64 - 1}"),
        ("class", pa.array([0, 0.5]), f" row 1: class: expected {CLASS}, got 0.5"),
        ("class", pa.array([0, float("nan")]), f" row 1: class: expected {CLASS}, got nan"),
        ("class", pa.array([True, False]), f" row 0: class: expected {CLASS}, got True"),
        ("class", pa.nulls(2), f" row 0: class: expected {CLASS}, got None"),
        ("count", pa.array([2.0, 2.5]), f" row 1: count: expected {COUNT}, got 2.5"),
        ("count", pa.array([2.0, 1e300]), f" row 1: count: expected {COUNT}, got 1e+300"),
        ("count", pa.array([None, True]), " row 1: count: expected a number, got True"),
        ("count", pa.array(["1", "2"]), " row 0: count: expected a number, got '1'"),
        ("count", pa.array([[1], [2]]), " row 0: count: expected a number, got [1]"),
        ("seed", pa.array([0.0, 2.0**53 + 2]), f" row 1: seed: expected {SEED}, got {2.0**53 + 2}"),
        ("seed", pa.array([0.0, float("inf")]), f" row 1: seed: expected {SEED}, got inf"),
        (
            "scheduler",
            pa.array([None, 3]),
            " row 0: scheduler: expected one of ddim, dpmsolver++, euler_ancestral, got None",
        ),
        ("prompt", pa.array([[1], [2]]), ": column 'prompt': expected text or numbers, got list<element: int64>"),
    ],
)
def test_a_column_of_another_type_is_refused_by_its_first_bad_row(tmp_path, column, values, line):
    table = {"class": pa.array([0, 1])} | {column: values}
    assert refused(as_parquet(tmp_path / "r.parquet", pa.table(table)), keep=("prompt",) * (column == "prompt")) == line


@pytest.mark.parametrize(
    ("column", "values", "found"),
    [
        ("count", pa.array([2.0, 3.0]), [2, 3]),
        ("count", pa.array([2, None], pa.uint8()), [2, 1]),
        ("num_inference_steps", pa.array([2, None], pa.int8()), [2, 4]),
        ("width", pa.array([12, None], pa.uint8()), [12, 512]),
        ("width", pa.array([12, None], pa.float16()), [12, 512]),
        ("guidance_scale", pa.array([1.5, None], pa.float16()), [1.5, 2.0]),
        ("guidance_scale", pa.array([3, None], pa.int8()), [3.0, 2.0]),
        ("seed", pa.array([2**64 - 1, None], pa.uint64()), [2**64 - 1, None]),
        ("seed", pa.array([7.0, None]), [7, None]),
        ("seed", pa.array([7, None], pa.int16()), [7, None]),
        ("class", pa.array([1, 2], pa.uint8()), [1, 2]),
        ("class", pa.array([1.0, 2.0]), [1, 2]),
        ("class", pa.array(["dog", "cat"]).dictionary_encode(), [1, 0]),
        ("class", pa.array(["dog", "cat"], pa.large_string()), [1, 0]),
        ("class", pa.array(["dog", "cat"], pa.string_view()), [1, 0]),
        ("scheduler", pa.array(["dpmsolver++", None]).dictionary_encode(), ["dpmsolver++", "ddim"]),
        ("scheduler", pa.array([None, "dpmsolver++"], pa.string_view()), ["ddim", "dpmsolver++"]),
        ("prompt", pa.array(["a", None]).dictionary_encode(), ["a", None]),
        ("prompt", pa.array(["a", None], pa.string_view()), ["a", None]),
        ("prompt", pa.array(["a", None], pa.large_string()), ["a", None]),
        ("prompt", pa.array([b"a", None]), ["a", None]),
        ("prompt", pa.array([1, None]), ["1", None]),
        *((name, pa.nulls(2), value) for name, value in
          [("count", [1, 1]), ("seed", [None, None]), ("scheduler", ["ddim", "ddim"]), ("guidance_scale", [2.0, 2.0]),
           ("prompt", [None, None]), ("height", [512, 512])]),
    ],
)  # fmt: skip
def test_columns_may_be_of_any_type_that_holds_such_values(tmp_path, column, values, found):
    spec = ModelSpec(ClassLabelConditioner(3, NAMES), 512, 4, 1000)
    table = pa.table({"class": pa.array([0, 1])} | {column: values})
    keep = ("prompt",) * (column == "prompt")
    page = together(pages(as_parquet(tmp_path / "r.parquet", table), keep=keep, spec=spec))
    assert page[column] == found


def test_dictionaries_that_differ_between_row_groups_are_one_column(tmp_path):
    schema = pa.schema([("class", pa.dictionary(pa.int32(), pa.string()))])
    with pq.ParquetWriter(tmp_path / "r.parquet", schema) as writer:
        for names in (["dog", "cat"], ["7", "dog"]):
            writer.write_table(pa.table({"class": pa.array(names).dictionary_encode()}, schema))
    assert together(pages(str(tmp_path / "r.parquet")))["class"] == [1, 0, 2, 1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("values", [("2", "1", "0"), (2, 1, 0), (2.0, 1.0, 0.0), (" 2", "01", "0.0")])
def test_a_class_whose_name_looks_like_a_number_is_meant_by_its_name_first(tmp_path, kind, values):
    spec = ModelSpec(ClassLabelConditioner(3, ("2", "1", "0")), 8, 4, 1000)
    uri = written(tmp_path, kind, [{"class": value} for value in values])
    assert together(pages(uri, spec=spec))["class"] == [0, 1, 2]


def test_names_of_classes_that_are_not_known_yet_pass_but_numbers_beyond_do_not(tmp_path):
    spec = ModelSpec(ClassLabelConditioner(3, None), 8, 4, 1000)
    assert len(list(pages(as_csv(tmp_path / "a.csv", [{"class": "owl"}, {"class": 2}]), spec=spec))) == 1
    line = refused(as_csv(tmp_path / "b.csv", [{"class": "owl"}, {"class": 3}]), spec=spec)
    assert line == " row 1: class: expected a class from 0 to 2, got '3'"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("row", "keep", "spec", "line"),
    [
        ({"count": 1}, (), SPEC, ": expected a column 'class', got 'count'"),
        ({"class": "0"}, ("title",), SPEC, ": expected a column 'title', got 'class'"),
        ({"class": "0", "promt": "a"}, (), SPEC,
         ": column 'promt': not known; did you mean 'prompt'?; `keep` carries it along"),
        ({"class": "0", "zzz": "a"}, (), SPEC,
         (": column 'zzz': not known; known: class, count, guidance_rescale, guidance_scale, height, "
         "num_inference_steps, prompt, scheduler, seed, width; `keep` carries it along")),
        ({"class": "0", "prompt": "a"}, (), SPEC,
         ": column 'prompt': the model takes classes, no text; `keep` carries it along"),
        ({"count": 1, "prompt": "a"}, (), PLAIN,
         ": column 'prompt': the model takes no condition, no text; `keep` carries it along"),
        ({"class": "0"}, (), PLAIN,
         ": column 'class': the model takes no condition, no class; `keep` carries it along"),
    ],
)  # fmt: skip
def test_a_wrong_set_of_columns_is_one_line(tmp_path, kind, row, keep, spec, line):
    assert refused(written(tmp_path, kind, [row]), keep=keep, spec=spec) == line


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_column_that_is_there_twice_is_refused(tmp_path, kind):
    uri = str(tmp_path / f"r.{kind}")
    if kind == "csv":
        (tmp_path / "r.csv").write_text("class,count,count\n0,1,2\n")
    else:
        pq.write_table(pa.Table.from_arrays([pa.array([0])] * 3, ["class", "count", "count"]), uri)
    assert refused(uri) == ": column 'count': expected once, found 2 times"


def test_a_prompt_of_a_megabyte_is_shown_in_part(tmp_path):
    rows = [{"class": 0, "prompt": "short"}, {"class": 0, "prompt": "x" * 10**6}]
    for uri in (as_parquet(tmp_path / "r.parquet", rows), as_json_lines(tmp_path / "r.jsonl", rows)):
        line = refused(uri, keep=("prompt",))
        assert line.startswith(f" row 1: prompt: expected at most {MAX_TEXT_BYTES} bytes, got 'xxx")
        assert line.endswith("… (1000002 characters)")
        assert len(line) < 200
    line = refused(as_csv(tmp_path / "r.csv", rows), keep=("prompt",))
    assert line == " line 3: expected CSV: field larger than field limit (131072)"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"class": 0}\n{"class": \n', " row 1: expected a JSON object: Expecting value: line 2 column 1 (char 11)"),
        ('{"class": 0}\n[1, 2]\n', " row 1: expected a JSON object, got list"),
        ("3\n", " row 0: expected a JSON object, got int"),
        ("[" * 100_000, " row 0: expected a JSON object: maximum recursion depth exceeded"),
        ('{"class": 0, "seed": 3}\n\n{"class": 0, "seed": "a"}\n', " row 1: seed: expected int, got 'a'"),
        ('{"class": 0, "count": 1}\n{"class": 0, "count": true}\n', " row 1: count: expected int, got True"),
        ('{"class": "cat"}\n{"class": true}\n', " row 1: class: expected a class's number or name, got True"),
        (
            f'{{"class": 0, "seed": 1}}\n{{"class": 0, "seed": {2**64}}}\n',
            f" row 1: seed: expected {SEED}, got {2**64}",
        ),
        (
            f'{{"class": 0, "seed": {2**64 - 1}}}\n{{"class": 0, "seed": -1}}\n',
            f" row 1: seed: expected {SEED}, got -1",
        ),
        (f'{{"class": 0, "count": {2**70}}}\n', f" row 0: count: expected a value, got {2**70}"),
        (f'{{"class": 0, "seed": {ONES}}}\n', f" row 0: seed: expected {SEED}, got {'1' * 30}"),
        (f'{{"class": 0, "count": {ONES}}}\n', f" row 0: count: expected a value, got {'1' * 30}"),
        (f'{{"class": 0, "count": {ONES * 200}}}\n', " row 0: expected a JSON object: Exceeds the limit"),
        ('{"class": 0, "count": 2.5}\n', " row 0: count: expected a whole number from 1 to 1000000000, got 2.5"),
        ('{"class": 0, "count": 1e999}\n', " row 0: count: expected a whole number from 1 to 1000000000, got inf"),
        ('{"class": 0, "seed": true}\n', " row 0: seed: expected a number, got True"),
        ('{"class": 0, "guidance_scale": true}\n', " row 0: guidance_scale: expected a number, got True"),
        (
            '{"class": 0, "guidance_scale": 1e300}\n',
            " row 0: guidance_scale: expected a number from 0 to 1000, got 1e+300",
        ),
        ('{"class": 0, "count": 1, "count": 2}\n', " row 0: column 'count': expected once, found 2 times"),
        ('{"class": 0}\n{"class": 0, "\\udc00": 2}\n', " row 1: column '\\udc00': expected a name in UTF-8"),
        ('{"class": 0, "scheduler": "\\udfff"}\n', " row 0: scheduler: expected text in UTF-8, got '\\udfff'"),
        ('{"class": "\\ud800"}\n', " row 0: class: expected text in UTF-8, got '\\ud800'"),
    ],
)
def test_bad_json_lines_are_one_line_with_the_row(tmp_path, text, line):
    (tmp_path / "r.jsonl").write_text(text)
    assert refused(str(tmp_path / "r.jsonl")).startswith(line)


def test_lines_of_json_may_mix_numbers_and_names_of_classes(tmp_path):
    uri = as_json_lines(tmp_path / "r.jsonl", [{"class": 0}, {"class": "dog"}, {"class": "2"}])
    assert together(pages(uri))["class"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"class,count\n0,1\n0\n", " row 1: expected 2 values, got 1"),
        (b"class,count\n0,1\n0,1,2\n", " row 1: expected 2 values, got 3"),
        (b"class,count\n0,1\n0,x\n", " row 1: count: expected a whole number, got 'x'"),
        (b"class,count\n0,1\n0,1.5\n", " row 1: count: expected a whole number, got '1.5'"),
        (b"class,guidance_scale\n0,high\n", " row 0: guidance_scale: expected a number, got 'high'"),
        (b"class,seed\n0,18446744073709551616\n", f" row 0: seed: expected {SEED}, got {2**64}"),
        (b"class,seed\n0," + ONES.encode() + b"\n", f" row 0: seed: expected {SEED}, got {'1' * 30}"),
        (b"class,count\n0," + ONES.encode() + b"\n", " row 0: count: expected "),
        (b"class,count\n0," + b"1" * 5000 + b"\n", " row 0: count: expected a whole number, got '111"),
        (b"class,count\n0,1_0\n", " row 0: count: expected a whole number, got '1_0'"),
        ("class,count\n0,٣\n".encode(), " row 0: count: expected a whole number, got '٣'"),
        (b"class,count\n0,true\n", " row 0: count: expected a whole number, got 'true'"),
        (b"class,count\n0,2.5\n", " row 0: count: expected a whole number, got '2.5'"),
        (b"class,guidance_scale\n0,1_0\n", " row 0: guidance_scale: expected a number, got '1_0'"),
        (b"class,guidance_scale\n0,1e999\n", " row 0: guidance_scale: expected a number from 0 to 1000, got inf"),
        (b"class,count, count\n0,1,2\n", ": column 'count': expected once, found 2 times"),
        (b'class,count\n"0,1\n', " line 2: expected CSV: unexpected end of data"),
        (b"class\n0\n\xff\xfe\n", " line 3: expected UTF-8: 'utf-8' codec can't decode byte 0xff in position 0"),
    ],
)
def test_bad_csv_is_one_line(tmp_path, data, line):
    (tmp_path / "r.csv").write_bytes(data)
    assert refused(str(tmp_path / "r.csv")).startswith(line)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_whole_numbers_written_as_floats_are_whole_numbers(tmp_path, kind):
    rows = [{"class": "0", "count": 2.0, "width": 8.0, "num_inference_steps": 3.0, "seed": 2.0**53}]
    if kind == "parquet":
        uri = as_parquet(tmp_path / "r.parquet", pa.table({name: pa.array([rows[0][name]]) for name in rows[0]}))
    else:
        uri = written(tmp_path, kind, rows)
    found = together(pages(uri))
    assert (found["count"], found["width"], found["num_inference_steps"], found["seed"]) == ([2], [8], [3], [2**53])


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("seed", [2**63 - 1, 2**63, 2**64 - 1])
def test_seeds_of_64_bits_keep_every_one_of_them(tmp_path, kind, seed):
    uri = written(tmp_path, kind, [{"class": "0", "seed": seed}, {"class": "0", "seed": 1}])
    assert together(pages(uri))["seed"] == [seed, 1]


def test_a_column_of_a_parquet_file_that_is_there_twice_is_named(tmp_path):
    table = pa.Table.from_arrays([pa.array([0]), pa.array([1]), pa.array([2])], ["class", "count", "count"])
    assert refused(as_parquet(tmp_path / "r.parquet", table)) == ": column 'count': expected once, found 2 times"


@pytest.mark.parametrize("data", [b"\xef\xbb\xbfclass,count\r\ndog,2\r\n\r\ncat,\r\n", b'"class",count\ndog,2\ncat,""'])
def test_csv_as_others_write_it_is_read_too(tmp_path, data):
    (tmp_path / "r.csv").write_bytes(data)
    found = together(pages(str(tmp_path / "r.csv")))
    assert (found["class"], found["count"]) == ([1, 0], [2, 1])


@pytest.mark.parametrize("column", ["class", "prompt", "scheduler"])
def test_text_in_parquet_that_is_not_utf_8_is_refused_by_its_row(tmp_path, column):
    good = {"class": ["0", "1"], "prompt": ["a", "b"], "scheduler": ["ddim", "ddim"]}
    table = pa.table({name: pa.array(values) for name, values in good.items()})
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ddim", b"\xff\xfe"]).buffers())
    table = table.set_column(table.column_names.index(column), column, broken)
    line = refused(as_parquet(tmp_path / "r.parquet", table), keep=("prompt",))
    assert line == f" row 1: {column}: expected text in UTF-8, got b'\\xff\\xfe'"


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_file_that_is_no_parquet_is_one_line(tmp_path, data):
    (tmp_path / "r.parquet").write_bytes(data)
    assert refused(str(tmp_path / "r.parquet")).startswith(": expected a parquet file: ")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_truncated_or_torn_parquet_file_is_one_line(tmp_path, keep):
    path = tmp_path / "r.parquet"
    as_parquet(path, pa.table({"class": np.arange(30_000) % 3, "seed": np.arange(30_000)}), row_group_size=5000)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    assert refused(str(path)).startswith(": expected a parquet file: ")
    middle = int(len(whole) * keep * 0.5)
    torn = whole[:middle] + bytes(2000) + whole[middle + 2000 :]
    path.write_bytes(torn)
    with pytest.raises(DataError) as caught:
        list(pages(str(path)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["r.parquet", "r.jsonl", "r.csv", "folder/r.csv"])
def test_a_request_that_is_not_there_is_one_line(tmp_path, name):
    line = refused(str(tmp_path / name))
    assert line == ": expected a request (.parquet, .jsonl, .csv), found none"


def test_an_artifact_that_is_not_committed_is_no_request(tmp_path):
    assert refused(str(tmp_path / "nothing")) == ": expected a committed artifact, found no manifest.json"


@pytest.mark.parametrize("text", ["", "class\n", "class,count\n\n\n"])
def test_a_request_without_rows_is_refused_and_leaves_nothing(tmp_path, text):
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(DataError, match=r"r\.csv: expected a row at least, found none"):
        plan_of(tmp_path / "store", str(tmp_path / "r.csv"))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_whose_last_row_is_bad_leaves_nothing(tmp_path, kind):
    rows = [{"class": 0} for _ in range(100)] + [{"class": 3}]
    with pytest.raises(DataError, match="row 100: class"):
        plan_of(tmp_path / "store", written(tmp_path, kind, rows))
    assert not (tmp_path / "store").exists()


def test_more_sizes_and_steps_than_there_may_be_groups_leave_nothing(tmp_path):
    rows = [{"class": 0, "width": 4 * (1 + n % 100), "height": 4 * (1 + n // 100)} for n in range(1001)]
    with pytest.raises(DataError, match="expected at most 1000 different sizes"):
        plan_of(tmp_path / "store", as_parquet(tmp_path / "r.parquet", rows))
    assert not (tmp_path / "store").exists()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), kind=st.sampled_from(KINDS))
def test_bytes_of_any_kind_are_rows_or_one_line(tmp_path, data, kind):
    path = tmp_path / f"r.{kind}"
    path.write_bytes(data)
    assert "\n" not in said_of(str(path))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(list(known_columns(SPEC.conditioner))),
            st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5)
            | st.lists(st.integers(), max_size=2),
        ),
        min_size=1,
        max_size=4,
    )
)  # fmt: skip
def test_json_of_any_kind_is_rows_or_one_line(tmp_path, rows):
    assert "\n" not in said_of(as_json_lines(tmp_path / "r.jsonl", rows), keep=("prompt",))


def test_a_file_without_line_ends_is_not_held_whole(tmp_path):
    path = tmp_path / "r.jsonl"
    with open(path, "wb") as file:
        file.truncate(4 * MAX_LINE_BYTES)
    tracemalloc.start()
    line = refused(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert line == f" line 1: expected at most {MAX_LINE_BYTES:,} bytes"
    assert peak < 3 * MAX_LINE_BYTES


def test_a_glance_sees_the_first_rows_only(tmp_path):
    rows = [{"class": 0} for _ in range(PAGE_ROWS)] + [{"class": 3}]
    uri = as_parquet(tmp_path / "late.parquet", rows)
    validate_request(Sample(request=Request(uri=uri)), "sample", SPEC, None)
    with pytest.raises(DataError, match="row 0: class"):
        validate_request(Sample(request=Request(uri=as_csv(tmp_path / "r.csv", [{"class": 3}]))), "sample", SPEC, None)


def test_a_files_fingerprint_changes_with_its_size_and_its_ends(tmp_path):
    path = tmp_path / "r.jsonl"
    found = set()
    for data in (b"a" * 100, b"a" * 101, b"b" + b"a" * 99, b"a" * 99 + b"b"):
        path.write_bytes(data)
        found.add(json.dumps(fingerprint(Request(uri=str(path)), None)))
    assert len(found) == 4
    assert fingerprint(Request(uri=str(path)), None)["bytes"] == 100


def test_an_artifacts_fingerprint_is_its_manifests_digest(tmp_path):
    uri = committed(tmp_path / "a", shard_samples(ROWS))
    manifest = Artifact(open_store(uri), "").committed()
    assert fingerprint(Request(uri=uri), None) == {"digest": manifest.digest}


def test_a_request_beside_the_working_directory_is_found(tmp_path, monkeypatch):
    as_csv(tmp_path / "r.csv", [{"class": 1}])
    monkeypatch.chdir(tmp_path)
    assert len(list(read_rows(Request(uri="r.csv"), SPEC.conditioner, None))) == 1


@settings(max_examples=30)
@given(
    data=st.binary(max_size=60), calls=st.lists(st.tuples(st.integers(-70, 70), st.integers(0, 2), st.integers(-1, 70)))
)
def test_a_range_file_reads_as_any_file_does(tmp_path_factory, data, calls):
    folder = tmp_path_factory.mktemp("ranges")
    (folder / "object").write_bytes(data)
    file, plain = RangeFile(open_store(str(folder)), "object"), io.BytesIO(data)
    assert file.readable()
    assert file.seekable()
    assert not file.writable()
    for offset, whence, size in calls:
        base = (0, plain.tell(), len(data))[whence]
        if base + offset >= 0:
            assert file.seek(offset, whence) == plain.seek(offset, whence)
        assert file.read(size) == plain.read(size)
        assert file.tell() == plain.tell()
    file.seek(0)
    buffer = bytearray(7)
    assert buffer[: file.readinto(buffer)] == data[:7]
