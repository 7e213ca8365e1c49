"""What a training finds in its captions before it starts: their tokenizer, how long they are, what is cut."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from rayograph.conditioning.text.captions import all_captions
from rayograph.conditioning.text.tokens import trained_tokenizer, vocabulary_of
from rayograph.config.job.conditions.text import KnownTokens, Text, TextKind
from rayograph.errors import DataError
from rayograph.shards.committed import Shards
from rayograph.storage import Access

KNOWN = "known_text"
"""The fact that a conditioner of text is made of."""

EXAMPLES = 64
AT_ONCE = 4096


def study_captions(declared: Text, sets: Sequence[Shards], access: Access) -> dict[str, object]:
    """Return the facts that a declared `Text` is settled by. Raises DataError for data without captions."""
    tokenizer = trained_tokenizer(declared.tokenizer, first_captions(declared, sets), access)
    vocabulary = vocabulary_of(tokenizer)
    known = KnownTokens(
        tokenizer=tokenizer,
        vocabulary=vocabulary.size,
        padding=vocabulary.padding,
        examples=example_captions(first_captions(declared, sets)),
        counts=counted(tokenizer, first_captions(declared, sets), declared.max_length),
    )
    return {KNOWN: known.model_dump(mode="json")}


def example_captions(captions: Iterable[str]) -> tuple[str, ...]:
    """The first that differ. Raises DataError where there are no captions."""
    found = tuple(islice(dict.fromkeys(islice(captions, 64 * EXAMPLES)), EXAMPLES))
    if not found:
        raise DataError("expected samples with captions, found none")
    return found


def counted(tokenizer: str, captions: Iterable[str], max_length: int) -> dict[str, int]:
    """Count captions, those longer than `max_length`, tokens of the longest, and tokens that stand for the unknown."""
    vocabulary = vocabulary_of(tokenizer)
    counts = dict.fromkeys(("captions", "cut", "longest", "unknown_words"), 0)
    for texts in _together(captions):
        found = vocabulary.encode(texts, max_length)
        counts["captions"] += len(texts)
        counts["cut"] += int((found.lengths > max_length).sum())
        counts["longest"] = max(counts["longest"], int(found.lengths.max()))
        counts["unknown_words"] += found.unknown
    return counts


def remarks(counts: dict[str, int], max_length: int) -> list[str]:
    """Say what of the captions is not told to the denoiser, a line each."""
    lines = []
    if counts["cut"]:
        lines.append(
            f"{counts['cut']:,} of {counts['captions']:,} captions are cut to {max_length} tokens; the longest has "
            f"{counts['longest']:,}: conditioner.max_length"
        )
    if counts["unknown_words"]:
        lines.append(
            f"{counts['unknown_words']:,} words of {counts['captions']:,} captions are unknown to the tokenizer"
        )
    return lines


def first_captions(declared: TextKind, sets: Sequence[Shards]) -> Iterator[str]:
    """The first `read_captions` of a training's data."""
    return islice(all_captions(sets, declared.captions), declared.read_captions)


def _together(captions: Iterable[str]) -> Iterator[list[str]]:
    waiting = iter(captions)
    while texts := list(islice(waiting, AT_ONCE)):
        yield texts
