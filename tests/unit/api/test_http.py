"""The HTTP app over a local store, a painter in the coordinator's place: every endpoint, every refusal in one line."""

import hashlib
import io
import json
import mimetypes
import re
import shlex
import shutil
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import asked
import painted
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from watched_store import WatchedFolder

from rayograph.api.app import build_app
from rayograph.api.guards.rate_limits import Limits, Rate
from rayograph.api.job_service import StoreJobService
from rayograph.api.static_files import page_paths
from rayograph.conditioning.class_label import ClassLabelConditioner
from rayograph.conditioning.member_columns import refuse, to_array, whole
from rayograph.conditioning.protocol import Conditioner
from rayograph.config import Scale
from rayograph.errors import DataError, ResourceError, StorageError
from rayograph.runs.artifact import Artifact
from rayograph.sampling.job_state import read_state, write_state
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.sampling.requests.options import options
from rayograph.storage import open_store
from rayograph.storage.object_store import ObjectStore

TOKEN = "a-long-enough-token-0123456789"
MINUTES = timedelta(minutes=1)


class Tone(Conditioner):
    """One number a row."""

    takes, members, request_columns = "a tone", (), {"tone": pa.float64()}

    def validate(self, rows):
        refuse("tone", to_array(rows["tone"]) > 1, "a number up to 1", whole(rows["tone"]))
        return rows


CLASSES = ClassLabelConditioner(len(painted.CLASSES), tuple(painted.CLASSES))


def checked(conditioner, stage):
    """Check a request's rows as its plan does."""
    if stage.declared.request is not None:
        list(asked.pages(stage.declared.request.uri, spec=ModelSpec(conditioner, 48, 4, 1000)))


class Place:
    """A store, its painter and clients of its app."""

    def __init__(self, folder, prepare=lambda _: None, **more):
        self.store = painted.new_store(folder)
        self.painter = painted.Painter(self.store, **more)
        self.job_service = StoreJobService(
            self.store, Scale(), self.painter.start, self.painter.draw_again, prepare=prepare
        )
        self.model = painted.model_name(self.store)
        self.client = self.serve()

    def serve(self, token=None, host="localhost", store=None, **more):
        digest = None if token is None else hashlib.sha256(token.encode()).hexdigest()
        app = build_app(store or self.store, self.job_service, painted.open_plan, digest, **more)
        return TestClient(app, base_url=f"http://{host}", raise_server_exceptions=False)

    def body(self, **more):
        what = {} if {"num_samples", "request_uri", "rows"} & set(more) else {"rows": [{"class": 1, "count": 3}]}
        return {"model": self.model, "unit_size": 4} | what | more

    def submit(self, **more):
        return self.client.post("/v1/jobs", json=self.body(**more))

    def done(self, **more):
        """A job's id, once all of it is drawn and committed."""
        job = self.submit(**more).json()["job"]["id"]
        self.painter.join()
        return job

    def artifact(self, job):
        return Artifact(self.store, job.replace("~", "/"))


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "store")


@pytest.fixture
def idle(tmp_path):
    return Place(tmp_path / "store", idle=True)


@pytest.fixture
def strict(tmp_path):
    """Rows are checked against a model of four classes."""
    return Place(tmp_path / "store", partial(checked, CLASSES), idle=True)


def refusal(answer, status):
    """The one line of a refused request."""
    assert answer.status_code == status, answer.text
    (line,) = answer.json().values()
    assert list(answer.json()) == ["error"]
    assert "\n" not in line
    assert len(line) < 800
    return line


# Submitting


def test_a_submission_becomes_a_job_that_runs_to_its_commit(place):
    answer = place.submit(rows=[{"class": "one", "count": 5, "seed": 7}, {"class": 2, "prompt": "a cat"}])
    assert answer.status_code == 201
    assert answer.json()["created"]
    job = answer.json()["job"]["id"]
    assert job.startswith("gallery~sample~")
    place.painter.join()
    fresh = place.serve().get(f"/v1/jobs/{job}").json()
    assert (fresh["phase"], fresh["committed"], fresh["samples"], fresh["total_samples"]) == ("done", True, 6, 6)
    assert fresh["uri"] == place.artifact(job).uri


