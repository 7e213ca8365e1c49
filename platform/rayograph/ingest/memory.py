"""Memory that a process fills again and again."""

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # glibc's malloc.h
_NEVER = (1 << 31) - 1


def keep_freed_memory() -> None:
    """From now on, freed batches make room for the next ones instead of going back to the kernel.

    The kernel gives pages zeroed and one fault at a time, which costs several times what filling them does. One arena,
    for those of threads hold no large blocks. Does nothing where the C library is not glibc.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        for setting, value in ((_MMAP_THRESHOLD, 1 << 30), (_TRIM_THRESHOLD, _NEVER), (_ARENA_MAX, 1)):
            library.mallopt(setting, value)
