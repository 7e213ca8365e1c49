"""A store that an earlier version made, since moved: every command reads it, nothing runs again.

As it was, with parents by absolute URIs that are nowhere now; with parents as they are named today; and in a bucket.
"""

import json
import shutil
from dataclasses import dataclass

import numpy as np
import old_store
import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.numpy import load

from rayograph.api.app import build_app
from rayograph.api.job_service import StoreJobService
from rayograph.commands.artifact_listing import list_artifacts
from rayograph.commands.model_export import Wanted, export
from rayograph.commands.provenance import TraceOptions, trace
from rayograph.commands.verification import verify
from rayograph.config import Sampler, Scale
from rayograph.config.reading.files import load_job
from rayograph.pipeline import runner
from rayograph.pipeline.runner import run_job
from rayograph.runs.artifact import Artifact
from rayograph.runs.lineage import address, ancestors
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.sampling.reproduce import MODEL, draw_again
from rayograph.sampling.requests.plan import open_plan
from rayograph.shards.pixels.decode import render
from rayograph.shards.scan import scan_shard
from rayograph.shards.store import read_index, read_samples
from rayograph.storage import ObjectStore, open_store


@dataclass(frozen=True)
class Place:
    """Where the store lies now."""

    store: ObjectStore
    endpoint_url: str | None = None

    def artifact(self, stage):
        return Artifact(self.store, old_store.place(stage))

    @property
    def scale(self):
        return Scale(store=self.store.uri, endpoint_url=self.endpoint_url)

    def says(self, text):
        return self.store.uri_of(text)


def name_parents_anew(store):
    """As today's manifests and generations name them."""
    for stage in old_store.STAGES:
        artifact = Artifact(store, old_store.place(stage))
        manifest = artifact.committed()
        there = [Artifact(store, old_store.place(parent.uri.split("/")[-2])) for parent in manifest.parents]
        parents = [
            parent.model_copy(update={"uri": address(artifact, place)})
            for parent, place in zip(manifest.parents, there, strict=True)
        ]
        artifact.write("manifest.json", manifest.model_copy(update={"parents": parents}).model_dump_json().encode())
    drawn = Artifact(store, old_store.place("sample"))
    said = json.loads(drawn.read(MODEL))
    said["uri"] = address(drawn, Artifact(store, old_store.place("train_diffusion")))
    drawn.write(MODEL, json.dumps(said).encode())


@pytest.fixture(params=["as it was", "named anew", "in a bucket"])
def place(request, tmp_path):
    store = open_store(str(old_store.unpack(tmp_path)))
    if request.param == "as it was":
        return Place(store)
    name_parents_anew(store)
    if request.param == "named anew":
        return Place(open_store(str(shutil.move(store.uri, tmp_path / "elsewhere"))))
    server = request.getfixturevalue("moto_s3")
    bucket = open_store(f"{server.new_bucket()}/deep/er", server.endpoint_url)
    for info in store.list():
        bucket.put(info.key, store.read(info.key))
    shutil.rmtree(store.uri)
    return Place(bucket, server.endpoint_url)


@pytest.fixture
def kept(tmp_path):
    return Place(open_store(str(old_store.unpack(tmp_path))))


def first_image(place, target):
    samples = place.artifact("sample")
    name = "shards/samples-000000.tar"
    (sample,) = read_samples(samples, name, read_index(samples, name), [0])
    target.write_bytes(sample.members["png"])
    return str(target)


def test_the_whole_job_is_found_committed_and_no_stage_runs(place, monkeypatch, capsys):
    def refuse(*_):
        raise AssertionError("a stage ran, or a cluster was looked for")

    monkeypatch.setattr(runner, "connect", refuse)
    report = run_job(load_job(old_store.JOB), place.scale, None)
    assert report == f"{place.store.uri}/{old_store.place('evaluate')}/report.html"
    told = capsys.readouterr().err
    assert all(place.says(old_store.place(stage)) in told for stage in old_store.STAGES)


def test_it_is_listed_with_parents_that_are_found_within_it(place):
    lines = list(list_artifacts(place.store, place.endpoint_url))
    assert sum("committed" in line for line in lines) == len(old_store.STAGES)
    parents = [line for line in lines if "←" in line]
    assert len(parents) == 10
    assert all(f"← {place.store.uri}/store-1/" in line for line in parents)


