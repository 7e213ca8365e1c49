"""What is to be drawn: rows of a request as columns, all of one size and one walk.

Shapes: n samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from rayograph.config import Sampler


@dataclass(frozen=True)
class Group:
    """Samples that fit into one batch: pixels of one size, one scheduler with as many steps, all guided or none.

    `eta` is of DDIM alone. Plans from before these two were said have None for both: they were drawn by "trailing".
    """

    width: int
    height: int
    scheduler: str
    num_inference_steps: int
    guided: bool
    spacing: str | None = None
    eta: float | None = None

    @staticmethod
    def of(sampler: Sampler, width: int, height: int, guided: bool, flow: bool) -> "Group":
        """What a sampler comes to on a flow, or on a diffusion, every default filled in."""
        return Group(
            width,
            height,
            sampler.scheduler,
            sampler.num_inference_steps,
            guided,
            sampler.spacing_on(flow),
            sampler.eta if sampler.scheduler == "ddim" else None,
        )


@dataclass(frozen=True)
class Draws:
    """`numbers`, `seeds` (the bits of uint64), `counters`, `classes` (n,) int64; `guidance_scales` (n,) float64.

    Noise is of (seed, counter). `kept` holds n strings, or None, for each column that is carried along.
    """

    group: Group
    numbers: np.ndarray
    seeds: np.ndarray
    counters: np.ndarray
    guidance_scales: np.ndarray
    classes: np.ndarray | None = None
    kept: dict[str, list[str | None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, part: slice) -> "Draws":
        return self._at(np.arange(len(self))[part])

    def padded(self, more: int) -> "Draws":
        """The last sample `more` times again at the end."""
        return self._at(np.minimum(np.arange(len(self) + more), len(self) - 1))

    def _at(self, rows: np.ndarray) -> "Draws":
        return replace(
            self,
            numbers=self.numbers[rows],
            seeds=self.seeds[rows],
            counters=self.counters[rows],
            guidance_scales=self.guidance_scales[rows],
            classes=None if self.classes is None else self.classes[rows],
            kept={name: [values[row] for row in rows.tolist()] for name, values in self.kept.items()},
        )

    def batches(self, size: int) -> Iterator["Draws"]:
        """In order, up to `size` samples each."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    @property
    def sampler(self) -> Sampler:
        """Of the whole group; guidance is each sample's own."""
        return Sampler.model_validate(
            {
                "scheduler": self.group.scheduler,
                "num_inference_steps": self.group.num_inference_steps,
                "guidance_scale": float(self.guidance_scales[0]),
                "spacing": self.group.spacing or "trailing",
                "eta": self.group.eta or 0.0,
            }
        )

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """seeds, counters, and the columns that the model is conditioned on."""
        columns = {} if self.classes is None else {"class": torch.from_numpy(self.classes)}
        return torch.from_numpy(self.seeds), torch.from_numpy(self.counters), columns

    def record(self, row: int) -> dict[str, Any]:
        """What drew this sample, for people and for drawing it again."""
        record: dict[str, Any] = {
            "number": int(self.numbers[row]),
            "seed": int(self.seeds[row].astype(np.uint64)),
            "counter": int(self.counters[row]),
            "width": self.group.width,
            "height": self.group.height,
            "scheduler": self.group.scheduler,
            "num_inference_steps": self.group.num_inference_steps,
            "guidance_scale": float(self.guidance_scales[row]),
        }
        record |= {name: value for name in ("spacing", "eta") if (value := getattr(self.group, name)) is not None}
        if self.classes is not None:
            record["class"] = int(self.classes[row])
        return record | {name: values[row] for name, values in self.kept.items() if values[row] is not None}
