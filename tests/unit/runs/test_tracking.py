"""The record of figures: rows survive a restart as if nothing had happened; W&B is asked the way its user wants."""

import sys
from types import SimpleNamespace

import pytest

from rayograph.runs import tracking
from rayograph.runs.artifact import Artifact
from rayograph.runs.tracking import MetricsLog, WandbRun, read_metrics, wandb_mode
from rayograph.runs.wandb_access import wandb_access
from rayograph.storage import open_store


@pytest.fixture
def artifact(tmp_path):
    return Artifact(open_store(str(tmp_path)), "digits/train/0123456789abcdef")


def rows(*positions):
    return [{"images_seen": position, "loss": 1.0 / position} for position in positions]


def filled(artifact, *positions):
    log = MetricsLog(artifact)
    for row in rows(*positions):
        log.append(row)
    log.flush()
    return log


def test_without_a_file_there_are_no_rows(artifact):
    assert read_metrics(artifact) == MetricsLog(artifact).rows == []


def test_rows_come_back_in_order_with_every_digit(artifact):
    filled(artifact, 3, 7, 11)
    assert read_metrics(artifact) == rows(3, 7, 11)
    assert artifact.read("metrics.jsonl").count(b"\n") == 3


def test_rows_are_put_when_it_is_time_without_being_asked(artifact, monkeypatch):
    log = MetricsLog(artifact)
    log.append(rows(1)[0])
    assert read_metrics(artifact) == []
    monkeypatch.setattr(tracking, "WRITE_EVERY_SECONDS", 0.0)
    log.append(rows(2)[0])
    assert read_metrics(artifact) == rows(1, 2)


def test_a_log_opened_again_goes_on_where_the_file_ends(artifact):
    filled(artifact, 1, 2)
    again = filled(artifact, 3)
    assert again.rows == read_metrics(artifact) == rows(1, 2, 3)


def test_a_restart_reads_as_if_nothing_had_happened(artifact):
    filled(artifact, 10, 20, 30, 40)
    resumed = MetricsLog(artifact)
    resumed.rewind(20)
    for row in rows(30, 40, 50):
        resumed.append(row)
    resumed.flush()
    assert read_metrics(artifact) == rows(10, 20, 30, 40, 50)


@pytest.mark.parametrize(("position", "kept"), [(0, 0), (10, 1), (19, 1), (20, 2), (99, 3)])
def test_rewinding_keeps_the_rows_up_to_and_at_the_position(artifact, position, kept):
    log = filled(artifact, 10, 20, 30)
    log.rewind(position)
    assert log.rows == rows(10, 20, 30)[:kept]
    assert len(read_metrics(artifact)) == 3  # until the next flush


@pytest.fixture
def nobody(tmp_path):
    """The environment of someone without an account."""
    return {"NETRC": str(tmp_path / "none")}


def account(tmp_path, text):
    (tmp_path / "netrc").write_text(text)
    return {"NETRC": str(tmp_path / "netrc")}


@pytest.mark.parametrize(
    ("asked", "mode"),
    [
        ("online", "online"),
        ("run", "online"),
        ("shared", "online"),
        ("offline", "offline"),
        ("dryrun", "offline"),
        ("disabled", "disabled"),
        ("OFFLINE", "offline"),
    ],
)
def test_wandb_mode_is_respected_with_and_without_an_account(nobody, asked, mode):
    assert wandb_mode({**nobody, "WANDB_MODE": asked}) == mode
    assert wandb_mode({**nobody, "WANDB_MODE": asked, "WANDB_API_KEY": "k"}) == mode


def test_unasked_it_is_online_for_someone_logged_in_and_offline_for_anyone_else(nobody, tmp_path):
    assert wandb_mode(nobody) == "offline"
    assert wandb_mode({**nobody, "WANDB_MODE": ""}) == "offline"
    assert wandb_mode({**nobody, "WANDB_API_KEY": "k"}) == "online"
    assert wandb_mode(account(tmp_path, "machine api.wandb.ai login user password secret\n")) == "online"
    assert wandb_mode(account(tmp_path, "machine github.com login me password other\n")) == "offline"
    assert wandb_mode(account(tmp_path, "this is not a netrc {")) == "offline"


