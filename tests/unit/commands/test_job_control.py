"""pause, resume and cancel: a wish left in the artifact of a generation under way, and one line otherwise."""

import pytest

from rayograph.cli import main
from rayograph.commands.job_control import control_job
from rayograph.errors import DataError
from rayograph.runs.artifact import RESOLVED, Artifact
from rayograph.sampling.job_state import JobState, wanted, write_state
from rayograph.storage import open_store

STATE = JobState(phase="running", samples=1234, total_samples=5678, units=1, total_units=2, started="a", updated="b")


@pytest.fixture
def artifact(tmp_path):
    artifact = Artifact(open_store(str(tmp_path / "job" / "sample" / "key")), "")
    artifact.write(RESOLVED, b"job: {}")
    write_state(artifact, STATE)
    return artifact


@pytest.mark.parametrize("wish", ["paused", "running", "cancelled"])
def test_a_wish_is_left_where_the_coordinator_looks_and_the_line_says_how_far_it_is(artifact, wish):
    assert control_job(artifact.uri, None, wish) == f"{artifact.uri}: 1,234 of 5,678 images; asked to be {wish}"
    assert wanted(artifact) == wish


def test_the_last_wish_counts(artifact):
    for wish in ("paused", "cancelled", "running"):
        control_job(artifact.uri, None, wish)
    assert wanted(artifact) == "running"


def test_nothing_is_left_where_no_generation_began(tmp_path):
    with pytest.raises(DataError, match="expected a generation that has begun, found none"):
        control_job(str(tmp_path / "nothing"), None, "paused")
    assert not (tmp_path / "nothing").exists()


def test_a_generation_that_is_done_takes_no_wish(artifact, monkeypatch):
    monkeypatch.setattr(Artifact, "manifest", lambda self: object())
    with pytest.raises(DataError, match="expected a generation under way, this one is done"):
        control_job(artifact.uri, None, "paused")
    assert wanted(artifact) == "running"


@pytest.mark.parametrize(("command", "wish"), [("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")])
def test_each_command_asks_for_its_own(artifact, capsys, command, wish):
    assert main([command, artifact.uri]) == 0
    assert capsys.readouterr().out == f"{artifact.uri}: 1,234 of 5,678 images; asked to be {wish}\n"
    assert wanted(artifact) == wish
