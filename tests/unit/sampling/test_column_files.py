"""Files in a request: read wherever they are given, kept with the plan once a page, and refused by row and name."""

import io
import json
import tracemalloc
from base64 import b64encode

import asked
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from worded import IMAGE, Worded, WordedConditioner

from rayograph.config import Request
from rayograph.errors import DataError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.sampling.requests import column_files
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.sampling.requests.plan import open_plan
from rayograph.storage import open_store

SPEC = ModelSpec(WordedConditioner(Worded(), None), side=8, multiple=4, num_train_timesteps=1000)


def png(shade, side=4):
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), shade, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES = [png(0), png(90), png(200)]
PROMPTS = ["a red cat", "A CAT, blue", "two dogs", "a red cat", "a bird"]
WHICH = [0, 1, 0, 2, 1]


def rows(image):
    return [{"prompt": text, "image": image(which), "count": 2} for text, which in zip(PROMPTS, WHICH, strict=True)]


def written(folder, kind, how):
    """The same request, its pictures given as `how` says."""
    folder.mkdir(exist_ok=True)
    for number, data in enumerate(PICTURES):
        (folder / f"{number}.png").write_bytes(data)
    given = {
        "name": lambda which: f"{which}.png",
        "uri": lambda which: f"file://{folder}/{which}.png",
        "base64": lambda which: b64encode(PICTURES[which]).decode(),
        "data URL": lambda which: f"data:image/png;base64,{b64encode(PICTURES[which]).decode()}",
        "bytes": lambda which: PICTURES[which],
    }[how]
    return asked.written(folder, kind, rows(given))


def plan_of(folder, uri, name="target", **request):
    return asked.plan_of(folder, uri, spec=SPEC, name=name, **request)


def records(plan):
    batches = [plan.draws(plan.unit(number)) for number in range(plan.total_units)]
    return [batch.record(row) for batch in batches for row in range(len(batch))]


def refused(uri, **options):
    with pytest.raises(DataError) as caught:
        list(asked.pages(uri, spec=SPEC, **options))
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(uri)
    return line.removeprefix(f"{uri} ")


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *(("jsonl", how) for how in ("name", "uri", "base64", "data URL")),
        *(("csv", how) for how in ("name", "data URL")),
        *(("parquet", how) for how in ("bytes", "name", "data URL")),
    ],
)
def test_files_are_the_same_however_they_are_given_and_outlive_their_source(tmp_path, kind, how):
    folder = tmp_path / "asked"
    uri = written(folder, kind, how)
    plan = plan_of(tmp_path / "store", uri, files="base64" if how == "base64" else "uri")
    for file in folder.iterdir():
        file.unlink()
    found = records(open_plan(plan.artifact))
    assert [record["prompt"] for record in found] == [text for text in PROMPTS for _ in range(2)]
    digests = [f"sha256:{sha256(PICTURES[which])}" for which in WHICH for _ in range(2)]
    assert [record["image"] for record in found] == digests
    assert json.loads(json.dumps(found)) == found
    draws = plan.draws(plan.unit(1))
    assert draws.conditions(0)["image"] == PICTURES[WHICH[2]]
    assert draws.conditions(0)["number"] == draws.record(0)["number"] == 4


def test_a_plan_is_the_same_bytes_whatever_row_groups_and_ways_its_files_came_in(tmp_path):
    table = pa.table({"prompt": PROMPTS, "image": pa.array([PICTURES[which] for which in WHICH], pa.binary())})
    one = asked.as_parquet(tmp_path / "one.parquet", table)
    pq.write_table(table, tmp_path / "many.parquet", row_group_size=2)
    given = [{"prompt": text, "image": f"{which}.png"} for text, which in zip(PROMPTS, WHICH, strict=True)]
    for number, data in enumerate(PICTURES):
        (tmp_path / f"{number}.png").write_bytes(data)
    lines = asked.as_json_lines(tmp_path / "r.jsonl", given)
    plans = [plan_of(tmp_path / "store", uri, name=uri[-9:-6]) for uri in (one, str(tmp_path / "many.parquet"), lines)]
    pages = [json.loads(plan.text)["pages"] for plan in plans]
    assert pages[0] == pages[1] == pages[2]


