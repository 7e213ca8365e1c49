"""A model of a training's checkpoint as a stage: its weights to the last bit, its key, its lineage, what is refused."""

import json
import shutil

import pytest
import tiny
import torch
from torch import nn

from rayograph.config import (
    Denoiser,
    Encode,
    ExportModel,
    Job,
    Pack,
    Scale,
    SklearnDigits,
    TrainAutoencoder,
    TrainDiffusion,
)
from rayograph.errors import CheckpointError, ConfigError, DataError
from rayograph.models.model_folder import AUTOENCODER, save_model
from rayograph.models.specs import LatentShape
from rayograph.pipeline.preflight import check
from rayograph.pipeline.resolve import resolve
from rayograph.pipeline.runner import run_stage
from rayograph.runs.artifact import RESOLVED
from rayograph.runs.lineage import ancestors
from rayograph.runs.stage_result import StageResult, commit
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.storage import open_store
from rayograph.training.checkpoints.checkpoint import COMMIT, Checkpoints, folder_of
from rayograph.training.checkpoints.initial_weights import autoencoder_weights, diffusion_weights, start_from
from rayograph.training.checkpoints.retention import Retention
from rayograph.training.diffusion_learner import build_networks
from rayograph.training.engine.state import Piece

SIDE, CLASSES = 8, ["zero", "one", "two"]
FIELDS = {"total_images": 64, "global_batch_size": 8, "ema_decays": (0.9, 0.5), "ema_lengths": (0.1, 0.2)}
TRAINING = TrainDiffusion(
    network=Denoiser(
        num_classes="auto", block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, mid_block_attention=False
    ),
    **FIELDS,
)
AVERAGES = ("weight", "ema-0.9", "ema-0.5", "length-0.1", "length-0.2")


class State:
    """As an engine's: other values for every average."""

    def __init__(self, network):
        self.tensors = {}
        for number, key in enumerate(AVERAGES):
            for name, weight in network.named_parameters():
                self.tensors[f"{key}/{name}"] = torch.randn(weight.shape, generator=torch.manual_seed(number))

    def shapes(self):
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def pieces(self):
        for name, tensor in self.tensors.items():
            yield Piece(name, 0, tensor.flatten())


class Engine:
    def __init__(self, network):
        self.state, self.counters = State(network), {}


class Learner:
    def __init__(self, **engines):
        self.names_before, self.notes, self.monitor_metric = {}, [], "loss"
        self._engines = {name: Engine(network) for name, network in engines.items()}

    def engines(self):
        return self._engines

    def step(self, batch, images_seen):
        raise NotImplementedError

    def exports(self):
        raise NotImplementedError


def job(**stages):
    first = {
        "pack": Pack(source=SklearnDigits(), image_size=SIDE),
        "train_autoencoder": TrainAutoencoder(network=tiny.AUTOENCODER, **FIELDS),
        "encode": Encode(),
        "train_diffusion": TRAINING,
    }
    return Job(name="j", stages=first | stages)


def networks():
    """What the second training trains, settled as its data settles it."""
    settled = TRAINING.model_copy(update={"network": TRAINING.network.model_copy(update={"num_classes": len(CLASSES)})})
    denoiser, trained = build_networks(settled, LatentShape(2, 4))
    return nn.ModuleDict({"denoiser": denoiser, "conditioner": trained.network})


@pytest.fixture
def store(tmp_path):
    """Two trainings under way: inputs committed, checkpoints at 16 and 32 images, no model."""
    store = open_store(str(tmp_path / "store"))
    stages = resolve(job(), Scale(store=store.uri), store)
    commit(stages["pack"], StageResult(facts={"class_names": CLASSES, "image_size": SIDE}), 0.0)
    first = stages["train_autoencoder"]
    write_checkpoints(first, autoencoder=nn.ModuleDict({"autoencoder": tiny.autoencoder()}))
    save_model(first.artifact, AUTOENCODER, tiny.autoencoder())
    commit(first, StageResult(files=first.artifact.records("model/")), 0.0)
    latents = {"latent_shape": [2, 4, 4], "latent_mean": [0.3, -1.0], "latent_std": [0.5, 2.0]}
    commit(stages["encode"], StageResult(facts={"class_names": CLASSES, "image_size": SIDE} | latents), 0.0)
    write_checkpoints(stages["train_diffusion"], denoiser=networks())
    return store


def write_checkpoints(stage, **networks):
    stage.artifact.write(RESOLVED, stage.described())
    checkpoints = Checkpoints(stage.artifact, Learner(**networks), Retention(last=2))
    for images_seen in (16, 32):
        checkpoints.save(images_seen, {})
    checkpoints.finish()


def training(store, name="train_diffusion"):
    return resolve(job(), Scale(store=store.uri), store)[name].artifact


def exported(store, **said):
    """The stage's context, of a job of its own."""
    declared = ExportModel(**{"uri": training(store).uri, "images_seen": 32} | said)
    alone = Job(name="next", stages={"start": declared})
    check(alone, Scale(store=store.uri), ["start"])
    return resolve(alone, Scale(store=store.uri), store)["start"]


