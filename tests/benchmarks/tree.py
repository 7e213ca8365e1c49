"""What a process tree uses: CPU seconds and memory."""

import psutil


def cpu_seconds() -> float:
    """Of this process and its descendants, those that ended and were waited for included."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
