"""Job files are the user's own code: whatever becomes of it is one line, and modules beside it are found."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from command import DIGITS, ROOT

from rayograph.config import Scale, TrainingScale
from rayograph.config.reading.files import load_job
from rayograph.errors import ConfigError
from rayograph.pipeline.preflight import check


def refused(path):
    with pytest.raises(ConfigError) as caught:
        load_job(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n\nraise ValueError('oh\\nno')\n", ":3: ValueError: oh"),
        ("raise KeyError\n", ":1: KeyError"),
        ("import sys\nsys.exit(0)\n", ":2: SystemExit: 0"),
        ("exit()\n", ":1: SystemExit"),
        ("class E(BaseException): ...\n\n\nraise E('x')\n", ":4: E: x"),
        ("def f(): f()\nf()\n", ":1: RecursionError: "),
        ("x = 1 / 0\n", ":1: ZeroDivisionError: division by zero"),
        ("open('/none/such')\n", ":1: FileNotFoundError: "),
        ("x = (\n", ":1: SyntaxError: '(' was never closed"),
        ("x = 1\n  y = 2\n", ":2: IndentationError: unexpected indent"),
        ("import none_such\n", ":1: ModuleNotFoundError: No module named 'none_such'"),
        ("import json\n\njson.loads('{')\n", ":3: JSONDecodeError: "),
        ("\n\nfrom rayograph.config import *\nPack(source=SklearnDigits(), image_size=-1)\n", ":4: Pack.image_size: "),
        ("from rayograph.errors import DataError\nraise DataError('x')\n", ":2: DataError: x"),
    ],
)
def test_whatever_a_job_file_raises_is_one_line_with_its_place(tmp_path, text, said):
    (tmp_path / "job.py").write_text(text)
    assert refused(tmp_path / "job.py").startswith(f"{tmp_path}/job.py{said}")


def test_bytes_that_are_no_python_are_one_line(tmp_path):
    for data in (b"\x00", b"x = '\xff'\n"):
        (tmp_path / "job.py").write_bytes(data)
        assert refused(tmp_path / "job.py").startswith(f"{tmp_path}/job.py")


def test_what_a_module_beside_it_raises_is_told_with_both_places(tmp_path):
    (tmp_path / "beside.py").write_text("def fail():\n    raise ValueError('deep')\n")
    (tmp_path / "torn.py").write_text("x = (\n")
    (tmp_path / "job.py").write_text("import beside\n\nbeside.fail()\n")
    assert refused(tmp_path / "job.py") == f"{tmp_path}/job.py:3 (beside.py:2): ValueError: deep"
    (tmp_path / "job.py").write_text("\nimport torn\n")
    assert refused(tmp_path / "job.py") == f"{tmp_path}/job.py:2 (torn.py:1): SyntaxError: '(' was never closed"


def test_ctrl_c_within_is_what_it_always_is(tmp_path):
    (tmp_path / "job.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_job(str(tmp_path / "job.py"))


def job_beside(folder, name):
    """A digits job whose name comes from a module beside it, as a string of a class of its own."""
    folder.mkdir()
    (folder / "names.py").write_text(f"class Name(str): ...\n\nNAME = Name({name!r})\n")
    text = Path(DIGITS).read_text().replace('name="digits"', "name=NAME")
    (folder / "job.py").write_text("from names import NAME\n" + text)
    return str(folder / "job.py")


def test_modules_beside_a_job_are_its_own_and_leave_nothing_behind(tmp_path):
    before = list(sys.path), set(sys.modules)
    first, second = job_beside(tmp_path / "a", "one"), job_beside(tmp_path / "b", "two")
    assert [load_job(path).name for path in (first, second)] == ["one", "two"]
    assert sys.path == before[0]
    assert "names" not in set(sys.modules) - before[1]


def test_a_worker_reads_a_job_without_its_file_or_the_modules_beside_it(tmp_path):
    job = load_job(job_beside(tmp_path / "a", "one"))
    assert type(job.name) is str
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).name)"
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(job), capture_output=True, check=True)
    assert done.stdout == b"one\n"


@pytest.mark.parametrize(
    "recipe",
    sorted([*(ROOT / "jobs").glob("*.py"), *(ROOT / "jobs" / "paper").glob("*.py")]),
    ids=lambda path: path.stem,
)
def test_every_recipe_passes_what_is_checked_before_any_work(recipe):
    job = load_job(str(recipe))
    scale = Scale() if recipe.parent.name == "jobs" else Scale(training=TrainingScale(micro_batch_size=1))
    check(job, scale, list(job.stages))
    assert job.name == recipe.stem.replace("_", "-")
