"""What training workers say is told apart by its type: each event has its effect on the driver, and only that."""

import json
import subprocess
import sys
from typing import get_args
from unittest.mock import MagicMock, call, create_autospec

import pytest

from rayograph.runs.artifact import Artifact
from rayograph.runs.reporter import Reporter
from rayograph.runs.stage_context import StageContext
from rayograph.storage import open_store
from rayograph.trainer import driver
from rayograph.trainer.control_actor import Control, ControlActor
from rayograph.trainer.driver import BAD_SAMPLES
from rayograph.trainer.elastic import Room
from rayograph.trainer.events import (
    Advanced,
    BadSample,
    Busy,
    MetricsRow,
    ModelMeasured,
    Note,
    PreviewDrawn,
    Resumed,
    StoppedForResize,
    WorkerEvent,
    WorkerPlaced,
)
from rayograph.trainer.worker_config import WorkerConfig

ROW = {"images_seen": 64, "loss": 0.5}


@pytest.fixture
def group(tmp_path):
    artifact = Artifact(open_store(str(tmp_path)), "job/stage/key")
    artifact.write("previews/000000000064.png", b"png")
    stage, assignment, control, recorder, room = (
        create_autospec(kind, instance=True) for kind in (StageContext, WorkerConfig, Control, Reporter, Room)
    )
    stage.artifact, recorder.progress, recorder.wandb = artifact, MagicMock(), MagicMock()
    return driver._Group(stage, assignment, control, recorder, [], room)


@pytest.mark.parametrize(
    ("event", "calls"),
    [
        (Resumed(64), [call.resumed(64), call.progress.doing("workers", None)]),
        (Advanced(64), [call.progress.advance_to(64), call.progress.doing("first worker", None)]),
        (MetricsRow(ROW), [call.row(ROW), call.progress.doing("first worker", None)]),
        (Busy("draws a preview"), [call.progress.doing("first worker", "draws a preview")]),
        (PreviewDrawn("previews/000000000064.png", 64), [call.wandb.log_image("preview", b"png", 64)]),
        (ModelMeasured({"psnr": 20.5, "of": "val"}), [call.wandb.summarise({"psnr": 20.5})]),
        (Note("warming up"), [call.progress.say("warming up")]),
        (WorkerPlaced("ab12"), []),
        (StoppedForResize(64), []),
    ],
)
def test_each_event_is_shown_and_tracked_as_what_it_is(group, event, calls):
    group._handle(event)
    assert group.recorder.mock_calls == calls


def test_the_driver_knows_where_the_group_is_where_it_began_how_it_ended_and_what_it_found(group):
    for event in (
        WorkerPlaced("ab"),
        WorkerPlaced("cd"),
        Resumed(128),
        ModelMeasured({"psnr": 20.5}),
        StoppedForResize(192),
    ):
        group._handle(event)
    assert (group.nodes, group.began_at, group.facts, group.stopped) == ({"ab", "cd"}, 128, {"psnr": 20.5}, True)


def test_bad_samples_are_written_down_as_they_come(group):
    for reason in ("a.tar: sample 1: broken", "b.tar: sample 2: broken"):
        group._handle(BadSample(reason))
    assert group.stage.artifact.read(BAD_SAMPLES) == b"a.tar: sample 1: broken\nb.tar: sample 2: broken\n"


def test_the_driver_handles_every_event_that_there_is(group):
    """assert_never holds it for the type checker; this, for a union that has lost one."""
    from rayograph.trainer import events

    declared = {kind for kind in vars(events).values() if hasattr(kind, "__dataclass_fields__")}
    assert declared == set(get_args(WorkerEvent))
    with pytest.raises(TypeError):  # of the types, here under test
        group._handle({"note": "a dictionary"})


def test_the_actor_hands_events_on_in_order_once_and_each_bad_sample_once():
    actor = ControlActor(["known"])
    actor.put(Note("first"))
    assert actor.report_bad_samples(["known", "new"]) == ["known", "new"]
    assert actor.report_bad_samples(["new"]) == ["known", "new"]
    actor.put(Advanced(64))
    assert actor.take() == [Note("first"), BadSample("new"), Advanced(64)]
    assert actor.take() == []


def test_the_workers_are_to_stop_only_while_the_driver_says_so():
    actor = ControlActor([])
    said = [actor.stop_requested()]
    for stop in (True, False):
        actor.request_stop(stop)
        said.append(actor.stop_requested())
    assert said == [False, True, False]


def test_the_actors_process_loads_no_network():
    program = (
        "import json, sys, rayograph.trainer.control_actor; "
        "print(json.dumps(sorted({'torch', 'numpy', 'ray.train', 'boto3', 'pydantic'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert "torch" not in json.loads(done.stdout)
    assert "ray.train" not in json.loads(done.stdout)
