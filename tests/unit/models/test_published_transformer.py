"""Transformers of the published layout: with their weights, ours give the same states."""

import pytest
import torch
from published_layout import disturb
from published_transformer import Embedder

from rayograph.conditioning.spatial.token_transformer import TokenTransformer, TransformerSize
from rayograph.errors import DataError
from rayograph.models.published.token_transformer import token_transformer_weights

CLOSE = 2e-5
SIZES = {
    "text": (TransformerSize(40, 7, 3, 20, 2, 8, 80), {"times": 4}),  # heads together narrower than a token, as there
    "layout": (TransformerSize(64, 9, 2, 16, 2, 8, 64), {"times": 4}),
}


@torch.inference_mode()
@pytest.mark.parametrize("name", SIZES)
def test_states_of_tokens_are_those_of_the_published_transformer(name):
    size, said = SIZES[name]
    published = disturb(
        Embedder(
            size.vocabulary, size.length, size.width, size.num_layers, size.num_attention_heads,
            size.attention_head_dim, **said,
        )
    )  # fmt: skip
    ours = TokenTransformer(size).eval()
    ours.load_state_dict(token_transformer_weights(published.state_dict(), name))
    tokens = torch.randint(size.vocabulary, (2, size.length), generator=torch.Generator().manual_seed(0))
    expected = published(tokens)
    assert (ours(tokens) - expected).abs().max() <= CLOSE
    assert expected.std() > 0.05


def test_a_weight_that_has_no_place_is_named():
    weights = dict(Embedder().state_dict()) | {"transformer.attn_layers.layers.0.1.mem_k": torch.ones(1)}
    with pytest.raises(DataError, match=r"^text: .*left over transformer\.attn_layers\.layers\.0\.1\.mem_k"):
        token_transformer_weights(weights, "text")
