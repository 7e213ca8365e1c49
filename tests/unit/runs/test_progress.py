"""Progress: one live row on a terminal, at any width; seldom plain lines elsewhere."""

import io
import logging
import sys
from types import SimpleNamespace

import pytest
from rich.cells import cell_len
from rich.console import Console

from rayograph.runs.terminal import progress
from rayograph.runs.terminal.bar import Bar, StageLines
from rayograph.runs.terminal.progress import Progress, duration

FIGURES = {"L1": 0.05123, "critic": 0.97, "data": 0.02, "network": 0.1, "arithmetic": 0.8}


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    hands = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: hands.now))
    return hands


def watched(monkeypatch, stream=None):
    """`stream`, from now on in standard error's place; a fixture could not, as pytest changes it between phases."""
    stream = stream or io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def under_way(clock, name="train_autoencoder", total=16_000):
    """A stage after 38 % at 512 images a second, and twenty seconds of start-up before."""
    shown = Progress(name, "images", total, live=False)
    clock.now += 20
    for second in range(1, 13):
        clock.now += 1
        shown.advance_to(512 * second, FIGURES)
    return shown


def rows(shown, width, **options):
    """What a terminal of `width` columns shows, row by row."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, **options)
    console.print(StageLines(shown), end="")
    return console.file.getvalue().split("\n")


def test_plain_lines_come_seldom_and_whole(clock, monkeypatch):
    error = watched(monkeypatch)
    shown = Progress("pack", "images", 1000)
    for second in range(1, 61):
        clock.now = 1000.0 + second
        shown.advance_to(second * 10)
    shown.say("done")
    lines = error.getvalue().splitlines()
    assert len(lines) == 60 / progress.PLAIN_EVERY_SECONDS + 1
    assert "\x1b" not in error.getvalue()
    assert "\r" not in error.getvalue()
    assert lines[0].split() == ["pack", "100/1,000", "images", "10.0/s", "1", "min", "30", "s", "left"]
    assert lines[-1].split() == ["pack", "done"]


@pytest.mark.parametrize("width", [8, 12, 20, 30, 40, 60, 80, 81, 100, 132, 200, 400])
@pytest.mark.parametrize("name", ["pack", "train_autoencoder", "a-very-long-name-that-somebody-gave-it", "写真"])
def test_a_stage_is_one_row_at_any_width(clock, width, name):
    (row,) = rows(under_way(clock, name), width)
    assert cell_len(row) < width


def test_at_80_columns_there_are_bar_share_count_rate_and_time_left(clock):
    (row,) = rows(under_way(clock), 80)
    assert row.startswith("train_autoencoder  ━━━")
    for part in ("38%", "6,144/16,000", "512 images/s", "19 s left"):
        assert part in row


def test_at_200_columns_the_figures_stand_beside_in_their_order(clock):
    (row,) = rows(under_way(clock), 200)
    figures = "L1 0.05123  critic 0.97  data 0.02  network 0.1  arithmetic 0.8"
    assert row.endswith(f"38%  6,144/16,000  512 images/s  19 s left  {figures}")


def test_on_an_ascii_terminal_the_row_is_ascii(clock):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=stream, width=80, force_terminal=True, color_system=None)
    console.print(StageLines(under_way(clock)))
    stream.flush()
    assert b"38%" in stream.buffer.getvalue()


def test_what_goes_on_beside_has_a_row_each_cut_to_the_width_and_escaped(clock):
    shown = under_way(clock)
    shown.doing("replicas", "2 running, " + "many " * 40)
    shown.doing("first worker", "draws \x1b[31ma preview")
    first, second, third = rows(shown, 80)
    assert first.startswith("train_autoencoder")
    assert second.startswith("  replicas: 2 running, many")
    assert cell_len(second) == 79
    assert third == r"  first worker: draws \x1b[31ma preview"
    shown.doing("replicas", None)
    assert len(rows(shown, 80)) == 2


def test_a_bar_goes_when_it_is_closed_and_what_was_said_stays_in_lines_of_its_own(clock, monkeypatch):
    terminal = watched(monkeypatch)
    console = Console(file=terminal, width=80, force_terminal=True, color_system=None)
    bar = Bar(under_way(clock), console)
    bar.print("one image \x1b[31mrejected")
    print("Ray: a node died", file=sys.stderr)
    logging.getLogger("ray.test").addHandler(handler := logging._StderrHandler(logging.ERROR))
    logging.getLogger("ray.test").error("a log line")
    logging.getLogger("ray.test").removeHandler(handler)
    bar.close()
    assert sys.stderr is terminal
    written = terminal.getvalue()
    for line in (r"one image \x1b[31mrejected", "Ray: a node died", "a log line"):
        before, _, after = written.partition(line)
        assert before.endswith(("\n", "\x1b[2K", "\r"))  # at a row's beginning
        assert after.startswith("\n")
    assert written.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))  # the row is erased, the cursor shown


def test_a_terminal_that_goes_ends_no_work(clock, monkeypatch):
    class Gone(io.StringIO):
        def isatty(self):
            return True

        def write(self, text):
            raise OSError(5, "Input/output error")

    watched(monkeypatch, Gone())
    monkeypatch.setenv("TERM", "xterm")
    with Progress("pack", "images", 10) as shown:
        shown.advance_to(5)
        shown.say("half")


@pytest.mark.parametrize(("term", "live"), [("xterm", True), ("dumb", False), ("", False)])
def test_a_bar_is_for_terminals_that_can_move_their_cursor(monkeypatch, term, live):
    watched(monkeypatch, SimpleNamespace(isatty=lambda: True))
    monkeypatch.setenv("TERM", term)
    assert progress.on_terminal() is live


def test_what_was_done_before_makes_no_rate(clock, monkeypatch):
    error = watched(monkeypatch)
    shown = Progress("train", "images", 2000)
    shown.begin_at(1000)
    clock.now += 60.0
    shown.advance_to(1100)
    assert error.getvalue().splitlines()[-1].endswith("1,100/2,000 images  starting")
    clock.now += 10.0
    shown.advance_to(1200)
    assert error.getvalue().splitlines()[-1].endswith("10.0/s  1 min 20 s left")


def test_going_back_starts_the_rate_afresh(clock, monkeypatch):
    error = watched(monkeypatch)
    shown = Progress("train", "images", 2000)
    for done in (900, 1000, 500):
        clock.now += 10.0
        shown.advance_to(done)
    assert error.getvalue().splitlines()[-1].endswith("starting")
    for done in (600, 700):
        clock.now += 10.0
        shown.advance_to(done)
    assert "10.0/s  2 min 10 s left" in error.getvalue().splitlines()[-1]


def test_of_parts_that_are_unlike_no_time_is_foretold(clock, monkeypatch):
    error = watched(monkeypatch)
    shown = Progress("evaluate", "parts", 5, estimated=False)
    for part in (1, 2, 3):
        clock.now += 11.0
        shown.advance_to(part)
    assert error.getvalue().splitlines()[-1].split() == ["evaluate", "3/5", "parts"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (5 * 3600 + 4 * 60 + 59, "5 h 04 min"),
        (100 * 3600, "100 h 00 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds, said):
    assert duration(seconds) == said
