"""One artifact that cannot be read hides no other: in `ls`, `verify`, the HTTP app, and to who keeps jobs alive."""

import json
from types import SimpleNamespace

import painted
import pytest
import yaml
from fastapi.testclient import TestClient

from rayograph.api.app import build_app
from rayograph.api.job_service import StoreJobService
from rayograph.commands.artifact_listing import list_artifacts
from rayograph.commands.verification import verify
from rayograph.config import Scale
from rayograph.errors import DataError, StorageError
from rayograph.runs.artifact import MANIFEST, RESOLVED, Artifact
from rayograph.storage.object_store import ObjectStore

ANOTHER = "digits/train_diffusion/00000000000000ff"
STRANGE = "odd/sample/00000000000000fe"


def of_an_unknown_kind(data):
    record = yaml.safe_load(data)
    record["job"]["stages"][record["stage"]]["kind"] = "draw_with_crayons"
    return yaml.safe_dump(record).encode()


def with_an_odd_date(data):
    return data + b"when: 2026-13-45 00:00:00\n"


JOB_FILES = {
    "of an unknown kind of stage": of_an_unknown_kind,
    "with a date that is none": with_an_odd_date,
    "no YAML": lambda _: b"\x00[",
    "empty": lambda _: b"",
    "a list": lambda _: b"[1]",
    "nested beyond reading": lambda _: b"[" * 100_000,
    "a job that is no mapping": lambda _: b"stage: sample\nscale: {}\njob: 3\n",
    "not text": lambda _: b"\xff\xfe",
}
MANIFESTS = {
    "empty": b"",
    "cut off": b'{"format": 1, "job": "di',
    "of another format": b'{"format": 2}',
    "no text": b"\xff",
}


@pytest.fixture
def place(tmp_path):
    """A store with a model, a copy of it to be spoilt, and two submitted jobs that nobody draws."""
    store = painted.new_store(tmp_path / "store")
    painter = painted.Painter(store, idle=True)
    job_service = StoreJobService(store, Scale(), painter.start, painter.draw_again)
    client = TestClient(build_app(store, job_service, painted.open_plan), base_url="http://localhost")
    model = painted.model_name(store)
    for name in (RESOLVED, MANIFEST):
        store.put(f"{ANOTHER}/{name}", store.read(f"{model}/{name}"))
    jobs = []
    for seed in (1, 2):
        answer = client.post("/v1/jobs", json={"model": model, "num_samples": 4, "seed": seed})
        jobs.append(answer.json()["job"]["id"].replace("~", "/"))
    painter.started.clear()
    return SimpleNamespace(store=store, painter=painter, model=model, spoilt=jobs[0], good=jobs[1])


def asked_anew(place):
    """What a new app says of models and jobs, and which it wakes."""
    job_service = StoreJobService(place.store, Scale(), place.painter.start, place.painter.draw_again)
    client = TestClient(build_app(place.store, job_service, painted.open_plan), base_url="http://localhost")
    models = [model["name"] for model in client.get("/v1/models").json()]
    jobs = [job["id"].replace("~", "/") for job in client.get("/v1/jobs").json()["jobs"]]
    return models, jobs, [artifact.path for artifact in job_service.wake_all()]


def verified(store):
    """What `verify` says of the whole ones, and what it ends with."""
    whole = []
    try:
        whole.extend(verify(store))
    except DataError as error:
        return whole, str(error)
    return whole, ""


def test_a_store_that_is_whole_shows_and_wakes_all(place):
    models, jobs, woken = asked_anew(place)
    assert set(models) == {place.model, ANOTHER}
    assert set(jobs) == set(woken) == {place.good, place.spoilt}


