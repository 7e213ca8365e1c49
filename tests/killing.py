"""Processes of the local Ray cluster, found by name and killed with SIGKILL."""

import os
import signal
import threading
import time
from collections.abc import Callable

import psutil


def processes(name: str) -> list[int]:
    """Ray's worker processes on this machine, started from here, whose title begins with `name`."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline() and process.cmdline()[0].startswith(name):
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def killing(name: str, when: Callable[[], bool]) -> threading.Thread:
    """A thread that waits for `when`, and kills one process of that name."""

    def work() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not (when() and processes(name)):
            time.sleep(0.05)
        os.kill(processes(name)[-1], signal.SIGKILL)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