def test_the_same_submission_gives_the_same_job_and_another_one_another(idle):
    first, second = idle.submit(), idle.submit()
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["job"]["id"] == second.json()["job"]["id"]
    assert not second.json()["created"]
    assert idle.submit(seed=1).json()["job"]["id"] != first.json()["job"]["id"]
    assert idle.submit(name="other").json()["job"]["job"] == "other"


def test_rows_are_kept_by_their_content_beside_the_jobs(idle):
    idle.submit(rows=[{"class": 1, "count": 2, "prompt": "ü"}])
    (info,) = idle.store.list("requests/")
    data = idle.store.read(info.key)
    assert info.key == f"requests/{hashlib.sha256(data).hexdigest()}.jsonl"
    assert json.loads(data) == {"class": 1, "count": 2, "prompt": "ü"}


def test_a_model_may_be_named_by_its_uri_and_a_request_lie_in_the_store(idle):
    idle.store.put("mine/rows.jsonl", b'{"class": 1}\n')
    uri = idle.store.uri_of("mine/rows.jsonl")
    answer = idle.submit(model=idle.store.uri_of(idle.model), request_uri=uri)
    assert answer.status_code == 201
    declared = idle.client.get("/openapi.json").json()["components"]["schemas"]["Submission"]["properties"]
    assert {"model", "rows", "request_uri", "num_samples", "sampler", "image", "priority"} <= set(declared)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"rows": [{"class": 1, "count": -4}]},
            "rows.0.count: expected a whole number above 0, up to 1,000,000,000, got -4",
        ),
        (
            {"rows": [{"class": 1}, {"width": 10**6}]},
            "rows.1.width: expected a whole number above 0, up to 4,096, got 1",
        ),
        ({"rows": [{"class": [1]}]}, "rows.0: class: expected a class's number or name, got [1]"),
        ({"rows": [{"class": True}]}, "rows.0: class: expected a class's number or name, got True"),
        ({"rows": [{"class": 1, "count": True}]}, "rows.0: count: expected no truth value, got True"),
        ({"rows": [{"class": 1, "count": 2.5}]}, "rows.0.count: input should be a valid integer"),
        ({"rows": [{"class": 1, "seed": 10**29}]}, "rows.0: seed: expected at most 64 bits, got a number of 97"),
        ({"rows": [{"class": 10**29}]}, "rows.0: class: expected at most 64 bits, got a number of 97"),
        ({"num_samples": 5, "seed": 2**64 - 1, "priority": True}, "priority: expected no truth value, got True"),
        ({"num_samples": 5, "sampler": {"guidance_scale": 1e300}}, "sampler.guidance_scale: expected a number from 0"),
        ({"rows": [{"clas": 1}]}, "rows: column 'clas': not known; did you mean 'class'?"),
        ({"rows": []}, "rows: list should have at least 1 item"),
        ({"rows": [{"prompt": "x" * 5000}]}, "rows.0.prompt: expected at most 4,096 characters, got 5,000"),
        ({"rows": [{"class": 1}] * 10_001}, "rows: expected at most 10,000, got 10,001: put them into a request_uri"),
        ({"num_samples": 5, "request_uri": "x"}, "rows: expected exactly one of"),
        ({"num_samples": 0}, "num_samples: expected a whole number above 0, got 0"),
        ({"num_samples": 5, "priorty": 3}, "priorty: no such field; did you mean 'priority'?"),
        ({"num_samples": 5, "sampler": {"steps": 3}}, "sampler.steps: no such field"),
        ({"num_samples": 5, "image": {"kind": "gif"}}, "image.kind: input should be 'png', 'jpeg' or 'webp'"),
        ({"num_samples": 5, "image": {"quality": 90}}, "image: quality: expected none for png"),
        ({"num_samples": 5, "name": "../etc"}, "name: string should match pattern"),
        ({"num_samples": 5, "seed": -1}, "seed: expected a whole number from 0"),
        ({"num_samples": 5, "model": "digits/nothing"}, "model: no such committed model: 'digits/nothing'"),
        ({"num_samples": 5, "model": "/etc"}, "model: expected a URI below"),
        ({"request_uri": "/etc/passwd"}, "request_uri: expected a URI below"),
        ({"request_uri": "s5://bucket/rows.csv"}, "request_uri: "),
    ],
)
def test_a_bad_submission_is_one_line_and_nothing_is_started(strict, change, line):
    told = refusal(strict.submit(**change), 422)
    assert told.startswith(line)
    assert strict.painter.started == []
    assert strict.client.get("/v1/jobs").json() == {"jobs": [], "total": 0}


