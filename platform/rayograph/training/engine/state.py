"""What ZeRO keeps of a network and of its optimiser, as named tensors that do not depend on workers or stage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rayograph.training.engine.flat import Segment
from rayograph.training.engine.optimiser import AdamWithAverages
from rayograph.training.workers import world

WEIGHT = "weight"


@dataclass(frozen=True)
class Piece:
    """A run of consecutive values (n,) float32 of a flattened tensor of `EngineState`, the first at `start`."""

    name: str
    start: int
    values: Tensor


class EngineState:
    """Every trained weight (fp32 master) and its optimiser state, by name: "weight/…", "exp_avg/…", "ema-0.999/…".

    `stored` are the tensors that DeepSpeed was given, and the named weights that lie in each.
    """

    def __init__(
        self, zero_stage: int, optimiser: AdamWithAverages, stored: Sequence[tuple[Tensor, Sequence[Segment]]]
    ) -> None:
        self._zero_stage, self._optimiser, self._stored = zero_stage, optimiser, stored
        self._places = {segment.name: (tensor, segment) for tensor, segments in stored for segment in segments}
        self.keys = (WEIGHT, *optimiser.state_keys)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor, by name."""
        return {f"{key}/{name}": segment.shape for name, (_, segment) in self._places.items() for key in self.keys}

    def whole(self, key: str) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of one key, by the weight's name. All workers must iterate together."""
        for tensor, segments in self._stored:
            long = self._whole(tensor, key).view(-1)
            for segment in segments:
                yield segment.name, long[segment.start : segment.start + segment.size].view(segment.shape)

    def pieces(self) -> Iterator[Piece]:
        """What this worker keeps, without copying it; all workers' pieces together are everything, once."""
        for tensor, segments in self._stored:
            for key in self.keys:
                first, values = self._kept(tensor, key)
                for segment in segments:
                    start, end = max(first, segment.start), min(first + len(values), segment.start + segment.size)
                    if start < end:
                        yield Piece(f"{key}/{segment.name}", start - segment.start, values[start - first : end - first])

    def put(self, piece: Piece) -> None:
        """Takes over as much of a piece as this worker keeps, whoever wrote it."""
        key, _, name = piece.name.partition("/")
        tensor, segment = self._places[name]
        start, values = segment.start + piece.start, piece.values
        if self._zero_stage == 3:
            self._put_in_shard(tensor, key, start, values)
            return
        if key == WEIGHT:  # each worker computes with all of them
            tensor.data.view(-1)[start : start + len(values)] = values.to(tensor.device)
        if not hasattr(tensor, "_hp_mapping"):
            if key != WEIGHT:
                _overlay(self._optimiser.state[tensor][key].view(-1), 0, start, values)
        elif tensor._hp_mapping is not None:
            mapping = tensor._hp_mapping
            fragment = mapping.get_hp_fragment(None if key == WEIGHT else key)
            _overlay(fragment, mapping.lp_fragment_address.start, start, values)

    @property
    def steps(self) -> int:
        """Optimiser steps taken: Adam's count, which a network that joins later starts later."""
        return int(next(iter(self._optimiser.state.values()))["step"])

    @steps.setter
    def steps(self, steps: int) -> None:
        for state in self._optimiser.state.values():
            state["step"].fill_(steps)

    @torch.no_grad()
    def _whole(self, tensor: Tensor, key: str) -> Tensor:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if key == WEIGHT:
            value = safe_get_full_fp32_param(tensor)
        else:
            value = safe_get_full_optimizer_state(tensor, key)
        if value is None:  # not sharded
            value = tensor if key == WEIGHT else self._optimiser.state[tensor][key]
        return value.detach().float().clone().contiguous()

    @torch.no_grad()
    def _kept(self, tensor: Any, key: str) -> tuple[int, Tensor]:
        """Where this worker's values of a tensor begin, and the values, flat; none where others keep it."""
        rank, workers = world()
        if self._zero_stage == 3:
            start = rank * tensor.ds_tensor.ds_numel
            return start, _zero3_shard(tensor, key)[: max(0, tensor.ds_numel - start)]
        if not hasattr(tensor, "_hp_mapping"):  # all keep all, and answer for a part
            whole = (tensor if key == WEIGHT else self._optimiser.state[tensor][key]).detach().view(-1)
            part = -(-whole.numel() // workers)
            return rank * part, whole[rank * part : (rank + 1) * part]
        mapping = tensor._hp_mapping
        if mapping is None:
            return 0, tensor.detach().new_empty(0)
        return mapping.lp_fragment_address.start, mapping.get_hp_fragment(None if key == WEIGHT else key).detach()

    @torch.no_grad()
    def _put_in_shard(self, tensor: Any, key: str, start: int, values: Tensor) -> None:
        shard = _zero3_shard(tensor, key)
        begins = world()[0] * len(shard)
        _overlay(shard, begins, start, values)
        if key == WEIGHT:  # what it computes with, beside the master
            _overlay(tensor.ds_tensor.data, begins, start, values)


def _zero3_shard(tensor: Any, key: str) -> Tensor:
    """This worker's part of a tensor, flat, where it is kept, padded where workers do not divide its size."""
    kept, _ = tensor._z3_optimizer._get_fp32_opt_state_partition(tensor, True, None if key == WEIGHT else key)
    return kept.detach()


def _overlay(kept: Tensor, begins: int, start: int, values: Tensor) -> None:
    """Puts into `kept`, which begins at `begins` of its tensor, what `values`, which begin at `start`, have of it."""
    first, last = max(begins, start), min(begins + len(kept), start + len(values))
    if first < last:
        kept.detach()[first - begins : last - begins] = values[first - start : last - start].to(kept.device)
