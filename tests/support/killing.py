"""Processes of a local Ray cluster, found by name and killed with SIGKILL."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil


def processes(name: str, below: int | None = None) -> list[psutil.Process]:
    """Descendants of a process, or of this one, by how their title begins: Ray names workers after their work."""
    found = []
    for process in psutil.Process(below).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if " ".join(process.cmdline()).startswith(name):
                found.append(process)
    return found


def killing(name: str, when: Callable[[], bool]) -> threading.Thread:
    """A thread that waits for `when`, and kills one process of that name."""

    def work() -> None:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            if when() and (found := processes(name)):
                found[-1].kill()
                return
            time.sleep(0.02)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
