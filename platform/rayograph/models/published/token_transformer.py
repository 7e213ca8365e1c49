"""Transformers over tokens by their published names (Rombach et al. 2022, tab. 17): of words, and of layouts.

transformer.token_emb, .pos_emb.emb, .norm                    embeddings, and the last layer norm
transformer.attn_layers.layers.{2n}.0.0, .1                   the layer norm before attention, and attention
transformer.attn_layers.layers.{2n+1}.0.0, .1.net             the layer norm before the perceptron, and the perceptron
transformer.to_logits                                         a projection to the vocabulary that nothing reads
"""

import re

from torch import Tensor

from rayograph.models.published.accounting import Weights, refuse_left_over

_AROUND = {
    "transformer.token_emb": "tokens",
    "transformer.pos_emb.emb": "positions",
    "transformer.norm": "norm",
}
_LAYER = re.compile(r"transformer\.attn_layers\.layers\.(\d+)\.(.+)")
_ATTENTION = {"0.0": "attention_norm", "1.to_q": "to_q", "1.to_k": "to_k", "1.to_v": "to_v", "1.to_out": "to_out"}
_PERCEPTRON = {"0.0": "perceptron_norm", "1.net.0.0": "perceptron.0", "1.net.2": "perceptron.2"}
_UNREAD = "transformer.to_logits."


def token_transformer_weights(weights: Weights, where: str) -> dict[str, Tensor]:
    """Return published weights by the names of our transformer. Raises DataError naming those that have no place."""
    found: dict[str, Tensor] = {}
    over = []
    for name, value in weights.items():
        told = _told(name)
        if told is not None:
            found[told] = value
        elif not name.startswith(_UNREAD):
            over.append(name)
    refuse_left_over(over, where)
    return found


def _told(name: str) -> str | None:
    """One published name in our words: of layers 4 and 5, what attends and the perceptron of block 2."""
    stem, _, kind = name.rpartition(".")
    if stem in _AROUND:
        return f"{_AROUND[stem]}.{kind}"
    match = _LAYER.fullmatch(stem)
    if match is None:
        return None
    number, part = int(match[1]), match[2]
    parts = _PERCEPTRON if number % 2 else _ATTENTION
    return f"blocks.{number // 2}.{parts[part]}.{kind}" if part in parts else None
