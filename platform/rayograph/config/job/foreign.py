"""The declaration of what others trained."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from rayograph.config.declaration import NOT_IN_KEY
from rayograph.config.stage_base import ArtifactType, StageBase


class ImportModel(StageBase):
    """Takes a model in that was trained elsewhere: a folder that diffusers saved, of an autoencoder or of a pipeline,
    or a checkpoint of the latent diffusion paper's code.

    Its key is a digest of the files that are taken, wherever they lie: a changed folder is another artifact.
    """

    implemented_by: ClassVar[str | type] = "rayograph.stages.import_model:ImportModelStage"

    kind: Literal["import_model"] = "import_model"
    uri: Annotated[str, NOT_IN_KEY]
    """In any store: a folder of `config.json` beside safetensors, a pipeline's with `model_index.json`, or one of a
    published `model.ckpt` and its `config.yaml`; or such a checkpoint itself."""
    makes: Literal["autoencoder", "diffusion_model"] = "autoencoder"
    """The autoencoder alone, a pipeline's too; or all of a pipeline with vae, unet and scheduler, or of a published
    latent model."""
    image_size: PositiveInt | None = None
    """Side in pixels that the autoencoder is for; None is its configuration's `sample_size`."""
    class_names: tuple[str, ...] = ()
    """Of a diffusion model with classes, in the order of their numbers; none are the numbers."""
    sha256: Annotated[str | None, NOT_IN_KEY] = Field(None, pattern="^[0-9a-f]{64}$")
    """The digest that `rayograph import` prints. Said, the files are not read to know the key, and may be gone once
    they are imported; others than these are refused."""

    @property
    def output(self) -> ArtifactType:  # type: ignore[override]
        return ArtifactType(self.makes)