class FakeWandb:
    """Notes what is asked of the package."""

    Settings = SimpleNamespace

    def __init__(self):
        self.asked, self.logged = [], []

    def init(self, **options):
        self.asked.append(options)
        return SimpleNamespace(define_metric=lambda *_, **__: None, log=self.logged.append, finish=lambda: None)


@pytest.fixture
def fake_wandb(monkeypatch, tmp_path):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "wandb"))
    return fake


def open_run(artifact, stage="train"):
    return WandbRun(artifact, project="p", job="digits", stage=stage, config={"seed": 0})


def test_a_resumed_stage_continues_its_run_and_another_stage_has_another(artifact, fake_wandb, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    for stage in ("train", "train", "sample"):
        open_run(artifact, stage).log({"images_seen": 1})
    first, resumed, other = fake_wandb.asked
    assert first == resumed
    assert (first["mode"], first["resume"], first["group"], first["job_type"]) == ("online", "allow", "digits", "train")
    assert artifact.path.rpartition("/")[2] in first["id"]
    assert first["id"] != other["id"]
    assert first["group"] == other["group"]
    assert fake_wandb.logged == [{"images_seen": 1}] * 3


def test_wandbs_files_stay_out_of_the_working_directory(artifact, fake_wandb, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    open_run(artifact)
    assert fake_wandb.asked[0]["dir"] == str(tmp_path / "wandb")
    monkeypatch.delenv("WANDB_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    open_run(artifact)
    assert fake_wandb.asked[1]["dir"].startswith(str(tmp_path / "home"))


def test_when_disabled_the_package_is_not_even_asked(artifact, fake_wandb, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run = open_run(artifact)
    run.log({"images_seen": 1})
    run.log_image("samples", b"no png at all")
    run.summarise({"loss": 1.0})
    run.finish()
    assert fake_wandb.asked == fake_wandb.logged == []


class Refusing(FakeWandb):
    """Raises whatever is asked of it in the modes named."""

    def __init__(self, *modes):
        super().__init__()
        self.modes = modes

    def init(self, **options):
        if options["mode"] in self.modes:
            raise RuntimeError("no such host\nand more")
        return super().init(**options)


@pytest.mark.parametrize(
    ("modes", "left", "said"), [(("online",), "offline", 1), (("online", "offline"), "disabled", 2)]
)
def test_what_wandb_refuses_ends_no_stage_and_is_not_tried_again(artifact, monkeypatch, tmp_path, modes, left, said):
    monkeypatch.setitem(sys.modules, "wandb", Refusing(*modes))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "wandb"))
    monkeypatch.setenv("WANDB_MODE", "online")
    lines = []
    for _ in range(2):
        run = WandbRun(artifact, project="p", job="j", stage="s", config={}, say=lines.append)
        run.log({"images_seen": 1})
        run.finish()
    assert wandb_mode() == left
    assert len(lines) == said
    assert all(line.startswith("warning: W&B: RuntimeError: no such host: ") for line in lines)


def test_an_odd_mode_a_missing_key_and_a_folder_that_takes_nothing_are_one_warning_each(nobody, tmp_path):
    (tmp_path / "file").write_text("")
    base = {**nobody, "WANDB_DIR": str(tmp_path / "w")}
    assert wandb_access({**base, "WANDB_MODE": "onlien"}).warning.startswith("WANDB_MODE: expected online, offline or")
    assert wandb_access({**base, "WANDB_MODE": "online"})[:1] == ("offline",)
    assert wandb_access({**base, "WANDB_DIR": str(tmp_path / "file")}).mode == "disabled"
    gone = {**base, "WANDB_MODE": "online", "WANDB_API_KEY": "k", "WANDB_BASE_URL": "http://127.0.0.1:9"}
    assert "not reachable" in wandb_access(gone).warning
    assert wandb_access(base) == ("offline", None)