def test_a_picture_that_many_rows_share_is_kept_and_held_once(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    (tmp_path / "large.png").write_bytes(buffer.getvalue())
    size = len(buffer.getvalue())
    uri = asked.as_json_lines(tmp_path / "r.jsonl", [{"prompt": f"n {n}", "image": "large.png"} for n in range(300)])
    tracemalloc.start()
    plan = plan_of(tmp_path / "store", uri, unit_size=300)
    draws = plan.draws(plan.unit(0))
    assert len({record["image"] for record in records(plan)}) == 1
    assert draws.conditions(299)["image"] == buffer.getvalue()
    assert tracemalloc.get_traced_memory()[1] < 20 * size  # of 300 of them
    tracemalloc.stop()
    (page,) = json.loads(plan.text)["pages"]
    assert len(plan.artifact.read(page["name"])) < 1.2 * size


def test_pages_are_cut_by_the_bytes_of_their_files_and_give_the_same_images(tmp_path, monkeypatch):
    pictures = [png(shade, 16) for shade in range(40)]
    table = pa.table({"prompt": ["x"] * 40, "image": pa.array(pictures, pa.binary())})
    uri = asked.as_parquet(tmp_path / "r.parquet", table)
    whole = plan_of(tmp_path / "store", uri, name="whole", unit_size=7)
    monkeypatch.setattr(column_files, "PAGE_BYTES", 3 * max(map(len, pictures)))
    cut = plan_of(tmp_path / "store", uri, name="cut", unit_size=7)
    assert len(json.loads(whole.text)["pages"]) == 1
    assert len(json.loads(cut.text)["pages"]) >= 13
    assert records(cut) == records(whole)
    assert [plan.draws(plan.unit(2)).conditions(6)["image"] for plan in (whole, cut)] == [pictures[20]] * 2


def test_a_conditioner_is_shown_bytes_and_never_more_of_them_than_a_page(tmp_path, monkeypatch):
    seen = []

    class Watching(WordedConditioner):
        def validate(self, rows):
            assert rows[IMAGE].type == pa.binary()
            seen.append(sum(len(image.as_py()) for image in rows[IMAGE]))
            return super().validate(rows)

    pictures = [png(shade, 16) for shade in (1, 2)] * 20
    monkeypatch.setattr(column_files, "PAGE_BYTES", 3 * max(map(len, pictures)))
    lines = [{"prompt": "x", "image": f"data:;base64,{b64encode(one).decode()}"} for one in pictures]
    spec = ModelSpec(Watching(Worded(), None), 8, 4, 1000)
    (page,) = asked.pages(asked.as_json_lines(tmp_path / "r.jsonl", lines), spec=spec)
    assert page["image"].to_pylist() == pictures
    assert len(page["image"].dictionary) == 2
    assert len(seen) >= 13
    assert max(seen) <= column_files.PAGE_BYTES
    lines[33]["image"] = "data:;base64,AAAA"
    with pytest.raises(DataError, match="row 33: image: expected an image, got "):
        list(asked.pages(asked.as_json_lines(tmp_path / "r.jsonl", lines), spec=spec))


def test_the_last_wrong_row_of_a_hundred_thousand_is_found_before_anything_is_written(tmp_path):
    (tmp_path / "good.png").write_bytes(PICTURES[0])
    (tmp_path / "bad.png").write_bytes(b"GIF8 no image at all")
    lines = ['{"prompt": "p", "image": "good.png"}\n'] * 99_999 + ['{"prompt": "p", "image": "bad.png"}\n']
    (tmp_path / "r.jsonl").write_text("".join(lines))
    uri = str(tmp_path / "r.jsonl")
    with pytest.raises(DataError) as caught:
        plan_of(tmp_path / "store", uri)
    assert str(caught.value).startswith(f"{uri} row 99999: image (bad.png): expected an image, got 20 bytes")
    assert not (tmp_path / "store").exists()


def test_wrong_files_are_one_line_that_names_row_column_and_file(tmp_path, monkeypatch):
    (tmp_path / "r").mkdir()
    (tmp_path / "above.png").write_bytes(PICTURES[0])
    (tmp_path / "r" / "cut.png").write_bytes(PICTURES[1][:-20])
    (tmp_path / "r" / "good.png").write_bytes(PICTURES[1])

    def said(image, **options):
        uri = asked.as_json_lines(tmp_path / "r" / "r.jsonl", [{"prompt": "p", "image": "good.png"}, image])
        return refused(uri, **options)

    def of(image, **options):
        return said({"prompt": "p", "image": image}, **options)

    root = tmp_path / "r"
    below = f"expected a file's name or URI below {root}: allow=(…) of the request names other places"
    for outside in ("../above.png", f"{tmp_path}/above.png", f"file://{tmp_path}/above.png", "s3://bucket/x.png"):
        assert of(outside).endswith(below)
    assert "x/../../above.png" in of("x/../../above.png")
    assert of("none.png") == f"row 1: image: {root}/none.png: expected an image, found no such file"
    assert of("cut.png").startswith("row 1: image (cut.png): expected an image, got")
    assert of("").startswith(f"row 1: image: {root}: expected a file's name or URI")
    assert of(None) == "row 1: image: expected the bytes of an image, got None"
    assert said({"image": "good.png"}) == "row 1: prompt: expected a text, got None"
    assert of([1]).startswith("row 1: image: expected str, got [1]")
    assert of("data:image/png,abc").startswith("row 1: image: expected a data URL in base64")
    assert of("data:image/png;base64,a*b").startswith("row 1: image: expected a file in base64, got 'a*b'")
    monkeypatch.setattr(column_files, "MAX_FILE_BYTES", 80)
    big = b64encode(b"x" * 100).decode()
    assert of(f"data:;base64,{big}") == "row 1: image: expected at most 80 bytes, got 100"
    monkeypatch.setattr(column_files, "MAX_FILE_BYTES", 60)
    assert of("good.png").startswith(f"row 0: image: {root}/good.png: expected at most 60 bytes, got ")
    in_text = {"files": "base64"}
    assert refused(asked.as_json_lines(root / "b.jsonl", [{"prompt": "p", "image": "good.png"}]), **in_text).startswith(
        "row 0: image: expected a file in base64, got 'good.png'"
    )


def test_other_places_are_reached_where_they_are_allowed(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(PICTURES[2])
    row = {"prompt": "p", "image": f"{tmp_path}/elsewhere/a.png"}
    uri = asked.as_json_lines(tmp_path / "r" / "r.jsonl", [row])
    (page,) = asked.pages(uri, spec=SPEC, allow=(str(tmp_path / "elsewhere"),))
    assert page["image"].to_pylist() == [PICTURES[2]]
    assert Request(uri="x.jsonl", allow=("/a",)).allow == ("/a",)


def test_text_is_bounded_and_columns_that_the_model_does_not_take_are_named(tmp_path):
    def said(rows, **options):
        return refused(asked.as_json_lines(tmp_path / "r.jsonl", rows), **options)

    (tmp_path / "a.png").write_bytes(PICTURES[0])
    long = {"prompt": "word " * 10_000, "image": "a.png"}
    assert said([long]).startswith("row 0: prompt: expected at most 10000 bytes, got 'word word")
    long = {"prompt": "p", "negative_prompt": "word " * 10_000, "image": "a.png"}
    assert said([long]).startswith("row 0: negative_prompt: expected at most 10000 bytes")
    for column, what in (("class", "class"), ("mask", "mask"), ("boxes", "boxes"), ("map", "map")):
        line = said([{"prompt": "p", "image": "a.png", column: "x"}])
        assert line.endswith(
            f"column {column!r}: the model takes a text and an image, no {what}; `keep` carries it along"
        )
    assert said([{"prompt": "p"}]).endswith("expected a column 'image', got 'prompt'")
    uri = asked.as_json_lines(tmp_path / "c.jsonl", [{"class": 0, "negative_prompt": "blur"}])
    with pytest.raises(DataError, match="the model takes classes, no negative text; `keep` carries it along"):
        list(asked.pages(uri))


def test_samples_are_found_by_any_text_of_their_rows(tmp_path):
    given = rows(lambda which: f"{which}.png")
    given[3]["negative_prompt"] = "Blur, noise"
    written(tmp_path / "asked", "jsonl", "name")
    plan = plan_of(tmp_path / "store", asked.as_json_lines(tmp_path / "asked" / "more.jsonl", given))
    assert plan.find({"prompt": "cat"}) == [0, 1, 2, 3, 6, 7]
    assert plan.find({"prompt": "cat", "negative_prompt": "blur"}) == [6, 7]
    assert plan.find({"image": "sha256"}) == plan.find({"class": 1}) == plan.find({"prompt": 3}) == []
    assert [record.get("negative_prompt") for record in records(plan)[5:8]] == [None, "Blur, noise", "Blur, noise"]


def test_without_a_request_examples_are_found_by_what_they_are_of(tmp_path):
    from rayograph.config import Sample
    from rayograph.sampling.requests.planner import plan_request

    target = Artifact(open_store(str(tmp_path)), "counted")
    plan = plan_request(target, Sample(num_samples=30, sampler=asked.SAMPLER), 5, SPEC, None)
    assert plan.find({"prompt": "number 1"}) == [1, *range(10, 20)]
    assert open_plan(target).find({"prompt": "number 1"}) == []
