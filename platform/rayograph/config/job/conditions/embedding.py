"""The declaration of embeddings of images."""

from typing import ClassVar, Literal

from pydantic import PositiveInt

from rayograph.config.job.conditioners import ConditionerKind
from rayograph.config.job.features import AnyFeatures


class ImageEmbedding(ConditionerKind):
    """What a trained network says of an image, one vector, projected and added to the time embedding.

    In training it is of the image itself, as it is seen; a request says of which image.
    """

    implemented_by: ClassVar[str | type] = "rayograph.conditioning.image_embedding:ImageEmbeddingConditioner"
    kind: Literal["image_embedding"] = "image_embedding"
    features: AnyFeatures
    """Whose vector, as an evaluation's `features`: any network by URI, or pooled pixels. Frozen, and not saved with
    the model: whoever draws needs its file too."""
    dimension: PositiveInt
    """Of the vector: refused where the network's differs."""

    @property
    def needs_images(self) -> bool:
        return True
