"""Declarations of the networks, in diffusers' own words. What no network can be built of is refused here."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, SerializeAsAny, model_validator

from rayograph.config.declaration import NOT_IN_KEY, Channels, Declaration, Seed
from rayograph.config.kinds import Kind, Kinds

Widths = Annotated[tuple[Channels, ...], Field(min_length=1, max_length=16)]
"""One a level; every level but the first halves the grid."""

NORM_GROUPS = 8
"""Of the discriminator's layers, or one a channel where they have fewer."""

Layers = Annotated[int, Field(gt=0, le=64)]

Levels = tuple[int, ...]
"""Counted from the finest, 0."""


class AutoencoderKind(Kind):
    """What can be known of a first stage before it is built. What is `implemented_by` is called with the declaration,
    and returns a `rayograph.models.autoencoder.AutoencoderNetwork`."""

    image_channels: Channels = 3
    latent_channels: Channels = 3

    @property
    @abstractmethod
    def downsampling_factor(self) -> int:
        """Pixels a side of one latent cell: the paper's f."""

    @property
    def decides_factor(self) -> str:
        """The field that decides the downsampling factor, for messages."""
        return "downsampling_factor"


class Autoencoder(AutoencoderKind):
    """diffusers' `AutoencoderKL`, or with a codebook its `VQModel`: the first stage (Rombach et al. 2022, sec. 3.1).

    Every entry of `block_out_channels` but the first halves the grid: three entries are f = 4. `codebook_size` makes
    the decoder begin with the nearest of so many codes (van den Oord et al. 2017) in the place of a posterior's draw.
    """

    implemented_by: ClassVar[str | type] = "rayograph.models.autoencoders.convolutional:build"

    kind: Annotated[Literal["convolutional"], NOT_IN_KEY] = "convolutional"  # older than kinds: no key says it
    codebook_size: Annotated[int, Field(gt=0, le=2**24)] | None = None
    block_out_channels: Widths = (128, 256, 512)
    layers_per_block: Layers = 2
    norm_num_groups: PositiveInt = 32
    mid_block_add_attention: bool = True
    attention_levels: Levels = ()
    """Levels whose blocks attend as well, counted from the finest, 0: the paper's f16 has (4,), its f32 (4, 5)."""

    @model_validator(mode="after")
    def _norms_fit(self) -> "Autoencoder":
        groups_divide(self.block_out_channels, self.norm_num_groups)
        require_levels(self.attention_levels, self.block_out_channels)
        return self

    @property
    def downsampling_factor(self) -> int:
        return 2 ** (len(self.block_out_channels) - 1)

    @property
    def decides_factor(self) -> str:
        return "block_out_channels"


class Identity(AutoencoderKind):
    """Pixels as they are: latents are images in [-1, 1], for diffusion in pixel space (the paper's LDM-1)."""

    implemented_by: ClassVar[str | type] = "rayograph.models.autoencoders.identity:IdentityAutoencoder"

    kind: Literal["identity"] = "identity"

    @model_validator(mode="after")
    def _latents_are_images(self) -> "Identity":
        if self.latent_channels != self.image_channels:
            raise ValueError(
                f"latent_channels: expected image_channels {self.image_channels}, got {self.latent_channels}"
            )
        return self

    @property
    def downsampling_factor(self) -> int:
        return 1


AUTOENCODERS = Kinds(
    "autoencoders",
    {
        "convolutional": "rayograph.config.job.networks:Autoencoder",
        "identity": "rayograph.config.job.networks:Identity",
    },
    default="convolutional",
)

AnyAutoencoder = Annotated[SerializeAsAny[AutoencoderKind], AUTOENCODERS]


class Discriminator(Declaration):
    """The patch discriminator (Isola et al. 2017): each logit judges one patch."""

    base_channels: Channels = 64
    num_layers: Annotated[int, Field(gt=0, le=16)] = 3

    @model_validator(mode="after")
    def _norms_fit(self) -> "Discriminator":
        for width in self.widths:
            if width % min(NORM_GROUPS, width):
                raise ValueError(
                    f"base_channels: expected layers of less than {NORM_GROUPS} channels or a multiple of it, which "
                    f"are normalised by group, got one of {width}"
                )
        return self

    @property
    def widths(self) -> list[int]:
        """Channels of the layers behind the first."""
        return [self.base_channels * min(2**layer, 8) for layer in range(1, self.num_layers + 1)]

    @property
    def smallest_image(self) -> int:
        """The side in pixels of the smallest image that has a patch: one logit is left of it."""
        return 3 * 2**self.num_layers


class PerceptualNetwork(Declaration):
    """The network whose features the perceptual loss compares.

    Without `pretrained` or `weights_uri` it is a small convolutional network, initialised from `seed` and never
    trained: random features still see edges and texture, and need no download. The log says which one is in use.
    """

    pretrained: Literal["efficientnet_lite0"] | None = None
    """A network that was trained on ImageNet, whose weights come in a package (the extra `evaluation`): of colour
    images. Its stages are compared in the place of random features."""
    weights_uri: str | None = None
    """Weights of VGG-16 under torchvision's names (`features.0.weight`, …), .safetensors or .pth: with the channel
    weights that torchmetrics ships, the distance is LPIPS."""
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Of the file, refused where it differs. With None what was found stands in the record alone."""
    channels: Annotated[tuple[Channels, ...], Field(min_length=1)] = (16, 32, 64)
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_network(self) -> "PerceptualNetwork":
        if self.pretrained is not None and self.weights_uri is not None:
            raise ValueError(f"pretrained: expected none beside weights_uri, got {self.pretrained!r}")
        return self


def require_levels(attention_levels: Levels, widths: Sequence[int]) -> None:
    """Raise ValueError for a level that there is not, or that is said twice."""
    for level in attention_levels:
        if not 0 <= level < len(widths):
            raise ValueError(f"attention_levels: expected 0 to {len(widths) - 1}, got {level}")
    if len(set(attention_levels)) < len(attention_levels):
        raise ValueError(f"attention_levels: expected each once, got {attention_levels}")


def groups_divide(widths: Iterable[int], groups: int) -> None:
    """Raise ValueError where a level cannot be normalised by group."""
    for width in widths:
        if width % groups:
            raise ValueError(f"norm_num_groups: expected a divisor of every one of {widths}, got {groups}")
