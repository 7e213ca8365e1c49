"""Portable checkpoints on disk: any number of workers reads them, and a torn one is passed over."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import Line, named_state, settings
from workers import spawn

from rayograph.runs.artifact import Artifact
from rayograph.storage import open_store
from rayograph.training.checkpoints.averages import ConstantDecay, PowerFunction
from rayograph.training.checkpoints.checkpoint import (
    COMMIT,
    SNAPSHOT,
    Checkpoints,
    commit_of,
    folder_of,
    positions,
)
from rayograph.training.checkpoints.piece_files import checked, pieces_in
from rayograph.training.checkpoints.retention import Retention
from rayograph.training.engine.engine import Engine

BATCH = 64


def run_in(store: str) -> Artifact:
    return Artifact(open_store(store), "run")


class Learner:
    """Two engines, the second of which steps half as often."""

    names_before: Mapping[str, str] = {}

    def __init__(self, zero_stage: int, **others: Any) -> None:
        self.often, self.seldom = (Engine(Line(), settings(2, zero_stage, **others)) for _ in range(2))

    def engines(self) -> dict[str, Engine[Any]]:
        return {"often": self.often, "seldom": self.seldom}

    def step(self, batch: Any, images_seen: int) -> dict[str, float]:
        for engine in (self.often, self.seldom) if images_seen % (2 * BATCH) == 0 else (self.often,):
            engine.schedule(1e-2, images_seen // BATCH)
            engine.minimise([(torch.full((2, 5), 1.0 + images_seen / BATCH),)])
        return {}

    def exports(self) -> Iterator[tuple[str, Any]]:
        yield from ()


def write_three(rank: int, workers: int, store: str) -> None:
    torch.manual_seed(0)
    learner = Learner(zero_stage=2)
    checkpoints = Checkpoints(run_in(store), learner, Retention(last=3))
    for step in range(6):
        learner.step(None, step * BATCH)
        if step % 2:
            checkpoints.save((step + 1) * BATCH, {})
    checkpoints.finish()


def read_all(rank: int, workers: int, folder: str) -> None:
    """Goes on from the newest checkpoint of every copy, and notes where it began and what came of it."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("rayograph.training.checkpoints.checkpoint").addHandler(handler)
    for name in ("whole", *DAMAGES):
        torch.manual_seed(1)
        messages.clear()
        learner = Learner(zero_stage=0)
        found = Checkpoints(Artifact(open_store(f"{folder}/{name}"), "run"), learner, Retention(last=3)).load_newest()
        assert found
        images_seen, _ = found
        for step in range(images_seen // BATCH, 6):
            learner.step(None, step * BATCH)
        engines = learner.engines().items()
        steps = {engine_name: engine.state.steps for engine_name, engine in engines}
        weights = {name: tensor.tolist() for name, tensor in named_state(learner).items()}
        Path(folder, f"{name}.json").write_text(json.dumps([images_seen, steps, weights, messages]))


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Written by two workers at ZeRO 2, read by one at ZeRO 0: whole, and damaged in each way."""
    folder = tmp_path_factory.mktemp("checkpoints")
    spawn(write_three, 2, str(folder / "whole"))
    for name, damage in DAMAGES.items():
        damage(Path(shutil.copytree(folder / "whole", folder / name)) / "run" / "checkpoints" / f"{6 * BATCH:012d}")
    spawn(read_all, 1, str(folder))
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in ("whole", *DAMAGES)}


def flip_a_bit(checkpoint: Path, name: str = "state-00001-000.safetensors") -> None:
    victim = checkpoint / name
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "flipped bit": flip_a_bit,
    "missing file": lambda checkpoint: (checkpoint / "state-00001-000.safetensors").unlink(),
    "no commit": lambda checkpoint: (checkpoint / "checkpoint.json").unlink(),
}


def test_two_workers_checkpoint_is_read_by_one_of_another_zero_stage(resumed: dict[str, Any]) -> None:
    images_seen, steps, weights, messages = resumed["whole"]
    assert images_seen == 6 * BATCH
    assert steps == {"often": 6, "seldom": 3}
    assert messages == []
    assert weights["often/weight/line.bias"] != weights["seldom/weight/line.bias"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_passed_over_and_training_comes_to_the_same(
    resumed: dict[str, Any], damage: str
) -> None:
    expected = resumed["whole"]
    images_seen, steps, weights, messages = resumed[damage]
    assert images_seen == 4 * BATCH
    assert len(messages) == (0 if damage == "no commit" else 1)
    assert steps == expected[1]
    for name, values in expected[2].items():
        torch.testing.assert_close(torch.tensor(weights[name]), torch.tensor(values), rtol=1e-5, atol=1e-7)


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    artifact = Artifact(open_store(str(tmp_path)), "run")
    spawn(write_pruned, 1, str(tmp_path))
    assert positions(artifact) == [5 * BATCH, 6 * BATCH]
    assert len(artifact.names("checkpoints/")) == 4


def write_pruned(rank: int, workers: int, store: str) -> None:
    learner, artifact = Learner(zero_stage=0), run_in(store)
    artifact.write(f"checkpoints/{2 * BATCH:012d}/left-over.safetensors", b"torn")
    checkpoints = Checkpoints(artifact, learner, Retention(last=2))
    for step in range(6):
        learner.step(None, step * BATCH)
        checkpoints.save((step + 1) * BATCH, {})
    checkpoints.finish()


def write_snapshots(rank: int, workers: int, store: str) -> None:
    learner, artifact = Learner(zero_stage=1, averages=(ConstantDecay(0.5), PowerFunction(0.1))), run_in(store)
    checkpoints = Checkpoints(artifact, learner, Retention(last=1, every=4 * BATCH, best=1, snapshots=2 * BATCH))
    for step in range(7):
        learner.step(None, step * BATCH)
        checkpoints.save((step + 1) * BATCH, {"figure": abs(step - 2.0)})
    checkpoints.finish()


def test_what_goes_may_leave_its_averages_and_the_best_stays(tmp_path: Path) -> None:
    spawn(write_snapshots, 2, str(tmp_path))
    artifact = run_in(str(tmp_path))
    assert positions(artifact) == [3 * BATCH, 4 * BATCH, 7 * BATCH]  # the best, one every four, the newest
    assert positions(artifact, SNAPSHOT) == [2 * BATCH, 6 * BATCH]
    for images_seen in positions(artifact, SNAPSHOT):
        files = commit_of(artifact, images_seen, SNAPSHOT)["files"]
        assert sorted(artifact.names(f"{folder_of(images_seen)}/")) == sorted(
            [f"{folder_of(images_seen)}/{SNAPSHOT}", *(file["path"] for file in files)]
        )
        found = [piece for file in files for piece in pieces_in(checked(artifact, file))]
        values = {
            name: sum(len(piece.values) for piece in found if piece.name == name) for name in {p.name for p in found}
        }
        assert values == {
            f"{engine}/length-0.1/line.{name}": size
            for engine in ("often", "seldom")
            for name, size in (("weight", 15), ("bias", 3))
        }


def train_past_damage(rank: int, workers: int, store: str) -> None:
    """The newest of two is spoilt, the one made after it is below it; then the newest commit is no JSON."""
    learner, artifact, told = Learner(zero_stage=0), run_in(store), []
    checkpoints = Checkpoints(artifact, learner, Retention(last=1, every=BATCH), told.append)
    for position in (2 * BATCH, 4 * BATCH):
        checkpoints.save(position, {})
    checkpoints.finish()
    flip_a_bit(Path(store, "run", folder_of(4 * BATCH)), "state-00000-000.safetensors")
    resumed = Checkpoints(artifact, learner, Retention(last=1), told.append)
    assert resumed.load_newest() == (2 * BATCH, {})
    resumed.save(3 * BATCH, {})
    resumed.finish()
    assert positions(artifact) == [3 * BATCH]
    artifact.write(f"{folder_of(3 * BATCH)}/{COMMIT}", b"not JSON")
    resumed.save(5 * BATCH, {})
    resumed.finish()
    assert positions(artifact) == [5 * BATCH]
    assert len(told) == 1


def test_a_spoilt_checkpoint_does_not_stay_in_the_place_of_those_that_come(tmp_path: Path) -> None:
    spawn(train_past_damage, 1, str(tmp_path))


def interrupt_thinning(rank: int, workers: int, store: str) -> None:
    learner, artifact = Learner(zero_stage=1, averages=(ConstantDecay(0.5), PowerFunction(0.1))), run_in(store)
    checkpoints = Checkpoints(artifact, learner, Retention(last=1, snapshots=BATCH))
    checkpoints.save(BATCH, {})
    checkpoints.save(2 * BATCH, {})
    checkpoints.finish()
    artifact.write(f"{folder_of(BATCH)}/state-00000-000.safetensors", b"left by a thinning that was killed")
    checkpoints.save(3 * BATCH, {})
    checkpoints.finish()


def test_what_an_interrupted_thinning_left_goes_with_the_next(tmp_path: Path) -> None:
    spawn(interrupt_thinning, 1, str(tmp_path))
    names = [name.rpartition("/")[2] for name in run_in(str(tmp_path)).names(f"{folder_of(BATCH)}/")]
    assert sorted(names) == ["length-00000-000.safetensors", SNAPSHOT]