@pytest.mark.parametrize("change", [
    {"kind": "train_diffusion"}, {"stages": {"pack": {"kind": "pack"}}}, {"scale": {"store": "/tmp"}},
    {"implemented_by": "os:system"}, {"sampler": {"kind": "euler"}}, {"marking": {"certificate_file": "/etc/passwd"}},
    {"rows": [{"class": 1, "kind": "pack"}]}, {"rows": [{"class": 1, "model": "x"}]}, {"keep": ["prompt"]},
    {"rows": [{"class": 1, "eta": 0.5}]}, {"model": {"kind": "import_model", "uri": "/etc"}},
])  # fmt: skip
def test_no_stage_is_declared_over_http_and_nothing_else_that_a_submission_does_not_say(strict, change):
    told = refusal(strict.submit(**change), 422)
    assert re.search("no such field|not known|model: .*string", told)
    assert strict.painter.started == []


def test_whatever_option_of_the_sampler_rows_may_say_reaches_the_request_with_its_bounds(strict):
    declared = strict.client.get("/openapi.json").json()["components"]["schemas"]["Row"]["properties"]
    assert {option.name for option in options()} <= set(declared)
    said = {option.name: option.choices[0] if option.choices else 1 for option in options()}
    assert {"scheduler", "guidance_rescale"} <= set(said)
    assert strict.submit(rows=[{"class": 1} | said]).status_code == 201
    (rows,) = strict.store.list("requests/")
    assert json.loads(strict.store.read(rows.key)) == {"class": 1, "count": 1} | said
    for option in options():
        if option.high < float("inf"):
            told = refusal(strict.submit(rows=[{"class": 1, option.name: option.high + 1}]), 422)
            assert told.startswith(f"rows.0.{option.name}: expected")


def test_a_condition_that_nobody_here_knows_is_a_column_of_its_models_rows_and_of_no_others(strict, tmp_path):
    there = Place(tmp_path / "tones", partial(checked, Tone()), idle=True)
    rows = [{"tone": 0.5, "count": 2}]
    assert there.submit(rows=rows).status_code == 201
    (kept,) = there.store.list("requests/")
    assert json.loads(there.store.read(kept.key)) == rows[0]
    assert refusal(there.submit(rows=[{"tone": 2}]), 422) == "rows.0: tone: expected a number up to 1, got 2"
    assert refusal(there.submit(rows=[{"class": 1}]), 422).startswith("rows: column 'class': the model takes a tone")
    assert refusal(strict.submit(rows=rows), 422).startswith("rows: column 'tone': not known")


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("class", "\ud800", "rows.0: class: expected text in UTF-8, got '\\ud800'"),
        ("prompt", "a\udfff", "rows.0: prompt: expected text in UTF-8, got 'a\\udfff'"),
        ("guidance_scale", float("nan"), "rows.0.guidance_scale: expected a number from 0"),
        ("guidance_scale", float("inf"), "rows.0.guidance_scale: expected a number from 0"),
    ],
)
def test_what_only_json_can_say_is_one_line_too(idle, field, value, line):
    body = json.dumps(idle.body(rows=[{"class": 1, field: value}]))
    answer = idle.client.post("/v1/jobs", content=body.encode(), headers={"content-type": "application/json"})
    assert refusal(answer, 422).startswith(line)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ('{"num_samples": 1, "seed": 1, "seed": 2}', "body: field 'seed': expected once, found 2 times"),
        ('{"rows": [{"class": 1, "count": 1, "count": 9}]}', "body: field 'count': expected once, found 2 times"),
    ],
)
def test_a_key_that_stands_twice_is_refused_not_taken_by_its_last_value(idle, body, line):
    posted = idle.client.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert refusal(posted, 422) == line
    assert idle.painter.started == []


def test_a_model_that_is_no_model_is_named_with_what_was_found(idle):
    packed = idle.store.uri_of(idle.store.folders("digits/pack")[0].join(["digits/pack/", ""]))
    assert "expected a committed artifact of diffusion_model" in refusal(idle.submit(model=packed), 422)


