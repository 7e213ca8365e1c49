"""Reading a published checkpoint's tensors: `.ckpt`, never unpickled but for tensors and plain values, or safetensors.

What pytorch-lightning wrote names classes of its own as keys of what it notes beside the weights. Empty classes stand
for those that the published files name; a file that names anything else is refused, and nothing of it is run.
"""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rayograph.errors import DataError
from rayograph.models.published.accounting import some

_SAFE = ".safetensors"
_WEIGHTS = "state_dict"
_NOTED_BESIDE = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)


class _Noted(dict[str, Any]):
    """Stands for a class of pytorch-lightning's."""


_STANDING_IN: list[Any] = [(_Noted, name) for name in _NOTED_BESIDE]


def read_weights(path: Path, where: str) -> dict[str, Tensor]:
    """Return a checkpoint's tensors by name, on the CPU. Raises DataError for a file that is none, or no safe one."""
    if path.suffix == _SAFE:
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise DataError(f"{where}: expected safetensors: {_said(error)}") from error
    zipped = zipfile.is_zipfile(path)
    with torch.serialization.safe_globals(_STANDING_IN), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol")  # what cannot be read is refused below
        try:
            unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path) if zipped else []
            if unsafe:
                raise DataError(
                    f"{where}: expected tensors and plain values, got {some(unsafe)}, which reading it would run: take "
                    "safetensors, or save its state_dict alone"
                )
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        except DataError:
            raise
        except Exception as error:  # whatever a spoilt file does to the reader, the answer is one line
            raise DataError(f"{where}: expected a checkpoint of tensors alone: {_said(error)}") from error
    weights = found.get(_WEIGHTS, found) if isinstance(found, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise DataError(f"{where}: expected tensors by name, got a {type(weights).__name__}")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise DataError(f"{where}: expected tensors by name, got {name!r} of {type(value).__name__}")
    return {name: value.detach() for name, value in weights.items()}


def _said(error: Exception) -> str:
    """The first sentence, without the advice to trust the file that torch gives beside."""
    for line in str(error).splitlines():
        if "Unsupported" in line or "Can only" in line:
            return line.strip()[:200]
    return " ".join(str(error).split())[:200] or type(error).__name__
