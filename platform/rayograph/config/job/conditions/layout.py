"""The declaration of layouts: boxes with labels."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from rayograph.config.job.conditioners import ConditionerKind


class Layout(ConditionerKind):
    """What is to stand in which box: tokens of labels and corners, through a transformer, to attend to.

    An object is three tokens: its label, its upper left and its lower right corner, each on a grid. The defaults are
    the paper's: 30 objects and two tokens for what is seen of the image, 92 in all.
    """

    implemented_by: ClassVar[str | type] = "rayograph.conditioning.spatial.layout:LayoutConditioner"
    kind: Literal["layout"] = "layout"
    labels: tuple[str, ...] | PositiveInt | Literal["auto"] = "auto"
    """Names of the labels; or how many there are, where boxes have numbers from 0 on; "auto" are the data's, known once
    it is packed."""
    most_objects: Annotated[int, Field(gt=0, le=1000)] = 30
    """Of a sample with more boxes the largest count; a request with more is refused."""
    smallest_share: float = Field(0.0, ge=0, lt=1)
    """Boxes of which no more than this share of their own area is seen fall away, as do those outside."""
    vocabulary: Annotated[int, Field(ge=16, le=1 << 20)] = 8192
    """Tokens: labels and corners share them. Corners lie on a grid of as many columns and rows as they allow."""
    num_layers: Annotated[int, Field(gt=0, le=128)] = 16
    width: PositiveInt = 512
    """Channels of a token: the denoiser's `cross_attention_dim`."""
    num_attention_heads: PositiveInt = 8
    attention_head_dim: PositiveInt = 64
    feed_forward: PositiveInt = 2048
    """Width between the two layers of a block's perceptron."""
    output_projection: bool = False
    """Whether there is a last projection to the vocabulary, which published models carry and nothing reads."""

    @model_validator(mode="after")
    def _labels_fit(self) -> "Layout":
        if self.labels == "auto":
            return self
        if isinstance(self.labels, tuple) and len(set(self.labels)) < len(self.labels):
            twice = next(name for name in self.labels if self.labels.count(name) > 1)
            raise ValueError(f"labels: expected names that differ, got {twice!r} twice")
        if not 0 < self.num_labels < self.vocabulary:
            raise ValueError(f"labels: expected 1 to {self.vocabulary - 1}, got {self.num_labels}")
        return self

    @property
    def num_labels(self) -> int:
        """How many labels there are; 0 while that is not known."""
        if self.labels == "auto":
            return 0
        return self.labels if isinstance(self.labels, int) else len(self.labels)

    @property
    def needs_data(self) -> bool:
        return self.labels == "auto"

    @property
    def length(self) -> int:
        """Tokens of a layout."""
        return 3 * self.most_objects + 2