def test_a_request_that_does_not_fit_its_model_is_refused_before_anything_is_written(idle):
    def refuse(stage):
        raise DataError(f"{stage.declared.request.uri} row 0: class: expected 0 to 3, got 9")

    idle.job_service = StoreJobService(idle.store, Scale(), idle.painter.start, idle.painter.draw_again, prepare=refuse)
    told = refusal(idle.serve().post("/v1/jobs", json=idle.body()), 422)
    assert told == "rows.0: class: expected 0 to 3, got 9"  # the client knows no file
    assert idle.painter.started == []
    assert idle.store.folders("gallery") == []


def test_what_is_no_json_object_is_refused_in_one_line(idle):
    def post(data, kind="application/json"):
        return idle.client.post("/v1/jobs", content=data, headers={"content-type": kind})

    assert refusal(post(b"{"), 400).startswith("body: not JSON")
    refusal(post(b"[1]"), 422)
    refusal(post(b""), 422)
    refusal(post(b'"x"'), 422)
    refusal(post(json.dumps(idle.body()), "text/plain"), 422)  # what a foreign form could send
    assert idle.painter.started == []


def test_a_body_over_the_limit_is_cut_off_whether_its_length_is_told_or_not(idle):
    prompt = idle.body(rows=[{"prompt": "x" * (1 << 20)}])
    assert refusal(idle.client.post("/v1/jobs", json=prompt), 413) == "body: expected at most 1,048,576 bytes, got more"

    def drops():
        for _ in range(40):
            yield b"x" * 65536

    refusal(idle.client.post("/v1/jobs", content=drops()), 413)
    assert idle.painter.started == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DataError("class: expected 0 to 3, got 9"), 422),
        (ResourceError("expected 4 GPUs, got 0"), 409),
        (StorageError("s3://b: put failed"), 503),
    ],
)
def test_what_the_desk_refuses_keeps_its_line(idle, monkeypatch, error, status):
    def refuse(_):
        raise error

    monkeypatch.setattr(idle.job_service, "submit", refuse)
    assert refusal(idle.submit(), status) == str(error)


def test_a_defect_is_told_without_its_insides(idle, monkeypatch):
    monkeypatch.setattr(idle.job_service, "models", lambda: 1 / 0)
    assert refusal(idle.client.get("/v1/models"), 500).endswith("ZeroDivisionError")


# Watching and steering


def test_models_are_listed_with_their_classes(place):
    (model,) = place.client.get("/v1/models").json()
    assert (model["name"], model["class_names"]) == (place.model, painted.CLASSES)


def test_jobs_are_listed_those_under_way_first(place):
    done = place.done(num_samples=4)
    place.painter.idle = True
    waiting = place.submit(seed=2).json()["job"]["id"]
    listed = place.serve().get("/v1/jobs").json()
    assert [job["id"] for job in listed["jobs"]] == [waiting, done]
    assert [job["phase"] for job in listed["jobs"]] == ["waiting", "done"]
    assert place.client.get("/v1/jobs?start=1&limit=1").json()["total"] == 2


def test_a_job_can_be_paused_resumed_and_cancelled(tmp_path):
    place = Place(tmp_path / "store")
    place.painter.allowed_units = 1  # each wish is left before the next unit is drawn
    job = place.submit(num_samples=40, unit_size=1).json()["job"]["id"]

    def until(phase):
        deadline = time.monotonic() + 120
        while (found := place.serve().get(f"/v1/jobs/{job}").json())["phase"] != phase:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found

    assert place.client.post(f"/v1/jobs/{job}/pause").json()["wanted"] == "paused"
    place.painter.allowed_units = 2
    held = until("paused")
    assert held["samples"] < 40
    assert place.client.post(f"/v1/jobs/{job}/resume").json()["wanted"] == "running"
    until("running")
    assert place.client.post(f"/v1/jobs/{job}/cancel").status_code == 200
    place.painter.allowed_units = 40
    until("cancelled")
    place.painter.join()
    place.client.post(f"/v1/jobs/{job}/resume")
    place.painter.join()
    assert until("done")["samples"] == 40
    assert "expected a job under way" in refusal(place.client.post(f"/v1/jobs/{job}/cancel"), 409)


