"""The patch discriminator (Isola et al. 2017, sec. 3.2.2): one logit for each overlapping patch.

Shapes: b batch, c image channels, h w pixels.
"""

from torch import Tensor, nn

from rayograph.config import Discriminator
from rayograph.config.job.networks import NORM_GROUPS
from rayograph.shapes import Images


class PatchDiscriminator(nn.Module):
    """Strided convolutions, doubling the channels up to eightfold.

    Normalises by group where the paper's code normalises by batch: a batch's statistics would make the loss depend on
    how the batch is split over workers.
    """

    def __init__(self, declared: Discriminator, image_channels: int) -> None:
        super().__init__()
        width = declared.base_channels
        layers: list[nn.Module] = [nn.Conv2d(image_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for layer, wider in enumerate(declared.widths, 1):
            stride = 2 if layer < declared.num_layers else 1
            layers += [
                nn.Conv2d(width, wider, 4, stride=stride, padding=1, bias=False),
                nn.GroupNorm(min(NORM_GROUPS, wider), wider),
                nn.LeakyReLU(0.2),
            ]
            width = wider
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 4, stride=1, padding=1))
        self.apply(_initialise)

    def forward(self, images: Images) -> Tensor:
        """Logits (b, 1, rows, columns), one for each patch; real is positive."""
        return self.layers(images)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