def test_it_is_whole_and_has_no_file_that_nobody_lists(place):
    assert len(list(verify(place.store, place.endpoint_url, deep=True))) == len(old_store.STAGES)


def test_its_lineage_is_found_within_it(place):
    for artifact in (
        place.artifact("evaluate"),
        Artifact(open_store(place.artifact("evaluate").uri, place.endpoint_url), ""),
    ):
        found = ancestors(artifact, place.endpoint_url)
        assert {node.uri for node in found} == {place.says(old_store.place(stage)) for stage in old_store.STAGES}
        digests = {node.manifest.stage: node.manifest.digest[:12] for node in found}
        assert old_store.DIGESTS.items() <= digests.items()


def test_an_image_of_it_is_drawn_again_from_the_same_model(place, tmp_path):
    image = first_image(place, tmp_path / "image.png")
    lines = list(
        trace(image, place.endpoint_url, TraceOptions(place.store.uri, again=True, to=str(tmp_path / "drawn.png")))
    )
    (again,) = [line for line in lines if line.startswith("again")]
    assert "the same pixels" in again or "by up to 1 of 255" in again  # alone, it was drawn in a batch of six
    assert any(line.startswith("digests") and line.endswith("are the same") for line in lines)
    assert (tmp_path / "drawn.png").exists()


def test_its_model_draws_with_another_seed_what_the_earlier_version_drew(kept, tmp_path):
    model = DiffusionModel.load(kept.artifact("train_diffusion"), "cpu")
    sampler = Sampler(num_inference_steps=3, guidance_scale=1.5)
    second = Artifact(open_store(str(tmp_path / "again")), "")
    index = scan_shard(second.store, "samples-000000.tar")
    drawn, _ = model.draw(7, torch.arange(6), {"class": torch.arange(6) % 3}, sampler)
    for number, sample in enumerate(read_samples(second, "samples-000000.tar", index, range(6))):
        assert json.loads(sample.members["json"])["seed"] == 7
        there = render(sample.members["png"], "there").astype(int)
        assert np.abs(drawn[number].numpy().astype(int) - there).max() <= 1


def test_a_model_is_exported_from_its_checkpoint(place, tmp_path):
    trained = place.artifact("train_diffusion")
    line, opens = export(trained.uri, str(tmp_path / "model"), place.endpoint_url, Wanted())
    assert "DiffusionPipeline.from_pretrained" in opens
    assert "of 64 images" in line
    there = load(trained.read("model/unet/diffusion_pytorch_model.safetensors"))
    exported: dict[str, np.ndarray] = {}
    for file in (tmp_path / "model").glob("*/*.safetensors"):
        if file.parent.name != "vae":
            exported |= load(file.read_bytes())
    embedding = there.pop("class_embedding.weight")  # beside the U-Net now
    assert [name for name in exported if np.array_equal(exported[name], embedding)]
    assert all(np.array_equal(exported[name], values) for name, values in there.items())


def test_it_is_served_with_its_model_its_images_and_their_lineage(place):
    def again(artifact, number):
        return draw_again(artifact, number, place.endpoint_url)

    job_service = StoreJobService(place.store, place.scale, lambda *_: None, again)
    client = TestClient(build_app(place.store, job_service, open_plan), base_url="http://localhost")
    (model,) = client.get("/v1/models").json()
    assert model["class_names"] == ["dots", "lines", "rings"]
    (job,) = client.get("/v1/jobs").json()["jobs"]
    assert (job["phase"], job["samples"]) == ("done", 12)
    assert client.get(f"/v1/jobs/{job['id']}/images/3").status_code == 200
    found = client.get(f"/v1/jobs/{job['id']}/images/3/lineage").json()
    stages = [entry["stage"] for entry in found["ancestors"]]
    assert stages == ["sample", "train_diffusion", "encode", "train_autoencoder", "pack"]
    known = {entry["uri"] for entry in found["ancestors"]}
    assert {parent["uri"] for entry in found["ancestors"] for parent in entry["parents"]} <= known
    drawn = client.post(f"/v1/jobs/{job['id']}/images/3/again")
    assert drawn.json()["largest_difference"] <= 1
