"""Text through an encoder that others trained: read from a folder, never trained, kept beside the model."""

import captioned
import numpy as np
import pyarrow as pa
import pytest
import torch
from captioned import CAPTIONS
from transformers import BertConfig, BertModel

from rayograph.conditioning.member_columns import WrongRow
from rayograph.conditioning.text.frozen_encoder import study_encoder
from rayograph.conditioning.text.frozen_text import ENCODER, FrozenTextConditioner
from rayograph.conditioning.text.outside import digest_of_files
from rayograph.conditioning.text.tokens import trained_tokenizer
from rayograph.conditioning.trained import TrainedConditioner, conditioner_of
from rayograph.config import FrozenText, TokenizerFile
from rayograph.errors import CheckpointError, DataError
from rayograph.models.specs import Accepts, DenoiserSpec

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "green", "blue", "apple", "pear"]
NARROW, WIDE = (DenoiserSpec(2, 4, accepts=Accepts(vector=12, cross_attention=width)) for width in (16, 24))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small BERT with weights that nobody trained, as transformers saves one."""
    place = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    size = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 16}
    BertModel(BertConfig(vocab_size=len(PIECES), hidden_size=16, **size)).save_pretrained(place)
    (place / "vocab.txt").write_text("\n".join(PIECES))
    (place / "tokenizer.json").write_text(trained_tokenizer(TokenizerFile(uri=str(place / "vocab.txt")), [], None))
    return place


def settled(folder, tmp_path, **said):
    declared = FrozenText(encoder_uri=str(folder), **{"max_length": 8} | said)
    return FrozenTextConditioner(declared, study_encoder(declared, [captioned.shards(tmp_path, CAPTIONS)], None))


def tokens(told, *texts):
    rows = pa.table({"prompt": pa.array(texts, pa.string())})
    return {"prompt": torch.from_numpy(told.arrays(told.validate(rows))["prompt"])}


def test_states_are_the_encoders_own_and_padding_changes_nothing(folder, tmp_path):
    told = settled(folder, tmp_path)
    network = told.network(NARROW)
    found = network.embed(tokens(told, "a red pear", "", "a blue apple a blue apple"))
    assert found.cross_attention_mask.sum(dim=1).tolist() == [5, 2, 8]
    with torch.no_grad():
        plain = BertModel.from_pretrained(folder).eval()(torch.tensor([[2, 4, 5, 9, 3]])).last_hidden_state
    assert torch.allclose(found.cross_attention[0, :5], plain[0], atol=1e-5)
    assert torch.allclose(network.null(2).cross_attention[1, :2], found.cross_attention[1, :2], atol=1e-5)
    assert network.null(2).cross_attention.shape == (2, 8, 16)


def test_nothing_of_the_encoder_is_trained_and_projections_are(folder, tmp_path):
    told = settled(folder, tmp_path, pooled=True)
    assert list(settled(folder, tmp_path / "b").network(NARROW).state_dict()) == []
    network = told.network(WIDE)
    assert sorted(network.state_dict()) == ["to_tokens.bias", "to_tokens.weight", "to_vector.bias", "to_vector.weight"]
    found = network.embed(tokens(told, "a red pear"))
    assert (found.cross_attention.shape, found.vector.shape) == ((1, 8, 24), (1, 12))
    (found.cross_attention.sum() + found.vector.sum()).backward()
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize("by_reference", [False, True])
def test_a_model_keeps_the_encoder_or_names_it(folder, tmp_path, by_reference):
    told = settled(folder, tmp_path / "data", by_reference=by_reference)
    first = told.network(WIDE)
    (tmp_path / "model").mkdir()
    TrainedConditioner(told, first).save_pretrained(str(tmp_path / "model"))
    assert (tmp_path / "model" / ENCODER / "model.safetensors").exists() != by_reference
    known = told.declared.model_copy(update={} if by_reference else {"encoder_uri": "/gone"})
    again = conditioner_of(known, None).network(WIDE)
    again.load_state_dict(first.state_dict())
    again.load_parts(tmp_path / "model")
    columns = tokens(told, "a red pear")
    assert torch.equal(again.embed(columns).cross_attention, first.embed(columns).cross_attention)


def test_another_encoder_than_the_one_trained_with_is_refused(folder, tmp_path):
    told = settled(folder, tmp_path)
    changed = told.declared.known.model_copy(update={"sha256": "0" * 64})
    network = conditioner_of(told.declared.model_copy(update={"known": changed}), None).network(NARROW)
    with pytest.raises(CheckpointError, match="expected the text encoder that the model was trained with, found ano"):
        network.null(1)


def test_its_folder_is_digested_for_the_key_and_one_without_safetensors_or_tokenizer_is_refused(folder, tmp_path):
    declared = FrozenText(encoder_uri=str(folder))
    before = digest_of_files(declared, None)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    copy = declared.model_copy(update={"encoder_uri": str(tmp_path)})
    assert digest_of_files(copy, None) == before  # wherever it lies
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes() + b"\n")
    assert digest_of_files(copy, None) != before
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(
        DataError, match=r"expected a text encoder's folder with \*\.safetensors, got config\.json, pyt"
    ):
        digest_of_files(copy, None)


def test_lengths_and_words_are_checked_by_the_encoders_tokenizer(folder, tmp_path):
    told = settled(folder, tmp_path)
    assert told.facts["captions"]["captions"] == 6
    assert len(told.facts["text_encoder_sha256"]) == 64
    with pytest.raises(WrongRow, match=r"^row 0: prompt: expected words that the model knows, got 'owl'$"):
        tokens(told, "a red owl")
    with pytest.raises(WrongRow, match=r"^row 0: prompt: expected at most 8 tokens, got 9 tokens"):
        tokens(told, "a a a a a a a")
    with pytest.raises(DataError, match=r"max_length: expected at most 16, the encoder's, got 77$"):
        settled(folder, tmp_path / "b", max_length=77)
    assert np.array_equal(told.examples(np.arange(2))["prompt"].to_pylist(), CAPTIONS[:2])
