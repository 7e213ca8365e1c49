"""Progress: one live line on a terminal, seldom plain lines elsewhere."""

import io
import sys
from types import SimpleNamespace

import pytest

from rayograph.runs import progress
from rayograph.runs.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


def watched(monkeypatch, stream):
    """`stream`, from now on in standard error's place; a fixture could not, as pytest changes it between phases."""
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    hands = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: hands.now))
    return hands


def test_plain_lines_come_seldom_and_whole(clock, monkeypatch):
    plain = watched(monkeypatch, io.StringIO())
    shown = Progress("pack", "images", 1000)
    for second in range(1, 61):
        clock.now = 1000.0 + second
        shown.advance_to(second * 10)
    shown.say("done")
    lines = plain.getvalue().splitlines()
    assert len(lines) == 60 / progress.PLAIN_EVERY_SECONDS + 1
    assert "\x1b" not in plain.getvalue()
    assert "\r" not in plain.getvalue()
    assert lines[0].split() == ["pack", "100/1,000", "images", "10.0/s", "1", "min", "30", "s", "left"]
    assert lines[-1].split() == ["pack", "done"]


def test_on_a_terminal_one_line_is_written_over_and_what_is_said_stays(clock, monkeypatch):
    terminal = watched(monkeypatch, Terminal())
    shown = Progress("pack", "images", 100)
    for done in range(1, 51):
        clock.now += 0.02
        shown.advance_to(done)
    shown.say("one image rejected")
    written = terminal.getvalue()
    assert written.count("\n") == 1
    assert written.endswith("one image rejected\n")
    assert 5 <= written.count("\r\x1b[K") <= 12  # every tenth of a second, not every call


def test_the_line_shows_rate_remaining_time_and_newest_figures(clock, monkeypatch):
    terminal = watched(monkeypatch, Terminal())
    shown = Progress("train", "images", 4096)
    clock.now += 2.0
    shown.advance_to(1024, {"loss": 0.123456, "rate": 1e-3})
    line = terminal.getvalue()
    for part in ("1,024/4,096 images", "512.0/s", "6 s left", "loss 0.1235", "rate 0.001"):
        assert part in line
    clock.now += 2.0
    shown.advance_to(2048)
    assert terminal.getvalue().rpartition("\r")[2].endswith("loss 0.1235  rate 0.001")


def test_the_rate_counts_from_where_a_resumed_stage_began(clock, monkeypatch):
    terminal = watched(monkeypatch, Terminal())
    shown = Progress("train", "images", 2000, done=1000)
    clock.now += 10.0
    shown.advance_to(1100)
    assert "10.0/s" in terminal.getvalue()


def test_going_back_starts_the_rate_afresh(clock, monkeypatch):
    terminal = watched(monkeypatch, Terminal())
    shown = Progress("train", "images", 2000)
    clock.now += 10.0
    shown.advance_to(1000)
    clock.now += 1.0
    shown.advance_to(500)
    assert "starting" in terminal.getvalue().rpartition("\r")[2]
    clock.now += 10.0
    shown.advance_to(600)
    assert "10.0/s  2 min 20 s left" in terminal.getvalue().rpartition("\r")[2]


def test_before_anything_is_done_no_rate_is_made_up(clock, monkeypatch):
    terminal = watched(monkeypatch, Terminal())
    shown = Progress("train", "images", 10)
    shown.advance_to(0)
    assert "starting" in terminal.getvalue()


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
