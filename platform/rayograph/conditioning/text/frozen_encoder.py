"""Text encoders that others trained: read from a folder, run as they are, copied beside a model.

Shapes: b batch, l tokens, d channels of a state.
"""

import json
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, CLIPTextModel, T5EncoderModel

from rayograph.conditioning.text.outside import CONFIG, TOKENIZER, encoder_files
from rayograph.conditioning.text.study import KNOWN, counted, example_captions, first_captions
from rayograph.conditioning.text.tokens import vocabulary_of
from rayograph.config.job.conditions.text import FrozenText, KnownEncoder
from rayograph.errors import CheckpointError, DataError
from rayograph.runs.digests import digest_of, sha256
from rayograph.shards.committed import Shards
from rayograph.storage import Access, open_store

TEXT_PARTS = {"clip": CLIPTextModel, "clip_text_model": CLIPTextModel, "t5": T5EncoderModel, "umt5": AutoModel}
"""What is taken of models that have more than a text encoder, by the type that their configuration says."""


class FrozenEncoder(nn.Module):
    """A text encoder with its folder's files. It computes in float32 and learns nothing."""

    def __init__(self, folder: Path) -> None:
        """Raises CheckpointError for a folder that `transformers` does not read."""
        super().__init__()
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            kind = TEXT_PARTS.get(config.model_type, AutoModel)
            network = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
        except Exception as error:  # whatever a foreign folder does to a library, the answer is one line
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{folder.name}: expected a text encoder of transformers: {reason}") from error
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """(b, l, d): the states of the last layer."""
        given = None if mask is None else mask.long()
        with torch.autocast(tokens.device.type, enabled=False):
            states: Tensor = self.network(input_ids=tokens, attention_mask=given).last_hidden_state
        return states


def study_encoder(declared: FrozenText, sets: Sequence[Shards], access: Access) -> dict[str, object]:
    """Return the facts that a declared `FrozenText` is settled by. Raises DataError for a folder that is none."""
    store = open_store(declared.encoder_uri, access)
    files = encoder_files(store)
    tokenizer, config = store.read(TOKENIZER).decode(), store.read(CONFIG).decode()
    try:
        vocabulary, width = vocabulary_of(tokenizer), width_of(config)
        require_room(config, vocabulary.size, declared.max_length)
    except (ValueError, KeyError, DataError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{declared.encoder_uri}: expected a text encoder's folder: {reason}") from error
    known = KnownEncoder(
        tokenizer=tokenizer,
        vocabulary=vocabulary.size,
        padding=vocabulary.padding,
        examples=example_captions(first_captions(declared, sets)),
        counts=counted(tokenizer, first_captions(declared, sets), declared.max_length),
        width=width,
        sha256=digest_of({name: sha256(store.read(name)) for name in files}),
    )
    return {KNOWN: known.model_dump(mode="json")}


def width_of(config: str) -> int:
    """Return how wide an encoder's states are. Raises DataError for a configuration that does not say it."""
    said = json.loads(config)
    said = said.get("text_config") or said
    width = said.get("hidden_size", said.get("d_model"))
    if not isinstance(width, int):
        raise DataError(f"{CONFIG}: expected hidden_size, or d_model, got {', '.join(sorted(said)[:8])}")
    return width


def require_room(config: str, vocabulary: int, max_length: int) -> None:
    """Raise DataError where an encoder has not as many tokens as its tokenizer, or not as many places as captions."""
    said = json.loads(config)
    said = said.get("text_config") or said
    tokens, places = said.get("vocab_size"), said.get("max_position_embeddings")
    if isinstance(tokens, int) and tokens < vocabulary:
        raise DataError(f"{CONFIG}: expected a vocab_size of {vocabulary}, as the tokenizer's, got {tokens}")
    if isinstance(places, int) and places < max_length:
        raise DataError(f"max_length: expected at most {places}, the encoder's, got {max_length}")


def copied(uri: str, expected: str, target: Path) -> None:
    """Copy an encoder's folder. Raises CheckpointError where it is not the one of the digest `expected`."""
    store, target_digests = open_store(uri), {}
    target.mkdir(parents=True, exist_ok=True)
    for name in encoder_files(store):
        data = store.read(name)
        (target / name).write_bytes(data)
        target_digests[name] = sha256(data)
    if digest_of(target_digests) != expected:
        raise CheckpointError(f"{uri}: expected the text encoder that the model was trained with, found another")


@lru_cache(maxsize=1)
def encoder_at(uri: str, expected: str) -> FrozenEncoder:
    """Load one, once a process. Raises CheckpointError as `copied` does."""
    with tempfile.TemporaryDirectory(prefix="rayograph-") as folder, torch.inference_mode(False):
        copied(uri, expected, Path(folder))
        return FrozenEncoder(Path(folder))
