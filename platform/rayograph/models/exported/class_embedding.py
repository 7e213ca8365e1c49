"""What a model of rayograph's is told of classes: one learned vector each, and the last one for no class.

`config.json` says how many there are and by which way they come in, `class_names.json` what they are called.
This file stands by itself: it needs torch and safetensors alone.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CONFIG, NAMES, WEIGHTS = "config.json", "class_names.json", "model.safetensors"


class ClassEmbedding(nn.Module):
    """Added to the time embedding ("vector"), or the one token that is attended to ("cross_attention")."""

    def __init__(self, rows: int, width: int, way: str, names: Sequence[str]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, width)
        self.way, self.names = way, list(names)

    @property
    def num_classes(self) -> int:
        """Without the one for none."""
        return self.embedding.num_embeddings - 1

    @classmethod
    def from_pretrained(cls, folder: str, **_options: object) -> "ClassEmbedding":
        """Open a folder; how weights are loaded, which diffusers says besides, means nothing to so few."""
        place = Path(folder)
        config, state = json.loads((place / CONFIG).read_bytes()), load_file(place / WEIGHTS)
        names = json.loads((place / NAMES).read_bytes()) if (place / NAMES).exists() else []
        rows, width = state["embedding.weight"].shape
        made = cls(rows, width, config.get("way", "vector"), names)
        made.load_state_dict(state)
        return made.eval()

    def save_pretrained(self, folder: str, **_options: object) -> None:
        """Write what `from_pretrained` opens."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        config = {"kind": "class_label", "num_classes": self.num_classes, "way": self.way}
        (place / CONFIG).write_text(json.dumps(config))
        (place / NAMES).write_text(json.dumps(self.names))
        save_file(self.state_dict(), place / WEIGHTS)

    def numbers(self, classes: Sequence[int | str], times: int) -> Tensor:
        """Return each class's number so many times in a row. Raises ValueError for one that there is not."""
        found = [self.names.index(each) if each in self.names else each for each in classes]
        for each in found:
            if not isinstance(each, int) or not 0 <= each < self.num_classes:
                raise ValueError(f"classes: expected 0 to {self.num_classes - 1} or a name, got {each!r}")
        return torch.tensor(found).repeat_interleave(times)

    def embed(self, numbers: Tensor) -> dict[str, Tensor]:
        """Return what the denoiser takes."""
        vectors = self.embedding(numbers.to(self.embedding.weight.device))
        return {"encoder_hidden_states": vectors[:, None]} if self.way != "vector" else {"class_labels": vectors}

    def null(self, count: int) -> dict[str, Tensor]:
        """Of no class."""
        return self.embed(torch.full((count,), self.num_classes))
