"""The printing edge: nothing from outside is obeyed by a terminal, every terminal is printed to, readers may go."""

import errno
import io
import os
import subprocess
import sys

import pytest
from command import ROOT, environment
from hypothesis import given
from hypothesis import strategies as st

from rayograph.runs.terminal import console
from rayograph.runs.terminal.console import OutputError, QuietStream, cells, escaped, padded, plain

HARMLESS = "photos/straße 写真.png\u00a0a 👩\u200d🚀"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain.png", "plain.png"),
        (HARMLESS, HARMLESS),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("caf\udce9.jpg", r"caf\udce9.jpg"),
        ("a\x00b\x7f", r"a\x00b\x7f"),
        ("\u2028", r"\u2028"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(text, shown):
    assert escaped(text) == shown


@given(st.text())
def test_nothing_escaped_moves_a_cursor_or_ends_a_line(text):
    line = escaped(text)
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in line)
    assert len(line.splitlines()) <= 1
    assert plain(line)
    line.encode()  # no lone surrogate is left


def test_columns_are_counted_as_a_terminal_does():
    assert (cells("abc"), cells("写真"), cells("e\u0301")) == (3, 4, 1)
    assert padded("写真", 6) == "写真  "


class Full(io.StringIO):
    """What `/dev/full` is, and with another number a pipe whose reader has gone."""

    def __init__(self, number=errno.ENOSPC):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(("number", "broken"), [(errno.ENOSPC, False), (errno.EPIPE, True)])
def test_a_result_that_cannot_be_written_is_an_error_and_says_whether_its_reader_went(monkeypatch, number, broken):
    monkeypatch.setattr(sys, "stdout", Full(number))
    with pytest.raises(OutputError, match="standard output: ") as caught:
        console.put("line")
    assert caught.value.broken is broken


def test_lines_for_people_are_dropped_where_they_cannot_be_written(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Full())
    console.say("line")
    monkeypatch.setattr(sys, "stderr", None)
    console.say("line")
    assert QuietStream(Full()).write("abc") == 3


def rayograph(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **variables):
    """In a process of its own."""
    command = [sys.executable, "-m", "rayograph", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(**variables), stdout=stdout, stderr=stderr, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PYTHONIOENCODING": "ascii"}, rb"no-x-such-...-\xe9.py"),
        ({"LANG": "C", "LC_ALL": ""}, "no-x-such-...-é.py".encode()),
        ({"LC_ALL": "C.UTF-8"}, "no-×-such-…-é.py".encode()),
    ],
)
def test_typography_becomes_ascii_and_the_rest_an_escape_where_the_terminal_has_nothing_else(variables, said):
    code, _, err = rayograph("show", "no-×-such-…-é.py", PYTHONUTF8="", **variables)
    assert code == 2
    assert err.startswith(b"rayograph: " + said)
    assert err.count(b"\n") == 1


def test_what_is_shown_as_yaml_or_json_parses_back_on_an_ascii_terminal(tmp_path):
    import json

    import yaml

    job = (ROOT / "jobs" / "digits.py").read_text().replace("SklearnDigits()", "ImageFolder(uri='/d/é\\x1b')")
    (tmp_path / "job.py").write_text(job.replace("SklearnDigits,", "ImageFolder,"))
    for options, read in (([], yaml.safe_load), (["--json"], json.loads)):
        code, out, _ = rayograph("show", str(tmp_path / "job.py"), *options, PYTHONIOENCODING="ascii")
        assert code == 0
        assert out.isascii()
        assert b"\x1b" not in out
        assert read(out)["job"]["stages"]["pack"]["source"]["uri"] == "/d/é\x1b"


def test_a_full_disk_is_one_line_and_a_reader_that_went_is_none():
    with open("/dev/full", "wb") as full:
        assert rayograph("show", "jobs/digits.py", stdout=full) == (
            2,
            None,
            b"rayograph: standard output: No space left on device\n",
        )
        assert rayograph("show", "jobs/none.py", stderr=full) == (2, b"", None)
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as gone:
        assert rayograph("show", "jobs/digits.py", stdout=gone) == (128 + 13, None, b"")
        assert rayograph("show", "jobs/none.py", stderr=gone) == (2, b"", None)


def test_an_argument_that_is_quoted_is_not_obeyed():
    code, _, err = rayograph("\x1b[31m")
    assert code == 2
    assert b"\x1b" not in err
    assert rb"\x1b[31m" in err