def test_submitting_a_cancelled_job_again_takes_it_up(idle):
    job = idle.submit().json()["job"]["id"]
    idle.client.post(f"/v1/jobs/{job}/cancel")
    assert idle.submit().json()["job"]["wanted"] == "running"


def test_a_new_app_wakes_what_was_submitted_and_nothing_else(place):
    place.done(num_samples=4)
    place.painter.idle = True
    under_way, cancelled, failed = (place.submit(seed=seed).json()["job"]["id"] for seed in (1, 2, 3))
    place.client.post(f"/v1/jobs/{cancelled}/cancel")
    state = read_state(place.artifact(place.done(num_samples=4)))
    write_state(place.artifact(failed), state.model_copy(update={"phase": "failed", "error": "no GPU"}))
    place.painter.started.clear()
    job_service = StoreJobService(place.store, Scale(), place.painter.start, place.painter.draw_again)
    assert [artifact.path for artifact in job_service.wake_all()] == [under_way.replace("~", "/")]
    assert place.painter.started == [under_way.replace("~", "/")]
    assert place.serve().get(f"/v1/jobs/{failed}").json()["error"] == "no GPU"


def test_jobs_of_a_store_that_was_moved_are_woken_and_shown_with_their_lineage(idle, tmp_path):
    by_name = idle.submit(rows=[{"class": "one", "count": 3}]).json()["job"]["id"]
    by_uri = idle.submit(model=idle.store.uri_of(idle.model), num_samples=4, seed=3).json()["job"]["id"]
    shutil.move(idle.store.uri, tmp_path / "elsewhere")
    store = open_store(str(tmp_path / "elsewhere"))
    painter = painted.Painter(store, idle=True)
    service = StoreJobService(store, Scale(), painter.start, painter.draw_again)
    woken = {artifact.path for artifact in service.wake_all()}
    assert woken == {job.replace("~", "/") for job in (by_name, by_uri)} == set(painter.started)
    for path in woken:
        found = service.lineage(Artifact(store, path))
        assert [entry.stage for entry in found[:2]] == ["sample", "train_diffusion"]
        assert all(entry.uri.startswith(f"{store.uri}/") for entry in found)
        assert service.class_names(Artifact(store, path)) == painted.CLASSES


def test_a_job_that_nobody_speaks_for_is_silent(place):
    place.painter.idle = True
    job = place.submit().json()["job"]["id"]

    def seen(minutes):
        return place.serve(now=lambda: datetime.now(UTC) + minutes * MINUTES).get(f"/v1/jobs/{job}").json()

    assert seen(0.5)["silent_since"] is None
    assert seen(2)["silent_since"] == seen(2)["updated"]
    artifact = place.artifact(job)
    painted.say(artifact, painted.RowsPlan([{}] * 9, 3), 1, "running")
    assert seen(0.5)["silent_since"] is None
    assert seen(2)["silent_since"] is not None
    painted.say(artifact, painted.RowsPlan([{}] * 9, 3), 1, "cancelled")
    assert seen(2)["silent_since"] is None


def test_one_spoilt_job_hides_no_other(idle, caplog):
    good, spoilt = (idle.submit(seed=seed).json()["job"]["id"] for seed in (1, 2))
    idle.artifact(spoilt).write("state.json", b'{"format": 2}')
    idle.store.put("other/sample/0123456789abcdef/job.yaml", b"[1")
    client = idle.serve()
    assert [job["id"] for job in client.get("/v1/jobs").json()["jobs"]] == [good]
    assert "state.json" in refusal(client.get(f"/v1/jobs/{spoilt}"), 422)
    job_service = StoreJobService(idle.store, Scale(), idle.painter.start, idle.painter.draw_again)
    assert [artifact.path for artifact in job_service.wake_all()] == [good.replace("~", "/")]


def test_an_unknown_job_is_404_on_every_path(idle):
    for path in ("", "/images", "/images/0", "/images/0/thumbnail", "/images/0/lineage", "/classes"):
        for job in ("digits~sample~0123456789abcdef", "x", "..~..~0123456789abcdef", idle.model.replace("/", "~")):
            assert refusal(idle.client.get(f"/v1/jobs/{job}{path}"), 404) == f"{job}: no such job"
    for verb in ("pause", "resume", "cancel", "images/0/again"):
        refusal(idle.client.post(f"/v1/jobs/nobody/{verb}"), 404)
    assert refusal(idle.client.get("/v2"), 404) == "Not Found"
    refusal(idle.client.put("/v1/jobs"), 405)


