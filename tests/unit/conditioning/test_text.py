"""Text through a transformer that is trained along: captions, tokens, prompts, states."""

import json

import captioned
import cloudpickle
import numpy as np
import pyarrow as pa
import pytest
import torch
from asked import as_csv, as_json_lines, as_parquet, pages
from captioned import CAPTIONS, SMALL

from rayograph.conditioning.member_columns import WrongRow
from rayograph.conditioning.seen import Seen
from rayograph.conditioning.text.captions import captions_of
from rayograph.conditioning.text.study import remarks, study_captions
from rayograph.conditioning.text.tokens import NO_TOKEN, trained_tokenizer, vocabulary_of
from rayograph.conditioning.text.trained_text import TextConditioner
from rayograph.conditioning.trained import conditioner_of
from rayograph.config import BytePairTokenizer, CaptionSource, Text, TokenizerFile, WordTokenizer
from rayograph.errors import ConfigError, DataError
from rayograph.ingest.decoders import Moments
from rayograph.ingest.reading import PlannedReader
from rayograph.models.specs import Accepts, DenoiserSpec, LatentShape, Ways
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.shards.order.sample_order import DataSet, Plan
from rayograph.shards.sample import Sample

SPEC = DenoiserSpec(2, 4, accepts=Accepts(vector=12, cross_attention=16))
BERT = ["[PAD]", *(f"[unused{number}]" for number in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def prompts(*texts, negative=None):
    columns = {"prompt": pa.array(texts, pa.string())}
    return pa.table(columns if negative is None else columns | {"negative_prompt": pa.array(negative, pa.string())})


@pytest.mark.parametrize("declared", [WordTokenizer(), BytePairTokenizer(vocabulary_size=300)])
def test_a_tokenizer_is_the_same_for_the_same_captions_in_any_order_and_gives_them_back(declared):
    text = trained_tokenizer(declared, CAPTIONS, None)
    assert trained_tokenizer(declared, reversed(CAPTIONS), None) == text
    vocabulary = vocabulary_of(text)
    tokens = vocabulary.encode(CAPTIONS, 24).tokens
    back = [vocabulary.tokenizer.decode([t for t in row if t != NO_TOKEN], skip_special_tokens=False) for row in tokens]
    plain = [text.replace("[CLS]", "").replace("[SEP]", "").replace("Ġ", " ") for text in back]
    kept = [" ".join(one.split()) if isinstance(declared, WordTokenizer) else one for one in plain]
    assert [one.replace(" ", "") for one in kept] == [one.lower().replace(" ", "") for one in CAPTIONS]
    assert vocabulary.encode(CAPTIONS, 24).unknown == 0


def test_words_are_numbered_by_how_often_they_are_used_and_the_rarest_fall_away():
    vocabulary = vocabulary_of(trained_tokenizer(WordTokenizer(vocabulary_size=8), CAPTIONS, None))
    assert [vocabulary.tokenizer.id_to_token(number) for number in range(vocabulary.size)] == [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "apple", "pear", "blue",
    ]  # fmt: skip
    assert vocabulary.unknown_words("a red pear") == ["red"]
    twice = WordTokenizer(least_count=3)
    assert vocabulary_of(trained_tokenizer(twice, CAPTIONS, None)).size == 4 + 3


def test_what_a_text_spells_like_a_token_of_its_end_is_text():
    vocabulary = vocabulary_of(trained_tokenizer(WordTokenizer(), CAPTIONS, None))
    assert vocabulary.encode(["a [SEP] pear"], 8).tokens[0].tolist().count(3) == 1


def test_berts_vocabulary_and_its_tokenizers_file_are_the_same_tokenizer(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT, "a", "pear", "##s"]))
    text = trained_tokenizer(TokenizerFile(uri=str(tmp_path / "vocab.txt")), [], None)
    vocabulary = vocabulary_of(text)
    assert (vocabulary.size, vocabulary.padding, vocabulary.unknown) == (107, 0, 100)
    assert vocabulary.encode(["A pears"], 6).tokens.tolist() == [[101, 104, 105, 106, 102, NO_TOKEN]]
    (tmp_path / "tokenizer.json").write_text(text)
    assert trained_tokenizer(TokenizerFile(uri=str(tmp_path / "tokenizer.json")), [], None) == text
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer\.json: expected a tokenizer \(tokenizer\.json, or BERT's vocab"):
        trained_tokenizer(TokenizerFile(uri=str(tmp_path / "tokenizer.json")), [], None)
    with pytest.raises(DataError, match=r"none\.txt: expected a file, found none$"):
        trained_tokenizer(TokenizerFile(uri=str(tmp_path / "none.txt")), [], None)


def test_the_published_transformer_has_its_581_994_042_weights(tmp_path):
    declared = Text(tokenizer=TokenizerFile(uri="vocab.txt"), output_projection=True)
    with torch.device("meta"):
        network = TextConditioner(declared, None).network(DenoiserSpec(4, 32, accepts=Accepts(cross_attention=1280)))
    assert sum(weight.numel() for weight in network.parameters()) == 581_994_042


def test_a_sample_has_captions_by_line_or_in_its_json_and_one_without_is_named():
    lines = Sample("a", {"txt": b" a red pear\n\na pear \n"})
    assert captions_of(lines, CaptionSource()) == ["a red pear", "a pear"]
    assert captions_of(lines, CaptionSource(one_a_line=False)) == ["a red pear\n\na pear"]
    assert captions_of(Sample("a", {"txt": b""}), CaptionSource()) == [""]
    listed = CaptionSource(json_field="said")
    assert captions_of(Sample("a", {"json": b'{"said": ["x", " y"]}'}), listed) == ["x", "y"]
    assert captions_of(Sample("a", {"json": b'{"said": "x"}'}), listed) == ["x"]
    for members, source, message in [
        ({"png": b""}, CaptionSource(), r"^a: expected a caption \(txt\), got png$"),
        ({"txt": b"\xff"}, CaptionSource(), r"^a: expected a caption in UTF-8, got b'\\xff'$"),
        ({"json": b'{"said": 3}'}, listed, r"^a: json: expected 'said' to be a text or a list of texts, got '3'$"),
        ({"json": b"["}, listed, r"^a: json: expected 'said' to be a text"),
    ]:
        with pytest.raises(DataError, match=message):
            captions_of(Sample("a", members), source)


def test_captions_are_read_beside_their_moments_and_of_several_one_is_drawn_by_seed_and_position(tmp_path):
    several = [[f"a {colour} pear", f"a {colour} apple"] for colour in captioned.COLOURS]
    told = captioned.settled(tmp_path / "known")
    data = captioned.shards(tmp_path / "data", several)
    plan = Plan((DataSet((3,)),), 0, 3, 1)

    def read(positions, seed=0):
        return PlannedReader((data,), plan, Moments((4, 2, 2), told, seed)).read(np.array(positions))

    whole, vocabulary = read(range(60)), told.vocabulary
    assert whole["prompt"].shape == (60, 8)
    words = [vocabulary.tokenizer.decode([t for t in row if t != NO_TOKEN]) for row in whole["prompt"]]
    numbers = whole["moments"][:, 0, 0, 0].astype(int)
    assert all(captioned.COLOURS[number] in text for number, text in zip(numbers, words, strict=True))
    share = np.mean(["pear" in text for text in words])
    assert 0.3 < share < 0.7
    assert np.array_equal(read([59, 3, 17])["prompt"], whole["prompt"][[59, 3, 17]])
    assert not np.array_equal(read(range(60), seed=1)["prompt"], whole["prompt"])


def test_one_caption_a_sample_is_read_at_once_as_one_by_one_and_samples_without_are_replaced_and_named(tmp_path):
    told = captioned.settled(tmp_path / "known")
    plan = Plan((DataSet((6,)),), 0, 6, 1)
    content = Moments((4, 2, 2), told)
    fast = PlannedReader((captioned.shards(tmp_path / "a", CAPTIONS),), plan, content)
    found = fast.read(np.arange(6))
    numbers = found["moments"][:, 0, 0, 0].astype(int)
    wanted = [told.decode(Sample("a", {"txt": CAPTIONS[number].encode()}))["prompt"] for number in numbers]
    assert np.array_equal(found["prompt"], np.stack(wanted))
    bad = PlannedReader((captioned.shards(tmp_path / "b", [*CAPTIONS[:5], None]),), plan, content).read(np.arange(6))
    (named,) = [text for text in bad["substituted"] if text]
    assert "k005: expected a caption (txt), got npy" in named


def test_what_is_cut_or_unknown_is_counted_and_told(tmp_path):
    declared = Text(**SMALL | {"max_length": 4, "tokenizer": WordTokenizer(vocabulary_size=8)})
    data = [captioned.shards(tmp_path, [*CAPTIONS, "a"])]
    told = TextConditioner(declared, study_captions(declared, data, None))
    assert told.facts["captions"] == {"captions": 7, "cut": 6, "longest": 5, "unknown_words": 4, "vocabulary": 8}
    assert told.remarks == (
        "6 of 7 captions are cut to 4 tokens; the longest has 5: conditioner.max_length",
        "4 words of 7 captions are unknown to the tokenizer",
    )
    assert told.decode(Sample("a", {"txt": b"a blue pear"}))["prompt"].tolist() == [2, 4, 7, 3]  # its end is kept
    assert remarks({"captions": 7, "cut": 0, "longest": 3, "unknown_words": 0}, 4) == []
    with pytest.raises(DataError, match="expected samples with captions, found none"):
        study_captions(declared, [captioned.shards(tmp_path / "none", [None, None])], None)


@pytest.mark.parametrize("mask_padding", [True, False])
def test_a_caption_is_embedded_alone_as_beside_longer_ones(tmp_path, mask_padding):
    told = captioned.settled(tmp_path, pooled=True, mask_padding=mask_padding)
    assert told.gives(LatentShape(2, 4)) == Ways(vector=True, cross_attention=True)
    torch.manual_seed(0)
    network = told.network(SPEC)
    tokens = torch.from_numpy(told.arrays(prompts("a pear", "a red apple a red apple", ""))["prompt"])
    both, alone = network.embed({"prompt": tokens}), network.embed({"prompt": tokens[:1]})
    assert both.cross_attention.shape == (3, 8, 16)
    assert both.vector.shape == (3, 12)
    assert torch.allclose(both.cross_attention[0], alone.cross_attention[0], atol=1e-6)
    assert torch.allclose(both.vector[0], alone.vector[0], atol=1e-6)
    if not mask_padding:
        assert both.cross_attention_mask is None
        return
    assert both.cross_attention_mask.sum(dim=1).tolist() == [4, 8, 2]
    shorter = captioned.settled(tmp_path / "b", pooled=True, max_length=4).network(SPEC)
    state = network.state_dict()
    state["transformer.positions.weight"] = state["transformer.positions.weight"][:4]
    shorter.load_state_dict(state)
    without_padding = shorter.embed({"prompt": tokens[:1, :4]})
    assert torch.allclose(both.cross_attention[0, :4], without_padding.cross_attention[0], atol=1e-6)
    assert torch.allclose(both.vector[0], without_padding.vector[0], atol=1e-6)


def test_the_null_condition_is_the_empty_caption_and_guidance_compares_with_a_negative_prompt(tmp_path):
    told = captioned.settled(tmp_path, pooled=True)
    network = told.network(SPEC)
    rows = prompts("a pear", "a red pear", negative=[None, "a blue apple"])
    columns = {name: torch.from_numpy(values) for name, values in told.arrays(told.validate(rows)).items()}
    null, against = network.null(2), network.unconditional(columns, 2)
    empty = network.embed({"prompt": torch.from_numpy(told.arrays(prompts("", ""))["prompt"])})
    for part in ("cross_attention", "cross_attention_mask", "vector"):
        assert torch.allclose(getattr(null, part).float(), getattr(empty, part).float(), atol=1e-6)
        assert torch.allclose(getattr(against, part)[0].float(), getattr(null, part)[0].float(), atol=1e-6)
    assert not torch.allclose(against.cross_attention[1], null.cross_attention[1])
    assert torch.equal(network.unconditional({"prompt": columns["prompt"]}, 2).vector, null.vector)


def test_a_dropped_caption_is_told_as_the_null_and_gradients_reach_the_transformer(tmp_path):
    told = captioned.settled(tmp_path, pooled=True)
    network = told.network(SPEC)
    columns = {"prompt": torch.from_numpy(told.arrays(prompts("a pear", "a red pear"))["prompt"])}
    found = network.told(columns, torch.tensor([[True], [False]]))
    assert torch.allclose(found.cross_attention[1], network.null(1).cross_attention[0])
    assert found.cross_attention_mask.sum(dim=1).tolist() == [4, 2]
    (found.cross_attention.sum() + found.vector.sum()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


@pytest.mark.parametrize("write", [as_parquet, as_json_lines, as_csv])
def test_prompts_are_checked_in_any_file_and_the_first_wrong_row_is_named(tmp_path, write):
    ending = {as_parquet: "parquet", as_json_lines: "jsonl", as_csv: "csv"}[write]
    spec = ModelSpec(captioned.settled(tmp_path / "known"), 8, 4, 1000)

    def asked(*texts):
        return pages(write(tmp_path / f"a.{ending}", [{"prompt": text} for text in texts]), spec=spec)

    (page,) = asked("a pear", "A  RED apple")
    assert page["prompt"].to_pylist() == ["a pear", "A  RED apple"]
    long = " ".join(["pear"] * 1_500)
    with pytest.raises(DataError, match=r"row 1: prompt: expected at most 8 tokens, got 1,502 tokens: 'pear pear"):
        list(asked("a pear", long))
    with pytest.raises(
        DataError, match=r"row 1: prompt: expected at most (8 tokens|10000 bytes), got .*pear.* \(50003 "
    ):
        list(asked("a pear", "pear " * 10_000 + "a"))
    with pytest.raises(
        DataError, match=r"row 1: prompt: expected words that the model knows, got 'sunglasses', 'owl'$"
    ):
        list(asked("a pear", "a sunglasses red owl"))


@pytest.mark.parametrize(("column", "message"), [
    (pa.array(["a", None]), r'^row 1: prompt: expected a text, "" for none, got None$'),
    (pa.array([None, 3]), r"^row 1: prompt: expected a text, got 3$"),
    (pa.array([["a"], ["b"]]), r"^row 0: prompt: expected a text, got \['a'\]$"),
    (pa.array(["a", "x" * 2_000_000]), r"^row 1: prompt: expected at most 8 tokens, got 2,000,000 bytes$"),
])  # fmt: skip
def test_a_prompt_is_a_text(tmp_path, column, message):
    with pytest.raises(WrongRow, match=message):
        captioned.settled(tmp_path).validate(pa.table({"prompt": column}))


def test_unknown_words_are_allowed_where_that_is_declared_and_any_text_before_captions_are_read(tmp_path):
    rows = prompts("a sunglasses", "")
    assert captioned.settled(tmp_path, unknown_words="allow").validate(rows).equals(rows)
    assert TextConditioner(Text(**SMALL), None).validate(rows).equals(rows)
    with pytest.raises(WrongRow, match=r"^row 0: negative_prompt: expected words that the model knows, got 'owl'"):
        captioned.settled(tmp_path / "b").validate(prompts("a pear", negative=["owl"]))


def test_a_declaration_that_is_settled_makes_the_same_conditioner_without_its_data(tmp_path):
    told = captioned.settled(tmp_path)
    said = json.loads(json.dumps(told.declared.model_dump(mode="json")))
    again = conditioner_of(Text.model_validate(said), None)
    rows = prompts(*CAPTIONS)
    assert np.array_equal(again.arrays(rows)["prompt"], told.arrays(rows)["prompt"])
    assert cloudpickle.loads(cloudpickle.dumps(again)).facts == told.facts  # it travels to whatever reads samples
    drawn = again.examples(np.arange(7))["prompt"].to_pylist()
    assert drawn == [*CAPTIONS, CAPTIONS[0]]
    assert again.distinct_examples == 6
    kept = again.members_of({"prompt": "a\nred pear"})
    assert kept == {"txt": b"a red pear"}
    assert again.requested_by(Sample("a", {"txt": b"a pear\na red pear"}), {}, {}) == {"prompt": "a pear"}


def test_what_the_denoiser_attends_to_is_as_wide_as_the_transformer(tmp_path):
    with pytest.raises(ConfigError, match=r"^conditioner\.width: expected 24, what the denoiser attends to, got 16$"):
        captioned.settled(tmp_path).network(DenoiserSpec(2, 4, accepts=Accepts(cross_attention=24)))


def test_a_drawn_caption_depends_on_nothing_but_seed_and_position(tmp_path):
    told = captioned.settled(tmp_path)
    sample = Sample("a", {"txt": "\n".join(CAPTIONS).encode()})
    first = [told.decode_seen(sample, Seen(8, 2, 5, position))["prompt"].tolist() for position in range(20)]
    assert [told.decode_seen(sample, Seen(8, 2, 5, p))["prompt"].tolist() for p in reversed(range(20))] == first[::-1]
    assert len({tuple(row) for row in first}) > 3
