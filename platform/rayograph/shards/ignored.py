"""What file managers, notebooks and unfinished writers leave between a data set's own files.

Cameras begin names with "_" too, so those names of other programs that do are known one by one.
"""

import re

_NAMES = (
    *("__MACOSX", "@eaDir", "@SynoResource", "#recycle", "#snapshot", "lost+found", "Network Trash Folder"),
    *("System Volume Information", "$RECYCLE.BIN", "RECYCLER", "Thumbs.db", "ehthumbs.db", "desktop.ini"),
    *("_temporary", "_SUCCESS", "_metadata", "_common_metadata", "_delta_log", "_spark_metadata", "__pycache__"),
)
_KNOWN = {name.lower(): name for name in _NAMES}
_HIDDEN = ("._", ".Trash", ".ipynb_checkpoints", ".DS_Store", ".git")
_IGNORED = re.compile(
    "(?:^|/)("
    rf"(?:{'|'.join(map(re.escape, _NAMES))})(?![^/])"
    r"|_(?:committed|started)_[0-9]+(?![^/])"  # Databricks' transactions
    r"|[^/]*_\$folder\$(?![^/])"  # Hadoop's marks of a folder in an object store
    r"|\.(?!\.?(?:/|$))[^/]*"  # hidden; "." and ".." are other folders' names
    ")",
    re.IGNORECASE,
)


def is_ignored(path: str) -> bool:
    """Whether a '/'-separated path is hidden, or lies in a folder that is no part of the data."""
    return _IGNORED.search(path) is not None


def ignored_kind(path: str) -> str | None:
    """Name what makes a path ignored, one of a few names to count by; None for a path of the data's own."""
    found = _IGNORED.search(path)
    if found is None:
        return None
    name = found[1]
    if name.startswith("."):
        return next(
            (f"{known}*" if known in ("._", ".Trash") else known for known in _HIDDEN if name.startswith(known)),
            "hidden",
        )
    return _KNOWN.get(name.lower(), "_$folder$" if name.endswith("_$folder$") else "_committed_*")
