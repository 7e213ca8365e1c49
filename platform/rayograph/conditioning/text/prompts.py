"""What conditioners of text share: captions of samples and prompts of requests, as tokens.

Shapes: n rows, b batch, l tokens.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from rayograph.conditioning.member_columns import WrongRow, nulls, refuse, shown, whole
from rayograph.conditioning.protocol import Arrays, Conditioner, members_of
from rayograph.conditioning.seen import Seen
from rayograph.conditioning.text.captions import TEXT, captions_of, drawn, member_of
from rayograph.conditioning.text.study import remarks
from rayograph.conditioning.text.tokens import Vocabulary, vocabulary_of
from rayograph.config.job.conditions.text import KnownTokens, TextKind
from rayograph.errors import DataError
from rayograph.models.specs import LatentShape, Ways
from rayograph.shards.rows import Rows
from rayograph.shards.sample import Sample

PROMPT, NEGATIVE = "prompt", "negative_prompt"

MAX_PROMPT_BYTES = 1 << 20
"""Of a prompt that is looked at: one of so many is longer than any `max_length`."""


class PromptConditioner(Conditioner):
    """Without `known`, any text may be a prompt: that is found out before a training starts."""

    takes = "prompts"
    request_columns: Mapping[str, pa.DataType] = {PROMPT: pa.string()}
    optional_columns: Mapping[str, pa.DataType] = {NEGATIVE: pa.string()}
    needs_examples = True
    known: KnownTokens | None
    declared: TextKind

    @property
    def facts(self) -> dict[str, object]:
        if self.known is None:
            return {}
        return {"captions": self.known.counts | {"vocabulary": self.known.vocabulary}}

    @property
    def remarks(self) -> tuple[str, ...]:
        return () if self.known is None else tuple(remarks(self.known.counts, self.declared.max_length))

    @property
    def distinct_examples(self) -> int:
        return len(self.known.examples) if self.known is not None else 0

    @property
    def members(self) -> tuple[str, ...]:  # type: ignore[override]
        return (member_of(self.declared.captions),)

    def decode(self, sample: Sample) -> Arrays:
        """Of several captions, the first."""
        return self._told(captions_of(sample, self.declared.captions)[:1], one=True)

    def decode_seen(self, sample: Sample, seen: Seen) -> Arrays:
        """Of several captions, one by the sample's position."""
        return self._told([drawn(captions_of(sample, self.declared.captions), seen)], one=True)

    def decode_rows(self, groups: Sequence[tuple[Rows, np.ndarray]]) -> Arrays | None:
        """All at once, where each sample has one caption."""
        texts = [""] * sum(len(places) for _, places in groups)
        for rows, places in groups:
            for row, place in enumerate(places.tolist()):
                try:
                    found = captions_of(members_of(rows, row, self.members), self.declared.captions)
                except DataError:  # one by one they are named, and others stand in for the bad ones
                    return None
                if len(found) > 1:
                    return None
                texts[place] = found[0]
        return self._told(texts)

    def request_value(self, column: str, value: object) -> object:
        if value is not None and not isinstance(value, str):
            raise ValueError("a text")
        return value

    def requested_by(self, sample: Sample, row: dict[str, object], facts: Mapping[str, object]) -> dict[str, object]:
        """The first caption beside a sample of an artifact, where its JSON says no prompt."""
        if PROMPT in row or TEXT not in sample.members:
            return {}
        return {PROMPT: sample.members[TEXT].decode(errors="replace").strip().partition("\n")[0]}

    def validate(self, rows: pa.Table) -> pa.Table:
        """A text in every row, of at most `max_length` tokens, of words that are known. "" is the empty caption."""
        columns = {PROMPT: self._texts(PROMPT, rows[PROMPT], needed=True)}
        if NEGATIVE in rows.column_names:
            columns[NEGATIVE] = self._texts(NEGATIVE, rows[NEGATIVE], needed=False)
        return pa.table(columns)

    def arrays(self, rows: pa.Table) -> Arrays:
        """A negative prompt that is not said is the empty caption, what guidance compares with anyway."""
        names = [name for name in (PROMPT, NEGATIVE) if name in rows.column_names]
        return {name: self._tokens([text or "" for text in whole(rows[name]).to_pylist()]) for name in names}

    def examples(self, numbers: np.ndarray) -> pa.Table:
        """Captions of the data take turns."""
        said = self.known.examples if self.known is not None and self.known.examples else ("",)
        return pa.table({PROMPT: pa.array([said[number % len(said)] for number in numbers.tolist()], pa.string())})

    def members_of(self, row: Mapping[str, object]) -> dict[str, bytes]:
        return {TEXT: " ".join(str(row[PROMPT]).split()).encode()}

    def gives(self, latents: LatentShape) -> Ways:
        return Ways(vector=self.declared.pooled, cross_attention=True)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """Of its tokenizer, once that is known."""
        return None if self.known is None else vocabulary_of(self.known.tokenizer)

    def _told(self, texts: Sequence[str], one: bool = False) -> Arrays:
        tokens = self._tokens(texts)
        return {PROMPT: tokens[0] if one else tokens}

    def _tokens(self, texts: Sequence[str]) -> np.ndarray:
        length, vocabulary = self.declared.max_length, self.vocabulary
        if vocabulary is None:  # as where only costs are counted
            return np.zeros((len(texts), length), np.int64)
        return vocabulary.encode(texts, length).tokens

    def _texts(self, column: str, values: pa.ChunkedArray | pa.Array, needed: bool) -> pa.Array:
        values = whole(values)
        if pa.types.is_null(values.type):
            values = values.cast(pa.string())
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            refuse(column, ~nulls(values), "a text", values)
            values = pa.nulls(len(values), pa.string())
        if needed:
            refuse(column, nulls(values), 'a text, "" for none', values)
        texts = values.to_pylist()
        for start in range(0, len(texts), 4096):
            self._require_known(column, texts[start : start + 4096], start)
        return values.cast(pa.string())

    def _require_known(self, column: str, texts: Sequence[str | None], first: int) -> None:
        """Raise WrongRow for the first that is too long, or that has words which are not known."""
        vocabulary, most = self.vocabulary, self.declared.max_length
        for row, text in enumerate(texts, first):
            if text is not None and len(text.encode()) > MAX_PROMPT_BYTES:
                raise WrongRow(row, column, f"at most {most} tokens", f"{len(text.encode()):,} bytes")
        if vocabulary is None:
            return
        found = vocabulary.encode([text or "" for text in texts], most)
        for row in np.flatnonzero(found.lengths > most).tolist():
            got = f"{found.lengths[row]:,} tokens: {shown(texts[row])}"
            raise WrongRow(first + row, column, f"at most {most} tokens", got)
        if not found.unknown or self.declared.unknown_words == "allow":
            return
        for row, text in enumerate(texts):
            unknown = vocabulary.unknown_words(text or "")
            if unknown:
                raise WrongRow(first + row, column, "words that the model knows", ", ".join(map(shown, unknown[:5])))