def test_a_settled_store_is_hardly_read_however_often_it_is_asked(place):
    job = place.done(num_samples=12)
    watched = WatchedFolder(place.store.uri)
    client = place.serve(store=ObjectStore(watched))
    client.get("/v1/jobs")
    client.get(f"/v1/jobs/{job}/images")
    client.get(f"/v1/jobs/{job}/images/3/thumbnail")
    watched.reads.clear()
    watched.ranges.clear()
    for _ in range(20):
        client.get("/v1/jobs")
        client.get(f"/v1/jobs/{job}/images")
        client.get(f"/v1/jobs/{job}/images/3/thumbnail")
    assert watched.reads == []
    assert watched.ranges == []


# Images


def numbers(answer):
    assert answer.status_code == 200, answer.text
    return [frame["number"] for frame in answer.json()["images"]]


def test_images_come_in_pages_that_cover_the_job_once(place):
    job = place.done(num_samples=23)
    seen, start = [], 0
    while start is not None:
        answer = place.client.get(f"/v1/jobs/{job}/images?start={start}&limit=5")
        seen += numbers(answer)
        assert answer.json()["total"] == 23
        start = answer.json()["next"]
    assert seen == list(range(23))
    assert numbers(place.client.get(f"/v1/jobs/{job}/images?start=100")) == []


def test_images_are_found_by_prompt_class_and_seed(place):
    rows = [{"class": 1, "count": 2, "seed": 5, "prompt": "a red cat"}, {"class": "three", "count": 3, "prompt": "dog"}]
    job = place.done(rows=rows)

    def found(**query):
        return numbers(place.client.get(f"/v1/jobs/{job}/images", params=query))

    assert found(prompt="cat") == [0, 1]
    assert found(**{"class": "three"}) == found(**{"class": 3}) == [2, 3, 4]
    assert found(seed=5) == [0, 1]
    assert found(seed=0, start=3) == [3, 4]
    assert found(prompt="", **{"class": ""}) == [0, 1, 2, 3, 4]
    answer = place.client.get(f"/v1/jobs/{job}/images?class=nine")
    assert refusal(answer, 422) == "class: expected one of zero, one, two, three, got 'nine'"
    for query, name in (("seed=x", "seed"), ("start=-1", "start"), ("limit=501", "limit"), ("limit=0", "limit")):
        assert refusal(place.client.get(f"/v1/jobs/{job}/images?{query}"), 422).startswith(f"{name}: ")
    assert place.client.get(f"/v1/jobs/{job}/classes").json() == painted.CLASSES


def half(idle):
    """A job of twelve images, of which 4 to 7 are drawn and 8 to 11 given up."""
    job = idle.submit(num_samples=12, unit_size=4).json()["job"]["id"]
    assert idle.client.get(f"/v1/jobs/{job}/images").json() == {"images": [], "next": None, "total": 0}
    artifact = idle.artifact(job)
    plan = painted.RowsPlan([{"class": 0, "seed": 0, "counter": n} for n in range(12)], 4)
    artifact.write(painted.PLAN, json.dumps({"samples": plan.samples, "unit_size": 4}).encode())
    samples = [idle.painter.sample(artifact, n, plan.samples[n]) for n in range(4, 8)]
    painted.put_shard(artifact, painted.shard_name("samples", 1), samples)
    painted.say(artifact, plan, 1, "running", dead=["shards/samples-000002.tar"])
    return job


def test_frames_fill_as_shards_land_and_dead_letters_say_so(idle):
    job = half(idle)
    frames = idle.serve().get(f"/v1/jobs/{job}/images").json()["images"]
    assert [frame["state"] for frame in frames] == ["waiting"] * 4 + ["drawn"] * 4 + ["failed"] * 4
    assert refusal(idle.client.get(f"/v1/jobs/{job}/images/0"), 409) == "image 0: not drawn yet"
    refusal(idle.client.get(f"/v1/jobs/{job}/images/0/thumbnail"), 409)
    refusal(idle.client.post(f"/v1/jobs/{job}/images/0/again"), 409)
    assert refusal(idle.client.get(f"/v1/jobs/{job}/images/12"), 404) == "image 12: expected 0 to 11"
    refusal(idle.client.get(f"/v1/jobs/{job}/images/x"), 422)


