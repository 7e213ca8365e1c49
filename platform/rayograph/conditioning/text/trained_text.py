"""Text through a transformer that is trained with the denoiser: the paper's text-to-image (Rombach et al. 2022).

Shapes: b batch, l tokens, d channels of a token, e width of the time embedding.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rayograph.conditioning.network import ConditionerNetwork
from rayograph.conditioning.spatial.token_transformer import TokenTransformer, TransformerSize
from rayograph.conditioning.text.prompts import NEGATIVE, PROMPT, PromptConditioner
from rayograph.conditioning.text.study import KNOWN
from rayograph.conditioning.text.tokens import NO_TOKEN, vocabulary_of
from rayograph.config.job.conditions.text import KnownTokens, Text, TokenizerFile
from rayograph.errors import ConfigError
from rayograph.models.conditioning import Conditioning
from rayograph.models.specs import DenoiserSpec

BERT_VOCABULARY = 30_522
"""What costs are counted with while a tokenizer's file is not read yet."""


class TextConditioner(PromptConditioner):
    """Settled by what a training finds in its captions."""

    def __init__(self, declared: Text, facts: Mapping[str, object] | None) -> None:
        if declared.known is None and facts is not None and KNOWN in facts:
            declared = declared.model_copy(update={"known": KnownTokens.model_validate(facts[KNOWN])})
        self.declared: Text = declared
        self.known = declared.known

    def network(self, spec: DenoiserSpec) -> "TextNetwork":
        if spec.accepts.cross_attention != self.declared.width:
            raise ConfigError(
                f"conditioner.width: expected {spec.accepts.cross_attention}, what the denoiser attends to, got "
                f"{self.declared.width}"
            )
        return TextNetwork(self.declared, spec.accepts.vector)


class TextNetwork(ConditionerNetwork):
    """The null condition is the empty caption."""

    def __init__(self, declared: Text, vector_width: int | None) -> None:
        super().__init__()
        known, tokenizer = declared.known, declared.tokenizer
        if known is not None:
            vocabulary, self._padding = known.vocabulary, known.padding
            empty = vocabulary_of(known.tokenizer).encode([""], declared.max_length).tokens[0].tolist()
        else:
            vocabulary = BERT_VOCABULARY if isinstance(tokenizer, TokenizerFile) else tokenizer.vocabulary_size
            self._padding, empty = 0, [0] * declared.max_length
        self._empty, self._masks = tuple(empty), declared.mask_padding
        self.transformer = TokenTransformer(
            TransformerSize(
                vocabulary=vocabulary,
                length=declared.max_length,
                num_layers=declared.num_layers,
                width=declared.width,
                num_attention_heads=declared.num_attention_heads,
                attention_head_dim=declared.attention_head_dim,
                feed_forward=declared.feed_forward,
            )
        )
        self.to_logits = nn.Linear(declared.width, vocabulary) if declared.output_projection else None
        self.to_vector = nn.Linear(declared.width, vector_width) if declared.pooled and vector_width else None

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        return self._embedded(columns[PROMPT])

    def null(self, count: int) -> Conditioning:
        where = next(self.parameters()).device
        return repeated(self._embedded(torch.tensor([self._empty], device=where)), count)

    def unconditional(self, columns: Mapping[str, Tensor], count: int) -> Conditioning:
        return self._embedded(columns[NEGATIVE]) if NEGATIVE in columns else self.null(count)

    def _embedded(self, tokens: Tensor) -> Conditioning:
        """Of (b, l) tokens, filled up with NO_TOKEN."""
        there = tokens != NO_TOKEN
        mask = there if self._masks else None
        states = self.transformer(tokens.masked_fill(~there, self._padding), mask)
        vector = None if self.to_vector is None else self.to_vector(pooled(states, there))
        return Conditioning(vector=vector, cross_attention=states, cross_attention_mask=mask)


def pooled(states: Tensor, there: Tensor) -> Tensor:
    """(b, d): the mean of the states (b, l, d) where `there` (b, l) is a token."""
    weights = there.to(states.dtype)[:, :, None]
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def repeated(one: Conditioning, count: int) -> Conditioning:
    """A single sample's conditioning, `count` times."""

    def often(part: Tensor | None) -> Tensor | None:
        return None if part is None else part.expand(count, *part.shape[1:])

    return Conditioning(
        vector=often(one.vector),
        cross_attention=often(one.cross_attention),
        cross_attention_mask=often(one.cross_attention_mask),
    )
