"""Tokenizers: trained on captions or read from a file, kept as the JSON that the `tokenizers` library writes.

Shapes: n texts, l tokens.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from rayograph.conditioning.text.outside import file_bytes
from rayograph.config.job.conditions.text import AnyTokenizer, BytePairTokenizer, TokenizerFile
from rayograph.errors import DataError
from rayograph.storage import Access

PAD, UNKNOWN, BEGIN, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL = (PAD, UNKNOWN, BEGIN, END)
"""Tokens 0 to 3 of tokenizers that are trained here, called as BERT calls them."""

PADDING_NAMES = (PAD, "<pad>", "<|endoftext|>")
"""Tokens that fill up, where a tokenizer does not say which."""

NO_TOKEN = -1
"""Fills rows of tokens up."""


@dataclass(frozen=True)
class Encoded:
    """Texts as tokens."""

    tokens: np.ndarray
    """(n, l) int64, cut to l and filled up with NO_TOKEN."""
    lengths: np.ndarray
    """(n,) tokens before they were cut."""
    unknown: int
    """Tokens that stand for what is not known, in all texts together."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer that neither cuts nor fills up of itself: both are done, and counted, here."""

    tokenizer: Tokenizer
    size: int
    padding: int
    unknown: int | None

    def encode(self, texts: Sequence[str], length: int) -> Encoded:
        """Return the texts' tokens; one that is cut keeps the tokens of its end."""
        found = self.tokenizer.encode_batch(list(texts))
        tokens = np.full((len(texts), length), NO_TOKEN, np.int64)
        lengths, unknown = np.zeros(len(texts), np.int64), 0
        for row, one in enumerate(found):
            ids = one.ids
            lengths[row] = len(ids)
            if len(ids) > length:
                behind = _trailing(one.special_tokens_mask)
                ids = ids[: length - behind] + ids[len(ids) - behind :]
            tokens[row, : len(ids)] = ids
            unknown += 0 if self.unknown is None else one.ids.count(self.unknown)
        return Encoded(tokens, lengths, unknown)

    def unknown_words(self, text: str) -> list[str]:
        """Return what of a text is not known, in its order, each once."""
        found = self.tokenizer.encode(text)
        places = zip(found.ids, found.offsets, strict=True)
        return list(dict.fromkeys(text[start:end] for token, (start, end) in places if token == self.unknown))


@lru_cache(maxsize=8)
def vocabulary_of(text: str) -> Vocabulary:
    """Open a tokenizer's JSON. Raises DataError for one that does not say what fills up."""
    said = json.loads(text)
    tokenizer: Tokenizer = Tokenizer.from_str(json.dumps(said | {"padding": None, "truncation": None}))
    found = (said.get("padding") or {}).get("pad_id")
    known = [tokenizer.token_to_id(name) for name in PADDING_NAMES]
    padding = next((token for token in [found, *known] if token is not None), None)
    if padding is None:
        raise DataError(f"expected a token that fills up, one of {', '.join(PADDING_NAMES)}, found none")
    model = said["model"]
    name = model.get("unk_token")
    unknown = model.get("unk_id") if name is None else tokenizer.token_to_id(name)
    if unknown == padding:  # CLIP's: its one token for ends, padding and what never comes
        unknown = None
    size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    return Vocabulary(tokenizer, size, padding, unknown)


def trained_tokenizer(declared: AnyTokenizer, captions: Iterable[str], access: Access) -> str:
    """Train one on captions, or read the declared file. The same captions in any order make the same one.

    Raises DataError for a file that is no tokenizer.
    """
    match declared:
        case TokenizerFile():
            return read_tokenizer(declared.uri, access)
        case BytePairTokenizer():
            return _byte_pairs(declared.vocabulary_size, captions)
        case _:
            return _words(declared.vocabulary_size, declared.least_count, captions)


def read_tokenizer(uri: str, access: Access) -> str:
    """Read `tokenizer.json`, or BERT's `vocab.txt`. Raises DataError for anything else."""
    data = file_bytes(uri, access)
    try:
        text = data.decode()
        found = text if uri.endswith(".json") else _of_pieces(text.splitlines())
        vocabulary_of(found)
    except Exception as error:  # whatever a foreign file does to a reader, the answer is one line
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{uri}: expected a tokenizer (tokenizer.json, or BERT's vocab.txt): {reason}") from error
    return found


def _words(most: int, least_count: int, captions: Iterable[str]) -> str:
    normalizer, splitter = _lower_case(), pre_tokenizers.Whitespace()
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(caption)))
    ordered = sorted((-count, word) for word, count in counts.items() if count >= least_count)
    names = [*SPECIAL, *(word for _, word in ordered)][:most]
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    return _with_ends(tokenizer)


def _byte_pairs(most: int, captions: Iterable[str]) -> str:
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = _lower_case(), pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=most,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    return _with_ends(tokenizer)


def _of_pieces(pieces: Sequence[str]) -> str:
    """BERT's, of its vocabulary: a word or ##piece a line."""
    names = {piece: number for number, piece in enumerate(pieces) if piece}
    missing = [name for name in SPECIAL if name not in names]
    if missing:
        raise DataError(f"expected a line {missing[0]}, found none among {len(pieces):,}")
    tokenizer = Tokenizer(models.WordPiece(names, unk_token=UNKNOWN, max_input_chars_per_word=100))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return _with_ends(tokenizer)


def _lower_case() -> normalizers.Normalizer:
    return normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])


def _with_ends(tokenizer: Tokenizer) -> str:
    """Between tokens of beginning and end. What a text spells like one of these is text."""
    ends = [(name, tokenizer.token_to_id(name)) for name in (BEGIN, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=ends)
    said = json.loads(tokenizer.to_str())
    return json.dumps(said | {"added_tokens": []}, ensure_ascii=False)


def _trailing(special: Sequence[int]) -> int:
    """How many tokens of the end there are."""
    count = 0
    while count < len(special) and special[-1 - count]:
        count += 1
    return count
