"""The declarations of text: captions of samples, prompts of requests."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from rayograph.config.declaration import NOT_IN_KEY, Channels, Declaration
from rayograph.config.job.conditioners import ConditionerKind


class CaptionSource(Declaration):
    """Where a sample's captions stand. Of several, one is drawn by (seed, position) each time the sample is seen."""

    json_field: str | None = None
    """Of its `json`: a text, or a list of texts. None takes the member `txt`."""
    one_a_line: bool = True
    """Whether each line of `txt` that is not blank is a caption; or else all of it is one."""


class WordTokenizer(Declaration):
    """A token a word, and one for each run of marks, in lower case: for vocabularies of some thousand words."""

    kind: Literal["words"] = "words"
    vocabulary_size: Annotated[int, Field(ge=8, le=1 << 20)] = 30_000
    """At most as many, four of them for padding, unknown words, beginning and end; the rarest words are unknown."""
    least_count: PositiveInt = 1
    """Words that the captions have less often are unknown."""


class BytePairTokenizer(Declaration):
    """Pieces of words that are frequent in the captions (Sennrich et al. 2016), down to bytes: no text is unknown."""

    kind: Literal["byte_pairs"] = "byte_pairs"
    vocabulary_size: Annotated[int, Field(ge=260, le=1 << 20)] = 8192
    """At most as many, among them 256 bytes and four for padding, unknown words, beginning and end."""


class TokenizerFile(Declaration):
    """A tokenizer that is there: `tokenizer.json`, or BERT's `vocab.txt`, words and ##pieces, read in lower case."""

    kind: Literal["file"] = "file"
    uri: Annotated[str, NOT_IN_KEY]
    """Of the file, in any store. Its digest is in the key instead."""


AnyTokenizer = Annotated[WordTokenizer | BytePairTokenizer | TokenizerFile, Field(discriminator="kind")]


class KnownTokens(Declaration):
    """What a training finds in its captions before it starts, and its model keeps. A job says none of it."""

    tokenizer: str
    """As the `tokenizers` library writes it."""
    vocabulary: PositiveInt
    padding: int = Field(0, ge=0)
    """The token that fills captions up."""
    examples: tuple[str, ...] = ()
    """Captions that are drawn where no request says what."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Of the captions that were read: how many, how many were cut, how long the longest is."""


class TextKind(ConditionerKind):
    """What conditions of text have in common. Requests say a `prompt`, and may say a `negative_prompt`."""

    digested_by: ClassVar[str] = "rayograph.conditioning.text.outside:digest_of_files"

    captions: CaptionSource = CaptionSource()
    max_length: Annotated[int, Field(ge=3, le=4096)] = 77
    """Tokens, with those of beginning and end. Longer captions are cut and counted; longer prompts are refused."""
    pooled: bool = False
    """Whether the mean of a text's states is also projected into a vector, which is added to the time embedding."""
    mask_padding: bool = True
    """Whether a denoiser looks at a text's own tokens only. Published models look at all `max_length` of them."""
    unknown_words: Literal["refuse", "allow"] = "refuse"
    """Of prompts: what the tokenizer does not know is refused, or is taken for its one unknown token."""
    read_captions: PositiveInt = 1_000_000
    """So many, the first, are read before the training starts: a tokenizer is trained on them, lengths are counted."""


class Text(TextKind):
    """Captions, through a transformer that is trained with the denoiser, to attend to (Rombach et al. 2022, sec. 4.3).

    The null condition is the empty caption. The defaults are the paper's text-to-image model; with BERT's tokenizer and
    `output_projection` its 581,994,042 parameters.
    """

    implemented_by: ClassVar[str | type] = "rayograph.conditioning.text.trained_text:TextConditioner"
    studied_by: ClassVar[str] = "rayograph.conditioning.text.study:study_captions"
    kind: Literal["text"] = "text"
    tokenizer: AnyTokenizer = WordTokenizer()
    num_layers: Annotated[int, Field(gt=0, le=128)] = 32
    width: Channels = 1280
    """Channels of a token: the denoiser's `cross_attention_dim`."""
    num_attention_heads: PositiveInt = 8
    attention_head_dim: PositiveInt = 64
    feed_forward: PositiveInt = 5120
    """Width between the two layers of a block's perceptron."""
    output_projection: bool = False
    """Whether there is a last projection to the vocabulary, which published models carry and nothing reads."""
    known: KnownTokens | None = None
    """Found before a training starts; a job leaves it out."""


class KnownEncoder(KnownTokens):
    """What a training finds of a text encoder that others trained."""

    width: PositiveInt
    """Channels of its states."""
    sha256: str
    """Of its folder: of its files' names and digests."""


class FrozenText(TextKind):
    """Captions, through a text encoder that others trained and that is not trained here, to attend to.

    It is any that `transformers` knows, as CLIP's text model, T5's encoder or BERT. Where its states are not as wide as
    what the denoiser attends to, a projection is trained. The null condition is the empty caption.
    """

    implemented_by: ClassVar[str | type] = "rayograph.conditioning.text.frozen_text:FrozenTextConditioner"
    studied_by: ClassVar[str] = "rayograph.conditioning.text.frozen_encoder:study_encoder"
    kind: Literal["frozen_text"] = "frozen_text"
    encoder_uri: Annotated[str, NOT_IN_KEY]
    """Its folder, in any store: config.json, safetensors, tokenizer.json; never pickles. Its digest is in the key."""
    by_reference: bool = False
    """Whether models only name the encoder, which then has to stay where it is; or else each holds a copy of it."""
    known: KnownEncoder | None = None
    """Found before a training starts; a job leaves it out."""
