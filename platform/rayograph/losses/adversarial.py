"""Patch-adversarial losses and the adaptive weight between them and reconstruction.

Two forms: hinge (Lim & Ye 2017), and non-saturating (Goodfellow et al. 2014, sec. 3), log-likelihoods of the logits.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rayograph.shapes import Scalar


def generator_loss(fake_logits: Tensor, form: str = "hinge") -> Scalar:
    """What the autoencoder minimises: fakes judged real."""
    if form == "non_saturating":
        return F.softplus(-fake_logits).mean()
    return -fake_logits.mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, form: str = "hinge") -> Scalar:
    """Hinge: real above 1, fake below -1, nothing to gain beyond. Non-saturating: real and fake told apart for sure."""
    if form == "non_saturating":
        return 0.5 * (F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean())
    return 0.5 * (F.relu(1.0 - real_logits).mean() + F.relu(1.0 + fake_logits).mean())


def adaptive_weight(reconstruction_gradient: Tensor, generator_gradient: Tensor) -> Scalar:
    """‖∇ reconstruction‖ / (‖∇ generator‖ + 1e-4) at the decoder's last layer (Esser et al. 2021, eq. 7)."""
    ratio = torch.linalg.vector_norm(reconstruction_gradient) / (torch.linalg.vector_norm(generator_gradient) + 1e-4)
    return ratio.clamp(0.0, 1e4).detach()
