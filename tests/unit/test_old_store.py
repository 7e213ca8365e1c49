"""A store that an earlier version made, since moved: every command reads it, nothing runs again."""

import json

import numpy as np
import old_store
import pytest
import torch

from rayograph.api.backend import StoreDesk
from rayograph.api.catalogue import Catalogue
from rayograph.commands.export import Wanted, export
from rayograph.commands.listing import list_artifacts
from rayograph.commands.provenance import Asked, whence
from rayograph.commands.verify import verify
from rayograph.config import Sampler, Scale
from rayograph.config.files import load_job
from rayograph.pipeline import runner
from rayograph.pipeline.runner import run_job
from rayograph.runs.artifact import Artifact
from rayograph.runs.lineage import ancestors
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.shards.images import render
from rayograph.shards.scan import scan_shard
from rayograph.shards.store import read_index, read_samples
from rayograph.storage import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(str(old_store.unpack(tmp_path)))


def artifact(store, stage):
    return Artifact(store, old_store.place(stage))


def first_image(store, target):
    samples = artifact(store, "sample")
    name = "shards/samples-000000.tar"
    (sample,) = read_samples(samples, name, read_index(samples, name), [0])
    target.write_bytes(sample.members["png"])
    return str(target)


def test_the_whole_job_is_found_committed_and_no_stage_runs(store, monkeypatch, capsys):
    def refuse(*_):
        raise AssertionError("a stage ran, or a cluster was looked for")

    monkeypatch.setattr(runner, "connect", refuse)
    report = run_job(load_job(old_store.JOB), Scale(store=store.uri), None)
    assert report == f"{store.uri}/{old_store.place('evaluate')}/report.html"
    told = capsys.readouterr().err
    assert all(f"{store.uri}/{old_store.place(stage)}" in told for stage in old_store.STAGES)


def test_it_is_listed_with_parents_that_are_found_within_it(store):
    lines = list(list_artifacts(store))
    assert sum("committed" in line for line in lines) == len(old_store.STAGES)
    assert not any("/tmp/store1" in line for line in lines)
    assert any("model" in line and f"{store.uri}/{old_store.place('train_diffusion')}" in line for line in lines)


def test_it_is_whole(store):
    assert len(list(verify(store, deep=True))) == len(old_store.STAGES)


def test_its_lineage_is_found_within_it(store):
    found = ancestors(artifact(store, "evaluate"), None)
    assert {node.uri for node in found} == {f"{store.uri}/{old_store.place(stage)}" for stage in old_store.STAGES}
    digests = {node.manifest.stage: node.manifest.digest[:12] for node in found}
    assert old_store.DIGESTS.items() <= digests.items()


def test_an_image_of_it_is_drawn_again_from_the_same_model(store, tmp_path):
    image = first_image(store, tmp_path / "image.png")
    lines = list(whence(image, None, Asked(store.uri, again=True, to=str(tmp_path / "drawn.png"))))
    (again,) = [line for line in lines if line.startswith("again")]
    assert "the same pixels" in again or "by up to 1 of 255" in again  # alone, it was drawn in a batch of six
    assert any(line.startswith("digests") and line.endswith("are the same") for line in lines)
    assert (tmp_path / "drawn.png").exists()


def test_its_model_draws_with_another_seed_what_the_earlier_version_drew(store, tmp_path):
    model = DiffusionModel.load(artifact(store, "train_diffusion"), "cpu")
    sampler = Sampler(num_inference_steps=3, guidance_scale=1.5)
    kept = Artifact(open_store(str(tmp_path / "again")), "")
    index = scan_shard(kept.store, "samples-000000.tar")
    drawn, _ = model.draw(7, torch.arange(6), torch.arange(6) % 3, sampler)
    for number, sample in enumerate(read_samples(kept, "samples-000000.tar", index, range(6))):
        assert json.loads(sample.members["json"])["seed"] == 7
        there = render(sample.members["png"], "there").astype(int)
        assert np.abs(drawn[number].numpy().astype(int) - there).max() <= 1


def test_a_model_is_exported_from_its_checkpoint(store, tmp_path):
    uri = artifact(store, "train_diffusion").uri
    (line,) = export(uri, str(tmp_path / "model"), None, Wanted())
    assert "of 64 images" in line
    first = (tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert first == artifact(store, "train_diffusion").read("model/unet/diffusion_pytorch_model.safetensors")


def test_the_http_app_finds_its_model_its_images_and_their_lineage(store):
    desk = StoreDesk(store, Scale(store=store.uri), lambda *_: None, lambda *_: None)
    (model,) = desk.models()
    assert model.class_names == ["dots", "lines", "rings"]
    (begun,) = Catalogue(store).of_kind("sample")
    assert desk.class_names(begun.artifact) == ["dots", "lines", "rings"]
    found = desk.lineage(begun.artifact)
    assert [entry.stage for entry in found] == ["sample", "train_diffusion", "encode", "train_autoencoder", "pack"]
    known = {entry.uri for entry in found}
    assert {parent.uri for entry in found for parent in entry.parents} <= known
