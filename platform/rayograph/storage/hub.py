"""Models on the Hugging Face Hub, `hf://owner/name`: a folder goes there as one commit; reading is fsspec's.

The token is huggingface_hub's own affair: `HF_TOKEN`, or what `hf auth login` keeps. Nothing here knows or says it.
"""

import re
from pathlib import Path

from rayograph.errors import StorageError

HUB = "hf://"
_REPOSITORY = re.compile(r"hf://([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)/?")


def is_hub(uri: str) -> bool:
    """Whether it is a place on the Hub."""
    return uri.lower().startswith(HUB)


def repository_of(uri: str) -> str:
    """Return owner/name. Raises StorageError for anything else, a place within a repository too."""
    found = _REPOSITORY.fullmatch(uri)
    if found is None:
        raise StorageError(f"{uri}: expected hf://owner/name, a model's repository")
    return found[1]


def push_folder(folder: Path, uri: str, message: str, private: bool) -> str:
    """Put a folder's files into a model's repository, made if there is none, as one commit; return the commit's URL.

    Raises StorageError, one line, where the Hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    repository = repository_of(uri)
    disable_progress_bars()
    try:
        api = HfApi(library_name="rayograph")
        api.create_repo(repository, private=private or None, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    except Exception as error:  # of HTTP, of the token, of the name: each has a class of its own
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise StorageError(f"{uri}: push failed ({said})") from error
    return str(commit.commit_url)
