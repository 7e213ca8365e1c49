"""The forward process, what is predicted of it, and how far off a prediction is.

Shapes: b batch, z latent channels, y x latent grid, t timesteps.
"""

from dataclasses import dataclass

from torch import Tensor

from rayograph.errors import ConfigError
from rayograph.shapes import Latents, Noise, PerSample, Scalar, Timesteps


@dataclass(frozen=True)
class ForwardProcess:
    """z_t = α_t z + σ_t ε (Ho et al. 2020, eq. 4; Lipman et al. 2023, where α = 1 - t and σ = t).

    `signal` (t,) is α and `noise` (t,) is σ at every timestep, float64: near either end float32 holds few digits of
    one of them.
    """

    signal: Tensor
    noise: Tensor
    prediction_type: str

    def noisy_latents(self, latents: Latents, noise: Noise, timesteps: Timesteps) -> Latents:
        """Latents after `timesteps`."""
        signal, sigma = self._levels(timesteps, latents)
        return signal * latents + sigma * noise

    def target(self, latents: Latents, noise: Noise, timesteps: Timesteps) -> Latents:
        """What the denoiser is asked to predict (Ho et al. 2020, eq. 14; Salimans & Ho 2022, app. D).

        Flow matching asks for the direction from latents to noise (Liu et al. 2023, eq. 1, with time reversed).
        """
        match self.prediction_type:
            case "epsilon":
                return noise
            case "sample":
                return latents
            case "v_prediction":
                signal, sigma = self._levels(timesteps, latents)
                return signal * noise - sigma * latents
            case "flow_prediction":
                return noise - latents
            case other:
                raise ConfigError(
                    f"prediction_type: expected epsilon, sample, v_prediction or flow_prediction, got {other!r}"
                )

    def min_snr_weights(self, timesteps: Timesteps, gamma: float) -> PerSample:
        """min(SNR, γ), carried over from the latents to what is predicted (Hang et al. 2023, sec. 3.4).

        An error of ε is one of z times 1 / SNR; one of v times 1 / (SNR + 1).
        """
        signal, sigma = self.signal.to(timesteps.device)[timesteps], self.noise.to(timesteps.device)[timesteps]
        snr = (signal / sigma).square()  # infinite where there is no noise, 0 where there is nothing else
        match self.prediction_type:
            case "epsilon":
                return (gamma / snr).clamp(max=1.0).float()
            case "sample":
                return snr.clamp(max=gamma).float()
            case "v_prediction":
                return (snr.clamp(max=gamma) / (snr + 1)).float()
            case other:
                raise ConfigError(f"min_snr_gamma: expected no flow, got {other!r}")

    def _levels(self, timesteps: Timesteps, like: Latents) -> tuple[Tensor, Tensor]:
        signal, noise = self.signal.to(like.device)[timesteps], self.noise.to(like.device)[timesteps]
        return signal.to(like.dtype).view(-1, 1, 1, 1), noise.to(like.dtype).view(-1, 1, 1, 1)


def diffusion_loss(prediction: Latents, target: Latents, norm: str, weights: PerSample | None = None) -> Scalar:
    """Mean error over all values, squared ("l2"; Ho et al. 2020, eq. 14) or absolute ("l1"), weighted by sample."""
    difference = prediction - target
    errors = difference.abs() if norm == "l1" else difference.square()
    if weights is None:
        return errors.mean()
    return (weights * errors.flatten(1).mean(dim=1)).mean()