@pytest.mark.parametrize("spoil", JOB_FILES.values(), ids=JOB_FILES)
def test_a_damaged_job_file_hides_no_model_and_no_job(place, spoil):
    for path in (ANOTHER, place.spoilt):
        key = f"{path}/{RESOLVED}"
        place.store.put(key, spoil(place.store.read(key)))
    models, jobs, woken = asked_anew(place)
    assert models == [place.model]
    assert jobs == woken == [place.good]
    lines = list(list_artifacts(place.store))
    assert any(line.startswith(f"{place.spoilt}  cannot be read: ") for line in lines)
    assert any(line.startswith(f"{place.good}  in progress") for line in lines)
    assert sum("whole" in line for line in verify(place.store)) == 5  # manifests say it, not job files


@pytest.mark.parametrize("data", MANIFESTS.values(), ids=MANIFESTS)
def test_a_damaged_manifest_hides_no_model_and_no_job(place, data):
    for path in (ANOTHER, place.spoilt):
        place.store.put(f"{path}/{MANIFEST}", data)
    models, jobs, woken = asked_anew(place)
    assert models == [place.model]
    assert jobs == woken == [place.good]
    lines = list(list_artifacts(place.store))
    assert any(line.startswith(f"{ANOTHER}  cannot be read: ") for line in lines)
    assert any(line.startswith(f"{place.model}  committed") for line in lines)
    whole, problem = verified(place.store)
    assert len(whole) == 4
    assert problem.count("not a manifest of format 1") == 2


@pytest.mark.parametrize("name", ["submitted.json", "state.json", "control.json"])
@pytest.mark.parametrize("data", [b"", b"[]", b'{"submitted": 3}', b'"\xff'])
def test_a_damaged_word_of_one_job_hides_no_other(place, name, data):
    place.store.put(f"{place.spoilt}/{name}", data)
    models, jobs, woken = asked_anew(place)
    assert len(models) == 2
    assert place.good in jobs
    assert place.good in woken


@pytest.mark.parametrize("name", [RESOLVED, MANIFEST])
def test_an_object_that_the_store_refuses_to_give_hides_no_other(place, name, monkeypatch):
    read = ObjectStore.read

    def refusing(store, key):
        if key in (f"{ANOTHER}/{name}", f"{place.spoilt}/{name}"):
            raise StorageError(f"{store.uri_of(key)}: get failed: access denied")
        return read(store, key)

    if name == MANIFEST:
        place.store.put(f"{place.spoilt}/{name}", b"")
    monkeypatch.setattr(ObjectStore, "read", refusing)
    models, jobs, woken = asked_anew(place)
    assert models == [place.model]
    assert jobs == woken == [place.good]
    assert any("access denied" in line for line in list_artifacts(place.store))


def test_a_defect_that_one_job_meets_keeps_no_other_asleep(place, monkeypatch, caplog):
    start = place.painter.start

    def failing(artifact, job, target):
        if artifact.path == place.spoilt:
            raise ZeroDivisionError
        start(artifact, job, target)

    monkeypatch.setattr(place.painter, "start", failing)
    assert asked_anew(place)[2] == [place.good]
    assert f"{place.spoilt}: not woken" in caplog.text


def test_a_store_that_gives_nothing_at_all_is_no_empty_one(place, monkeypatch):
    def refuse(store, key):
        raise StorageError(f"{store.uri_of(key)}: get failed: no route to host")

    monkeypatch.setattr(ObjectStore, "read", refuse)
    job_service = StoreJobService(place.store, Scale(), place.painter.start, place.painter.draw_again)
    client = TestClient(build_app(place.store, job_service, painted.open_plan), base_url="http://localhost")
    assert client.get("/v1/models").status_code == 503


def test_a_manifest_whose_parents_lead_nowhere_is_a_problem_of_its_own(place):
    artifact = Artifact(place.store, ANOTHER)
    manifest = json.loads(artifact.read(MANIFEST))
    manifest["parents"][0]["uri"] = "../../../../../../../../../../../../x"
    artifact.write(MANIFEST, json.dumps(manifest).encode())
    whole, problem = verified(place.store)
    assert len(whole) == 4
    assert "which cannot be read: " in problem
    assert "expected parents within its store" in problem
    assert sum("committed" in line for line in list_artifacts(place.store)) == 5
