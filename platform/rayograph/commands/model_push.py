"""`rayograph push`: a model to the Hugging Face Hub, as `rayograph export` writes it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from rayograph.commands.model_export import EXPORT, Wanted, export
from rayograph.runs.artifact import Artifact
from rayograph.storage import open_store
from rayograph.storage.hub import push_folder, repository_of


def push(uri: str, target: str, endpoint_url: str | None, wanted: Wanted, private: bool) -> Iterator[str]:
    """Put a model, or a folder that was exported before, into the repository `target`; yield the commit's URL.

    Raises ConfigError and CheckpointError as `export` does, StorageError where the Hub refuses.
    """
    repository_of(target)
    with tempfile.TemporaryDirectory(prefix="rayograph-") as folder:
        source = Artifact(open_store(uri, endpoint_url), "")
        if source.store.exists(EXPORT):
            for name in source.names():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).write_bytes(source.read(name))
        else:
            first, *_ = export(uri, folder, endpoint_url, wanted)
            yield first.replace(folder, target)
        yield push_folder(Path(folder), target, "rayograph: a model, its pipeline and its card", private)
