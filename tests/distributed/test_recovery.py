"""A training that diverges goes back to its newest checkpoint, and on behind the batch that broke it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engines import Line, settings, state
from safetensors.torch import load_file, save_file
from workers import spawn

from rayograph.errors import DivergenceError
from rayograph.runs.artifact import Artifact
from rayograph.shards.batch import Batch
from rayograph.storage import open_store
from rayograph.training.checkpoints.checkpoint import Checkpoints, positions
from rayograph.training.checkpoints.recovery import Recovery
from rayograph.training.checkpoints.retention import Retention
from rayograph.training.divergence import DivergenceDetector
from rayograph.training.engine.engine import Engine
from rayograph.training.learner import mean_metrics
from rayograph.training.loop import Hook, fit
from rayograph.training.training_progress import TrainingProgress

GLOBAL, STEPS, POISONED = 4, 8, 5
"""Checkpoints are made at every second step: the poison of step 5, counted from 0, undoes step 4 as well."""


class Learner:
    names_before: Mapping[str, str] = {}

    def __init__(self, workers: int, zero_stage: int) -> None:
        torch.manual_seed(0)
        self.engine = Engine(Line(), settings(GLOBAL // workers, zero_stage))

    def engines(self) -> dict[str, Engine[Any]]:
        return {"line": self.engine}

    def step(self, batch: Batch, images_seen: int) -> dict[str, float]:
        self.engine.schedule(1e-2, images_seen // GLOBAL)
        ((loss, _),) = self.engine.minimise([(torch.from_numpy(batch.columns["values"]),)])
        return mean_metrics([{"loss": loss}]) | self.engine.figures()

    def exports(self) -> Iterator[tuple[str, Any]]:
        yield from ()


def batch(step: int, rank: int, workers: int, poisoned: set[int]) -> Batch:
    rows = slice(rank * GLOBAL // workers, (rank + 1) * GLOBAL // workers)
    values = np.random.default_rng(step).normal(size=(GLOBAL, 5)).astype(np.float32)
    if step in poisoned:
        values[0] = np.nan
    return Batch(np.arange(step * GLOBAL, (step + 1) * GLOBAL)[rows], {"values": values[rows]})


def train(rank: int, workers: int, folder: str, zero_stage: int, poisoned: set[int], skipped: set[int]) -> None:
    """Every step but `skipped`; saves the weights, what was told and how it ended."""
    learner, detector = Learner(workers, zero_stage), DivergenceDetector(100.0)
    progress = TrainingProgress(GLOBAL, STEPS)
    checkpoints = Checkpoints(Artifact(open_store(f"{folder}/store"), "run"), learner, Retention(last=2))
    told: list[str] = []
    recovery = Recovery(checkpoints, progress, detector, 2, lambda: None, told.append)
    recovery.resume()
    if progress.images_seen == 0:
        recovery.save()
    if skipped:
        for step in sorted(set(range(STEPS)) - skipped):
            learner.step(batch(step, rank, workers, set()), step * GLOBAL)
    else:
        steps = range(progress.step, STEPS)
        batches = (batch(step, rank, workers, poisoned) for step in steps)

        def expected(step):
            return batch(step, rank, workers, set()).positions

        hooks = [Hook(2 * GLOBAL, lambda *_: recovery.save())]
        try:
            fit(learner, batches, progress, expected, hooks, detector, recovery.undo)
        except DivergenceError as error:
            told.append(str(error))
    checkpoints.finish()
    held = dict(state(learner.engine))
    if rank == 0:
        save_file(held, f"{folder}/state.safetensors")
        Path(folder, "told.json").write_text(json.dumps([told, learner.engine.state.steps]))


@pytest.mark.parametrize(("workers", "zero_stage"), [(1, 0), (2, 2), (2, 3)])
def test_it_comes_to_what_it_would_without_the_undone_batches(tmp_path: Path, workers: int, zero_stage: int) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    for folder in (broken, whole):
        folder.mkdir()
    spawn(train, workers, str(broken), zero_stage, {POISONED}, set())
    spawn(train, workers, str(whole), zero_stage, set(), {4, 5})
    told, steps = json.loads((broken / "told.json").read_text())
    value = "inf" if zero_stage else "nan"  # what DeepSpeed calls a norm that is no number
    assert told == [f"at 24 images gradient_norm is {value}: weights of 16 images, and on with what follows (1 of 2)"]
    assert steps == STEPS - 2
    expected, found = load_file(whole / "state.safetensors"), load_file(broken / "state.safetensors")
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_it_gives_up_in_one_line_and_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    spawn(train, 1, str(tmp_path), 0, {3, 4, 5}, set())
    told, _ = json.loads((tmp_path / "told.json").read_text())
    assert len(told) == 3
    assert told[-1].startswith("at 24 images gradient_norm is nan; it had gone back to a checkpoint 2 times")
    assert positions(Artifact(open_store(str(tmp_path / "store")), "run")) == [16, 20]


def test_who_starts_again_does_not_meet_the_batch_again(tmp_path: Path) -> None:
    spawn(train, 1, str(tmp_path), 0, {3, 4, 5}, set())
    spawn(train, 1, str(tmp_path), 0, set(), set())
    assert json.loads((tmp_path / "told.json").read_text())[0] == []
    assert positions(Artifact(open_store(str(tmp_path / "store")), "run"))[-1] == STEPS * GLOBAL
