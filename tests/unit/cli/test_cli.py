"""The command line: a user's mistake is one line on standard error and exit code 2, before any work starts."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from command import DIGITS, ROOT, environment

from rayograph import __version__
from rayograph.cli import COMMANDS, main
from rayograph.config import Job, Scale
from rayograph.config.reading.files import load_job, load_scale
from rayograph.config.reading.overrides import apply_overrides
from rayograph.pipeline import runner as pipeline
from rayograph.pipeline.resolve import resolve
from rayograph.runs.stage_result import StageResult, commit
from rayograph.storage import open_store
from rayograph.storage.local import LocalFolder

LAPTOP = str(ROOT / "cluster" / "laptop" / "scale.yaml")


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """The command takes SIGTERM for itself and reads AWS_ENDPOINT_URL; and nothing here may start work."""

    def refuse(*_):
        raise AssertionError("work was started")

    monkeypatch.setattr(pipeline, "connect", refuse)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def rayograph(*arguments, **variables):
    """In a process of its own."""
    command = [sys.executable, "-m", "rayograph", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment(**variables), capture_output=True, text=True, timeout=600, check=False
    )


def refused(capsys, *arguments):
    """The one line that a refused command says."""
    code = main(arguments)
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert err.startswith("rayograph: ")
    return err


@pytest.mark.parametrize("command", ["run", "show"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            [DIGITS, "--set", "train_diffusion.learning_rat=1"],
            "learning_rat: no such field; did you mean 'learning_rate'?",
        ),
        ([DIGITS, "--set", "train_difusion.learning_rate=1"], "did you mean 'train_diffusion'?"),
        (
            [DIGITS, "--set", "sample.num_samples=-3"],
            "sample.num_samples: expected a whole number above 0, up to 10,000,000,000, got -3",
        ),
        ([DIGITS, "--set", "sample.num_samples"], "expected stage.field=value"),
        (
            [DIGITS, "--set", "scale.training.zero_stage=5"],
            "scale.training.zero_stage: input should be 0, 1, 2, 3 or 'auto'",
        ),
        (
            [
                DIGITS,
                *("--set", "train_diffusion.network.attention_head_dim=7"),
                *("--set", "train_diffusion.network.attention_levels=[0]"),
            ],
            "train_diffusion.network: attention_head_dim: expected a divisor of ",
        ),
        (
            [DIGITS, "--set", "train_autoencoder.network.norm_num_groups=7"],
            "train_autoencoder.network: norm_num_groups: expected a divisor of every one of ",
        ),
        ([DIGITS, "--set", "sample.sampler.guidance_scale=1e300"], "guidance_scale: expected a number from 0 to 1,000"),
        ([DIGITS, "--set", "sample.seed="], "expected a YAML value, got '': expected a value, got none"),
        ([f"{DIGITS}:sampel"], "sampel: no such stage; did you mean 'sample'?"),
        (["jobs/nothing.py"], "jobs/nothing.py: expected a job file such as jobs/digits.py, found none"),
        ([DIGITS, "--on", "nowhere.yaml"], "nowhere.yaml: expected a scale profile"),
        ([DIGITS, "--on", DIGITS], "digits.py: not YAML"),
    ],
)
def test_a_mistake_in_the_job_is_one_line_and_code_2(capsys, tmp_path, command, arguments, said):
    assert said in refused(capsys, command, *arguments, "--store", str(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_a_store_that_is_a_file_is_refused_before_any_work(capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    line = refused(capsys, "run", DIGITS, "--store", str(tmp_path / "file"))
    assert f"{tmp_path}/file: list failed (Not a directory)" in line
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("store", "said"),
    [("", "a storage URI is empty"), ("s4://bucket", "s4"), ("s3://", "expected s3://bucket/prefix")],
)
def test_a_store_that_cannot_be_is_refused_before_any_work(capsys, store, said):
    assert said in refused(capsys, "run", DIGITS, "--store", store)


def test_a_relative_store_inside_a_submitted_job_is_refused_as_it_would_be_lost(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")  # which `ray job submit` sets
    assert "expected an absolute path or a URI" in refused(capsys, "run", DIGITS, "--store", "runs")


def test_an_outside_input_that_is_missing_is_refused_before_any_work(capsys, tmp_path):
    line = refused(
        capsys, "run", f"{DIGITS}:sample", "--store", str(tmp_path / "s"), "--set", f"sample.model={tmp_path}/model"
    )
    assert "sample.model: expected a committed artifact of diffusion_model" in line


@pytest.mark.parametrize("command", ["ls", "verify"])
@pytest.mark.parametrize(("place", "said"), [("missing", "found none"), ("file", "list failed (Not a directory)")])
def test_listing_nothing_is_one_line_and_code_2(capsys, tmp_path, command, place, said):
    (tmp_path / "file").write_text("")
    line = refused(capsys, command, str(tmp_path / place))
    assert said in line
    assert str(tmp_path / place) in line


@pytest.mark.parametrize("arguments", [[], ["rnu"], ["run"], ["show", DIGITS, "--sett", "a=b"]])
def test_a_wrong_command_is_code_2_with_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: rayograph")


@pytest.mark.parametrize(("options", "read"), [([], yaml.safe_load), (["--json"], json.loads)])
def test_show_prints_what_parses_back_to_the_job_and_the_scale(capsys, options, read):
    changes = ["sample.seed=7", "scale.training.workers=4"]
    arguments = ["show", DIGITS, "--on", LAPTOP, *options]
    assert main([*arguments, *(part for change in changes for part in ("--set", change))]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.endswith("\n")
    shown = read(out)
    job, scale = apply_overrides(load_job(DIGITS), load_scale(LAPTOP), changes)
    assert Job.model_validate(shown["job"]) == job
    assert Scale.model_validate(shown["scale"]) == scale


def test_show_of_a_stage_prints_what_it_needs_and_no_more(capsys):
    assert main(["show", f"{DIGITS}:encode"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert list(shown["job"]["stages"]) == ["pack", "train_autoencoder", "encode"]
    assert Job.model_validate(shown["job"]).name == "digits"


@pytest.mark.parametrize(
    ("options", "variable", "url"),
    [
        ([], None, None),
        (["--endpoint-url", "http://a"], None, "http://a"),
        ([], "http://b", "http://b"),
        (["--endpoint-url", "http://a"], "http://b", "http://a"),
    ],
)
def test_an_endpoint_is_taken_from_the_option_then_the_environment(capsys, monkeypatch, options, variable, url):
    if variable:
        monkeypatch.setenv("AWS_ENDPOINT_URL", variable)
    assert main(["show", DIGITS, "--store", "s3://bucket/x", *options]) == 0
    scale = yaml.safe_load(capsys.readouterr().out)["scale"]
    assert (scale["store"], scale["endpoint_url"]) == ("s3://bucket/x", url)


def commit_all(folder):
    """Every stage of the digits job, committed without having been run."""
    stages = resolve(load_job(DIGITS), Scale(), open_store(str(folder)))
    for stage in stages.values():
        name = "report.html" if stage.name == "evaluate" else "notes.txt"
        commit(stage, StageResult(files=[stage.artifact.write(name, b"<html>")]), 0.0)
    return stages


def test_a_committed_job_runs_again_without_any_work_and_ends_with_the_reports_path(capsys, tmp_path):
    stages = commit_all(tmp_path)
    assert main(["run", DIGITS, "--store", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"{stages['evaluate'].artifact.uri}/report.html"
    assert Path(out.splitlines()[-1]).is_file()
    assert [line.split()[0] for line in err.splitlines()] == list(stages)
    assert err.count("committed before") == len(stages)


def test_a_committed_target_ends_with_its_artifacts_address(capsys, tmp_path):
    stages = commit_all(tmp_path)
    assert main(["run", f"{DIGITS}:encode", "--store", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{stages['encode'].artifact.uri}\n"


def test_a_changed_field_would_start_work_where_it_matters(capsys, tmp_path):
    commit_all(tmp_path)
    with pytest.raises(AssertionError, match="work was started"):
        main(["run", DIGITS, "--store", str(tmp_path), "--set", "train_diffusion.seed=1"])
    err = capsys.readouterr().err
    assert [line.split()[0] for line in err.splitlines()] == ["pack", "train_autoencoder", "encode"]


def test_ls_and_verify_print_a_line_an_artifact_and_verify_fails_on_damage(capsys, tmp_path):
    stages = commit_all(tmp_path)
    for command in ("ls", "verify"):
        assert main([command, str(tmp_path)]) == 0
        out = capsys.readouterr().out
        assert all(stage.artifact.path in out for stage in stages.values())
    stages["encode"].artifact.write("notes.txt", b"<hmtl>")
    assert main(["verify", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(stages) - 1
    assert err.count("\n") == 1
    assert f"{stages['encode'].artifact.uri}/notes.txt: sha256 differs" in err


@pytest.mark.parametrize("command", ["ls", "verify"])
def test_looking_writes_nothing_not_even_to_try(capsys, tmp_path, monkeypatch, command):
    stages = commit_all(tmp_path)

    def refuse(*_):
        raise AssertionError("something was written")

    for name in ("put", "put_if_absent", "delete"):
        monkeypatch.setattr(LocalFolder, name, refuse)
    assert main([command, str(tmp_path)]) == 0
    assert stages["pack"].artifact.path in capsys.readouterr().out


def test_in_a_process_of_its_own_a_mistake_is_one_line_and_code_2():
    done = rayograph("run", "jobs/digits.py", "--set", "train_diffusion.learning_rat=1e-3")
    assert done.returncode == 2
    assert done.stdout == ""
    expected = "rayograph: train_diffusion.learning_rat: no such field; did you mean 'learning_rate'?\n"
    assert done.stderr == expected


def test_every_file_of_a_command_is_on_the_command_line_with_its_own_arguments(capsys):
    files = {path.stem for path in (ROOT / "platform" / "rayograph" / "cli").glob("*.py")} - {"__init__", "arguments"}
    assert {command.__name__.rpartition(".")[2] for command in COMMANDS.values()} == files
    for name, command in COMMANDS.items():
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: rayograph {name} ")
        assert command.HELP


def test_the_version_is_the_packages():
    done = rayograph("--version")
    assert (done.returncode, done.stdout) == (0, f"rayograph {__version__}\n")


@pytest.mark.parametrize("kind", ["SIGINT", "SIGTERM"])
def test_an_interruption_is_code_130_and_says_how_to_go_on(tmp_path, kind):
    (tmp_path / "job.py").write_text(f"import os, signal\nos.kill(os.getpid(), signal.{kind})\n")
    done = rayograph("show", str(tmp_path / "job.py"))
    assert done.returncode == 130
    assert "interrupted; the same command goes on from here" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_defect_of_ours_shows_its_traceback_and_what_it_quotes_is_not_obeyed():
    program = (
        "import sys, rayograph.cli as cli, rayograph.cli.arguments as arguments\n"
        "def broken(path): raise RuntimeError('not foreseen\\x1b[31m\\nsecond line')\n"
        "arguments.load_job = broken\n"
        "sys.exit(cli.main(['show', 'job.py']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert r"RuntimeError: not foreseen\x1b[31m" in done.stderr.splitlines()
    assert done.stderr.splitlines()[-1] == "second line"
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["index", "x", "--bad-sample-limit", "-1"], "expected a number from 0 on, got '-1'"),
        (["export", "x", "--to", "y", "--at", "-5"], "expected a number from 0 on, got '-5'"),
        (["serve", "--port", "0"], "expected a number from 1 to 65535, got '0'"),
        (["serve", "--port", "70000"], "expected a number from 1 to 65535, got '70000'"),
    ],
)
def test_a_number_out_of_bounds_is_refused_by_its_option(capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_line_before_ray_is_started(capsys, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("Ray was started")

    from rayograph.commands import http_server as serve

    monkeypatch.setattr(serve, "connect", refuse)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(capsys, "serve", "--port", str(port), "--store", str(tmp_path / "store"))
    assert line == f"rayograph: --port: expected a free port on 127.0.0.1, got {port}, which is taken\n"
    with pytest.raises(AssertionError, match="Ray was started"):
        main(["serve", "--port", str(port), "--store", str(tmp_path / "store")])


@pytest.mark.parametrize("command", ["run", "serve"])
def test_a_profile_that_wants_gpus_is_refused_on_a_machine_without(capsys, tmp_path, monkeypatch, command):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "scale.yaml").write_text("device: cuda\n")
    more = [DIGITS] if command == "run" else []
    line = refused(capsys, command, *more, "--on", str(tmp_path / "scale.yaml"), "--store", str(tmp_path / "store"))
    assert "device: expected a GPU on this machine for 'cuda', found none" in line
    assert not list((tmp_path / "store").rglob("*.yaml"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    if command == "run":
        with pytest.raises(AssertionError, match="work was started"):
            main(["run", DIGITS, "--on", str(tmp_path / "scale.yaml"), "--store", str(tmp_path / "store")])
