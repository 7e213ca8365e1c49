"""Text through an encoder that others trained and that stays as it is.

Shapes: b batch, l tokens, d channels of a state.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from rayograph.conditioning.network import ConditionerNetwork
from rayograph.conditioning.text.frozen_encoder import FrozenEncoder, copied, encoder_at, width_of
from rayograph.conditioning.text.outside import CONFIG
from rayograph.conditioning.text.prompts import NEGATIVE, PROMPT, PromptConditioner
from rayograph.conditioning.text.study import KNOWN
from rayograph.conditioning.text.tokens import NO_TOKEN, vocabulary_of
from rayograph.conditioning.text.trained_text import pooled, repeated
from rayograph.config.job.conditions.text import FrozenText, KnownEncoder
from rayograph.models.conditioning import Conditioning
from rayograph.models.specs import DenoiserSpec
from rayograph.storage import open_store

ENCODER = "text_encoder"
"""Folder of a model's own copy, beside the conditioner's weights."""


class FrozenTextConditioner(PromptConditioner):
    """Settled by what a training finds in its captions and in the encoder's folder."""

    def __init__(self, declared: FrozenText, facts: Mapping[str, object] | None) -> None:
        if declared.known is None and facts is not None and KNOWN in facts:
            declared = declared.model_copy(update={"known": KnownEncoder.model_validate(facts[KNOWN])})
        self.declared: FrozenText = declared
        self.known = declared.known

    @property
    def facts(self) -> dict[str, object]:
        known = self.declared.known
        return {} if known is None else super().facts | {"text_encoder_sha256": known.sha256}

    def network(self, spec: DenoiserSpec) -> "FrozenTextNetwork":
        known = self.declared.known
        if known is not None:
            width = known.width
        else:
            width = width_of(open_store(self.declared.encoder_uri).read(CONFIG).decode())
        return FrozenTextNetwork(self.declared, width, spec.accepts.cross_attention or width, spec.accepts.vector)


class FrozenTextNetwork(ConditionerNetwork):
    """Only projections are trained; the encoder is none of its parts, so neither optimised, averaged nor kept twice."""

    _place: Tensor
    """Of no values: where the network is, and in which precision, though it may have no weights."""

    def __init__(self, declared: FrozenText, width: int, attended: int, vector_width: int | None) -> None:
        super().__init__()
        known = declared.known
        length = declared.max_length
        self._declared, self._width, self._masks = declared, width, declared.mask_padding
        self._padding = 0 if known is None else known.padding
        empty = [0] * length
        if known is not None:
            empty = vocabulary_of(known.tokenizer).encode([""], length).tokens[0].tolist()
        self._empty, self._own = tuple(empty), list[FrozenEncoder]()
        self.to_tokens = None if attended == width else nn.Linear(width, attended)
        self.to_vector = nn.Linear(width, vector_width) if declared.pooled and vector_width else None
        self.register_buffer("_place", torch.zeros(0), persistent=False)

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        return self._embedded(columns[PROMPT])

    def null(self, count: int) -> Conditioning:
        return repeated(self._embedded(torch.tensor([self._empty], device=self._place.device)), count)

    def unconditional(self, columns: Mapping[str, Tensor], count: int) -> Conditioning:
        return self._embedded(columns[NEGATIVE]) if NEGATIVE in columns else self.null(count)

    def save_parts(self, folder: Path) -> None:
        """Copy the encoder beside the weights, unless models only name it."""
        known = self._declared.known
        if not self._declared.by_reference and known is not None:
            copied(self._declared.encoder_uri, known.sha256, folder / ENCODER)

    def load_parts(self, folder: Path) -> None:
        """Take the copy beside the weights."""
        if (folder / ENCODER).exists():
            self._own = [FrozenEncoder(folder / ENCODER)]
            shutil.rmtree(folder / ENCODER)

    def _embedded(self, tokens: Tensor) -> Conditioning:
        """Of (b, l) tokens, filled up with NO_TOKEN."""
        there = tokens != NO_TOKEN
        mask = there if self._masks else None
        states = self._states(tokens.masked_fill(~there, self._padding), mask).to(self._place.dtype)
        vector = None if self.to_vector is None else self.to_vector(pooled(states, there))
        attended = states if self.to_tokens is None else self.to_tokens(states)
        return Conditioning(vector=vector, cross_attention=attended, cross_attention_mask=mask)

    def _states(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Where only costs are counted, of the right shape: the encoder is none of what a training keeps."""
        known = self._declared.known
        if tokens.is_meta or known is None:
            return torch.zeros(*tokens.shape, self._width, device=tokens.device)
        encoder = self._own[0] if self._own else encoder_at(self._declared.encoder_uri, known.sha256)
        states: Tensor = encoder.to(tokens.device)(tokens, mask)
        return states
