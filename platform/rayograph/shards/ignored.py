"""What file managers, notebooks and unfinished writers leave between a data set's own files."""

_FOLDERS = {"__MACOSX", "@eaDir", "_temporary", "lost+found", "System Volume Information", "$RECYCLE.BIN"}


def is_ignored(path: str) -> bool:
    """Whether a '/'-separated path is hidden, or lies in a folder that is no part of the data."""
    return any(part in _FOLDERS or (part.startswith(".") and part not in (".", "..")) for part in path.split("/"))