def test_an_image_is_its_very_file_by_one_range_read(place):
    job = place.done(num_samples=8)
    watched = WatchedFolder(place.store.uri)
    client = place.serve(store=ObjectStore(watched))
    answer = client.get(f"/v1/jobs/{job}/images/6")
    assert answer.content == painted.paint({"class": 2, "seed": 0, "counter": 6}, 48)
    assert answer.headers["content-type"] == "image/png"
    assert len(watched.ranges) == 1
    assert watched.ranges[0][1] < len(answer.content) + 2048
    again = client.get(f"/v1/jobs/{job}/images/6", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_thumbnail_is_small_and_a_small_image_is_its_own(tmp_path):
    large = Place(tmp_path / "large", side=400)
    answer = large.client.get(f"/v1/jobs/{large.done(num_samples=1)}/images/0/thumbnail")
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == (192, 192)
    small = Place(tmp_path / "small", side=40)
    job = small.done(num_samples=1)
    thumbnail = small.client.get(f"/v1/jobs/{job}/images/0/thumbnail")
    assert thumbnail.content == small.client.get(f"/v1/jobs/{job}/images/0").content


def test_lineage_leads_back_to_the_data_before_and_after_the_commit(idle):
    job = half(idle)
    before = idle.client.get(f"/v1/jobs/{job}/images/5/lineage").json()
    idle.painter.idle = False
    idle.client.post(f"/v1/jobs/{job}/resume")
    idle.painter.join()
    after = idle.client.get(f"/v1/jobs/{job}/images/5/lineage").json()
    stages = ["sample", "train_diffusion", "encode", "train_autoencoder", "pack"]
    assert [one["stage"] for one in before["ancestors"]] == [one["stage"] for one in after["ancestors"]] == stages
    assert (before["ancestors"][0]["digest"], before["record"]["number"], after["record"]["number"]) == (None, 5, 5)
    assert all(len(one["digest"]) == 64 for one in after["ancestors"])
    file = f"{job.replace('~', '-')}-000000005.png"
    assert after["command"] == f"rayograph trace {file} --store {shlex.quote(idle.store.uri)} --again"
    assert file in idle.client.get(f"/v1/jobs/{job}/images/5").headers["content-disposition"]


def test_drawing_again_says_whether_it_is_the_same(place):
    job = place.done(num_samples=4)
    place.painter.spoilt = {2}
    same, other = (place.client.post(f"/v1/jobs/{job}/images/{n}/again").json() for n in (1, 2))
    assert (same["same_pixels"], same["same_file"], same["different_pixels"]) == (True, True, 0)
    assert not other["same_pixels"]
    assert other["largest_difference"] > 50
    assert same["media_type"] == "image/png"
    assert same["record"]["number"] == 1


# Security


def test_a_token_is_asked_for_where_there_is_one(place):
    client = place.serve(TOKEN, host="gallery.example.com")
    for path in ("/v1/jobs", "/v1/models", "/openapi.json", "/v1/jobs/x/images/0", "/nowhere"):
        assert "got none" in refusal(client.get(path), 401)
        assert "got another" in refusal(client.get(path, headers={"authorization": f"Bearer {TOKEN}x"}), 401)
        refusal(client.get(path, headers={"authorization": "Bearer"}), 401)
        refusal(client.get(path, headers={"authorization": f"Basic {TOKEN}"}), 401)
        refusal(client.get(path, headers={"cookie": "rayograph_session=wrong"}), 401)
    refusal(client.post("/v1/jobs", json=place.body()), 401)
    assert place.painter.started == []
    assert client.get("/v1/jobs", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/").status_code == 200


def test_a_session_keeps_the_token_out_of_scripts_reach(place):
    client = place.serve(TOKEN)
    refusal(client.post("/v1/session", json={"token": "no"}), 401)
    answer = client.post("/v1/session", json={"token": TOKEN})
    assert answer.status_code == 204
    assert all(part in answer.headers["set-cookie"].lower() for part in ("httponly", "samesite=strict", "path=/"))
    assert client.get("/v1/jobs").status_code == 200
    client.delete("/v1/session")
    refusal(client.get("/v1/jobs"), 401)


def test_tries_of_a_token_are_few(place):
    client = place.serve(TOKEN, limits=Limits(costly=Rate(0.1, 3)), clock=lambda: 0.0)
    answers = [client.post("/v1/session", json={"token": f"guess-{n}"}).status_code for n in range(5)]
    assert answers == [401, 401, 401, 429, 429]


def test_without_a_token_foreign_names_and_foreign_pages_are_refused(idle):
    for host in (
        "evil.example",
        "evil.example:8000",
        "[::1",
        "localhost@evil.example",
        "127.0.0.1.evil.example",
        "169.254.169.254",
        "",
    ):
        assert refusal(idle.client.get("/v1/jobs", headers={"host": host}), 403).startswith("Host: expected localhost")
    for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
        assert idle.client.get("/v1/jobs", headers={"host": host}).status_code == 200
    for origin in ("http://evil.example", "null", "http://localhost:9999", "http://localhost.evil.example"):
        assert refusal(idle.client.get("/v1/jobs", headers={"origin": origin}), 403).startswith("Origin: ")
        refusal(idle.client.post("/v1/jobs", json=idle.body(), headers={"origin": origin}), 403)
    assert idle.client.get("/v1/jobs", headers={"origin": "http://localhost"}).status_code == 200
    refusal(idle.client.get("/v1/jobs", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}), 403)
    linked = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert idle.client.get("/", headers=linked).status_code == 200
    assert idle.painter.started == []


def test_too_many_requests_are_refused_until_time_has_passed(idle):
    now = [0.0]
    client = idle.serve(limits=Limits(requests=Rate(1, 3)), clock=lambda: now[0])
    assert [client.get("/v1/models").status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = client.get("/v1/models")
    assert refusal(answer, 429) == "too many requests: the next one in 2 s"
    assert answer.headers["retry-after"] == "2"
    now[0] = 2.0
    assert client.get("/v1/models").status_code == 200


def test_submissions_are_fewer_than_looks(idle):
    client = idle.serve(limits=Limits(costly=Rate(0.1, 2)), clock=lambda: 0.0)
    assert [client.post("/v1/jobs", json=idle.body()).status_code for _ in range(3)] == [201, 200, 429]
    assert client.get("/v1/jobs").status_code == 200


# The page


def test_the_page_needs_nothing_from_elsewhere(idle):
    for path in page_paths():
        answer = idle.client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        foreign = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "://" not in foreign
        assert "innerHTML" not in foreign
    assert idle.client.get("/").headers["content-type"].startswith("text/html")


def test_browsers_ask_before_every_use_whether_the_pages_files_are_still_the_same(idle):
    javascript = mimetypes.guess_type("page.js")[0]  # either of two names, by the machine
    kinds = {"html": "text/html", "css": "text/css", "svg": "image/svg+xml", "js": javascript}
    for path in page_paths():
        answer = idle.client.get(path)
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["content-type"].partition(";")[0] == kinds[path.partition(".")[2] or "html"]
        again = idle.client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content, again.headers["cache-control"]) == (304, b"", "no-cache")


def test_beside_the_page_no_file_is_served(idle):
    assert len(page_paths()) > 5
    for path in (
        "/index.html",
        "/app.py",
        "/..%2fapp.py",
        "/%2e%2e/app.py",
        "/gallery/page.js",
        "/page.js/",
    ):
        assert idle.client.get(path, follow_redirects=False).status_code in (307, 404)
    refusal(idle.client.post("/page.js"), 405)


def test_every_endpoint_is_described(idle):
    described = idle.client.get("/openapi.json").json()
    assert set(described["paths"]) == {
        *("/v1/session", "/v1/models", "/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/classes"),
        *(f"/v1/jobs/{{job_id}}/{verb}" for verb in ("pause", "resume", "cancel", "images")),
        *(f"/v1/jobs/{{job_id}}/images/{{number}}{what}" for what in ("", "/thumbnail", "/lineage", "/again")),
        *("/v1/models/{name}", "/v1/jobs/{job_id}/takes", "/v1/jobs/{job_id}/images/{number}/given/{column}"),
    }
    assert all(verb["summary"] for path in described["paths"].values() for verb in path.values())
    for path in ("/docs", "/redoc"):  # their scripts would come from elsewhere
        refusal(idle.client.get(path), 404)