@pytest.mark.parametrize("average", [None, "ema-0.5", "length-0.2", "weight"])
def test_a_training_starts_from_the_averages_weights_to_the_last_bit(store, average):
    stage = exported(store, average=average)
    run_stage(stage)
    fresh = networks()
    start_from(fresh, diffusion_weights(stage.artifact))
    expected = State(fresh).tensors
    for name, weight in fresh.named_parameters():
        assert torch.equal(weight, expected[f"{average or 'ema-0.9'}/{name}"])


def test_a_first_stages_checkpoint_is_a_first_stage(store):
    stage = exported(store, uri=training(store, "train_autoencoder").uri, makes="autoencoder", average="ema-0.5")
    run_stage(stage)
    fresh = nn.ModuleDict({"autoencoder": tiny.autoencoder(seed=3)})
    start_from(fresh, autoencoder_weights(stage.artifact))
    expected = State(fresh).tensors
    assert all(torch.equal(weight, expected[f"ema-0.5/{name}"]) for name, weight in fresh.named_parameters())
    assert stage.artifact.committed().facts.items() >= {"image_size": SIDE, "downsampling_factor": 2}.items()


def test_it_draws_and_knows_its_classes_and_the_images_that_it_was_learned_from(store):
    stage = exported(store)
    run_stage(stage)
    assert DiffusionModel.load(stage.artifact, "cpu").denoiser.spec.in_channels == 2
    manifest = stage.artifact.committed()
    assert manifest.facts["class_names"] == CLASSES
    assert manifest.facts["shares"] == {"32 ema-0.9": 1.0}
    assert [parent.input for parent in manifest.parents] == ["training.moments", "training.autoencoder"]
    kinds = {node.manifest.kind for node in ancestors(stage.artifact, None)}
    assert kinds == {"export_model", "encode", "train_autoencoder", "pack"}


def test_what_starts_from_it_holds_the_digest_of_its_weights_and_keys_by_what_was_said(store):
    uri = training(store).uri
    found = {}
    for said in ({}, {"average": "ema-0.5"}, {"images_seen": 16}):
        start = ExportModel(**{"uri": uri, "images_seen": 32} | said)
        stages = resolve(job(start=start, on=TRAINING.model_copy(update={"init_from": "start"})), Scale(), store)
        found[stages["on"].key] = stages["start"].key
        run_stage(stages["start"])
        (parent,) = [parent for parent in stages["on"].parents() if parent.input == "init_from"]
        assert parent.digest == stages["start"].artifact.committed().digest
    assert len(found) == len(set(found.values())) == 3


def test_the_key_is_of_the_checkpoint_wherever_it_lies(store, tmp_path):
    here = exported(store).key
    shutil.copytree(training(store).uri, tmp_path / "elsewhere")
    assert exported(store, uri=str(tmp_path / "elsewhere")).key == here
    folder = training(store).key(f"{folder_of(32)}/{COMMIT}")
    commit = json.loads(store.read(folder))
    commit["files"][-1]["sha256"] = "0" * 64
    store.put(folder, json.dumps(commit).encode())
    assert exported(store).key != here


def test_with_its_digest_said_the_checkpoint_may_be_gone(store):
    first = exported(store)
    run_stage(first)
    digest = first.artifact.committed().facts["source"]
    store.delete(training(store).key(f"{folder_of(32)}/{COMMIT}"))
    with pytest.raises(CheckpointError, match=r"expected a checkpoint at 32 images, there are those at \[16\]"):
        exported(store)
    assert exported(store, sha256=digest).artifact.committed() == first.artifact.committed()


def test_a_checkpoint_that_changed_since_is_refused(store):
    stage = exported(store, sha256="1" * 64)
    with pytest.raises(DataError, match=r"expected checkpoint files of sha256 1{64}, got [0-9a-f]{64}"):
        run_stage(stage)


@pytest.mark.parametrize(("said", "error", "message"), [
    ({"images_seen": 24}, CheckpointError, "expected a checkpoint at 24 images, there are those at"),
    ({"average": "ema-0.7"}, ConfigError, r"start.average: expected one of ema-0.9, .*, weight, got 'ema-0.7'"),
    ({"length": 0.15, "images_seen": 24}, CheckpointError, "expected a checkpoint or snapshot at 24 images"),
    ({"makes": "autoencoder"}, ConfigError, "start.makes: expected 'diffusion_model', which .* is, got 'autoencoder'"),
])  # fmt: skip
def test_what_is_not_there_is_refused_before_any_work(store, said, error, message):
    with pytest.raises(error, match=message) as raised:
        exported(store, **said)
    assert "\n" not in str(raised.value)


def test_only_a_training_can_be_exported(store):
    with pytest.raises(DataError, match=r"expected a training's artifact, .* found no job.yaml"):
        exported(store, uri=store.uri)
    with pytest.raises(ValueError, match=r"length: expected none beside average 'weight', got 0.1"):
        ExportModel(uri="/x/y", images_seen=1, average="weight", length=0.1)


def test_a_length_that_was_kept_is_solved_for(store):
    solved = exported(store, length=0.2)
    run_stage(solved)
    fresh = networks()
    start_from(fresh, diffusion_weights(solved.artifact))
    expected = State(fresh).tensors
    for name, weight in fresh.named_parameters():
        assert torch.allclose(weight, expected[f"length-0.2/{name}"], atol=1e-5)
