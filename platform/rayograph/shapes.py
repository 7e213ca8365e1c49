"""Shapes as types, checked wherever the tests run.

Shapes: b batch, c image channels, h w pixels, z latent channels, y x latent grid (h / f, w / f).
"""

from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor

Pixels = UInt8[ndarray, "b h w c"]
PixelTensor = UInt8[Tensor, "b h w c"]
Images = Float[Tensor, "b c h w"]
"""In [-1, 1]."""
Moments = Float[Tensor, "b zz y x"]
"""Mean, then log-variance, of the posterior."""
Latents = Float[Tensor, "b z y x"]
Noise = Float[Tensor, "b z y x"]
Timesteps = Int64[Tensor, "b"] | Float[Tensor, "b"]
"""Whole in training; a flow is sampled between them."""
PerSample = Float[Tensor, "b"]
Positions = Int64[Tensor, "b"]
Classes = Int64[Tensor, "b"]
Scalar = Float[Tensor, ""]
