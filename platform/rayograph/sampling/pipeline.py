"""From noise to images: the denoising loop with classifier-free guidance.

Shapes: b batch, z latent channels, y x latent grid, h w pixels, s kept steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from rayograph.conditioning.seen import Canvas
from rayograph.conditioning.trained import TrainedConditioner, load_conditioner
from rayograph.config import Sampler
from rayograph.evaluation.extractors import build_extractor
from rayograph.models.autoencoder import AutoencoderNetwork, to_pixels
from rayograph.models.conditioning import Conditioning
from rayograph.models.denoiser import DenoiserNetwork
from rayograph.models.finite import require_finite
from rayograph.models.model_folder import load_autoencoder, load_denoiser, load_schedule
from rayograph.models.normalisation import LatentNormalisation
from rayograph.runs.artifact import Artifact
from rayograph.runs.philox import normal
from rayograph.runs.rng_streams import RngStream
from rayograph.sampling.requests.sample_batch import SampleBatch
from rayograph.sampling.solvers import build_solver
from rayograph.shapes import Latents, Noise, Positions


@dataclass(frozen=True)
class SampleNoise:
    """All the noise of some samples: a function of (seed, counter, step), whatever else is in their batch.

    `seeds` is a number or the bits of (b,) uint64, `counters` (b,); `shape` is that of one sample's latents.
    """

    seeds: int | torch.Tensor
    counters: Positions
    shape: tuple[int, int, int]

    def first(self) -> Latents:
        """What sampling starts from."""
        return normal(self.seeds, RngStream.SAMPLE_NOISE, self.counters, self.shape)

    def after(self, step: int) -> Noise:
        """What a stochastic solver adds after `step`."""
        return normal(self.seeds, RngStream.SAMPLER_STEP, self.counters, self.shape, step)


@dataclass(frozen=True)
class DiffusionModel:
    """A trained model, ready to draw: all that a committed model folder holds."""

    denoiser: DenoiserNetwork
    conditioner: TrainedConditioner
    autoencoder: AutoencoderNetwork
    schedule: Any
    normalisation: LatentNormalisation
    device: torch.device

    def __post_init__(self) -> None:
        """Tell conditions that are made of images what makes them."""
        self.conditioner.network.use_first_stage(partial(self.normalisation.encode, self.autoencoder))
        self.conditioner.network.use_extractors(partial(build_extractor, device=self.device.type))

    @staticmethod
    def load(
        artifact: Artifact, device: str, precision: Literal["fp32", "bf16"] = "fp32", compile: bool = False
    ) -> "DiffusionModel":
        """Raises CheckpointError for a folder that is not whole."""
        autoencoder = load_autoencoder(artifact).to(device)
        scale = LatentNormalisation.kept_in(autoencoder)
        denoiser = load_denoiser(artifact)
        conditioner = load_conditioner(artifact, denoiser)
        denoiser, network = denoiser.to(device), conditioner.network.to(device)
        if precision == "bf16":
            for part in (autoencoder, denoiser, network):
                part.to(torch.bfloat16)
        if device != "cpu":  # where convolutions are fastest so
            for convolutional in (autoencoder, denoiser):
                convolutional.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # unknown to torch's stubs
        if compile:
            for compiled in denoiser.separable_parts():
                compiled.compile(dynamic=False)
            autoencoder.compile_decoder()
        schedule = load_schedule(artifact)
        return DiffusionModel(denoiser, conditioner, autoencoder, schedule, scale, torch.device(device))

    def examples(self, numbers: Positions) -> dict[str, Tensor]:
        """What samples are of, by their numbers, where nobody says: columns (b, …)."""
        conditioner = self.conditioner.conditioner
        columns = conditioner.arrays_on(conditioner.examples(numbers.numpy()), self.canvas())
        return {name: torch.from_numpy(values) for name, values in columns.items()}

    def draw(
        self,
        seed: int,
        numbers: Positions,
        columns: Mapping[str, Tensor],
        sampler: Sampler,
        keep_steps: Sequence[int] = (),
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Pixels (b, h, w, 3) uint8 of the samples `numbers`, and of the noisy latents before each of `keep_steps`.

        `columns` (b, …) are what the model's conditioner takes. Noise comes from (seed, number, step):
        a sample does not depend on the batch it is drawn in beyond rounding.
        """
        noise = self.noise(seed, numbers)
        return self.sample_loop(noise, columns, sampler, keep_steps=keep_steps, numbers=numbers.tolist())

    def draw_rows(self, draws: SampleBatch) -> Tensor:
        """Pixels (n, h, w, 3) uint8 of one batch of a request."""
        noise, columns = self.told(draws)
        options = {
            name: torch.from_numpy(values.astype(np.float32)).to(self.device) for name, values in draws.options.items()
        }
        if not draws.group.guided:
            options = {}
        return self.sample_loop(noise, columns, draws.sampler, options, numbers=draws.numbers.tolist())[0]

    def told(self, draws: SampleBatch) -> tuple[SampleNoise, dict[str, Tensor]]:
        """A batch's noise, and what its samples are conditioned on."""
        seeds, counters = torch.from_numpy(draws.seeds), torch.from_numpy(draws.counters)
        size = draws.group.height, draws.group.width
        noise = self.noise(seeds, counters, size)
        columns = self.conditioner.conditioner.arrays_on(draws.rows, self.canvas(size))
        return noise, {name: torch.from_numpy(values) for name, values in columns.items()}

    def canvas(self, size: tuple[int, int] | None = None) -> Canvas:
        """Pixels of (height, width), as its first stage sees them; None is the size it was trained at."""
        side, factor = self.denoiser.spec.size, self.autoencoder.spec.factor
        height, width = (side * factor, side * factor) if size is None else size
        return Canvas(height, width, factor)

    def noise(self, seeds: int | torch.Tensor, counters: Positions, size: tuple[int, int] | None = None) -> SampleNoise:
        """Of pixels of (height, width); None is the size it was trained at."""
        height, width = self.canvas(size).grid
        if isinstance(seeds, torch.Tensor):
            seeds = seeds.to(self.device)
        shape = (self.denoiser.spec.in_channels, height, width)
        return SampleNoise(seeds, counters.to(self.device), shape)

    @torch.inference_mode()
    def sample_loop(
        self,
        noise: SampleNoise,
        columns: Mapping[str, Tensor],
        sampler: Sampler,
        options: Mapping[str, Tensor] = MappingProxyType({}),
        keep_steps: Sequence[int] = (),
        numbers: Sequence[int] | None = None,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """From noise to pixels, as `draw` gives them.

        `options` (b,) are each sample's own, of the sampler's fields that may differ within a batch; without, the
        sampler's count for all. `numbers` (b,) are what samples are called. Raises NonFiniteError by number for those
        whose latents or pixels are not finite; without numbers, all pass: to measure, not to keep its pixels.
        """
        solver = build_solver(self.schedule, sampler, self.device)
        network = self.conditioner.network
        columns = {name: values.to(self.device) for name, values in columns.items()}
        conditioning = network.embed(columns)
        scale: float | Tensor | None = None
        rescale = _each(options, sampler, "guidance_rescale")
        if not conditioning.is_empty and ("guidance_scale" in options or sampler.guidance_scale != 1.0):
            scale = _each(options, sampler, "guidance_scale")
            conditioning = conditioning.beside(network.unconditional(columns, len(noise.counters)))
        latents, earlier, kept = noise.first(), None, []
        for step, timestep in enumerate(solver.timesteps):
            if step in keep_steps:
                kept.append(self._pixels(latents, numbers))
            prediction = self._predicted(latents, timestep, conditioning, scale, rescale)
            denoised = solver.denoised(step, latents, prediction)
            fresh = noise.after(step) if solver.adds_noise(step) else None
            latents = solver.advance(step, latents, denoised, earlier, fresh)
            earlier = denoised
        return network.finished(self._pixels(latents, numbers), columns).cpu(), kept

    def _predicted(
        self,
        latents: Latents,
        timestep: Tensor,
        conditioning: Conditioning,
        scale: float | Tensor | None,
        rescale: float | Tensor = 0.0,
    ) -> Latents:
        """Predict as told; by a `scale`, as far as that from being told nothing, which stands beside.

        unconditional + scale × (conditional - unconditional) (Ho & Salimans 2022, eq. 6, in the field's scale); of
        that, by `rescale`, the spread of the conditional one (Lin et al. 2024, eq. 15 and 16).
        """
        timesteps = timestep.expand(len(latents))
        inputs = latents.to(self.denoiser.dtype)
        if scale is None:
            prediction: Latents = self.denoiser(inputs, timesteps, conditioning).float()
            return prediction
        both = self.denoiser(inputs.repeat(2, 1, 1, 1), timesteps.repeat(2), conditioning)
        conditional, unconditional = both.float().chunk(2)
        guided = unconditional + scale * (conditional - unconditional)
        if not isinstance(rescale, Tensor) and rescale == 0.0:
            return guided
        spread = conditional.std(dim=(1, 2, 3), keepdim=True) / guided.std(dim=(1, 2, 3), keepdim=True)
        return guided * (rescale * spread + (1.0 - rescale))

    def _pixels(self, latents: Latents, numbers: Sequence[int] | None) -> torch.Tensor:
        raw = self.normalisation.denormalise(latents).to(self.denoiser.dtype)
        images = self.autoencoder.decode(raw).float()
        if numbers is not None:
            require_finite("latents and pixels", [f"sample {number}" for number in numbers], latents, images)
        return to_pixels(images)


def _each(options: Mapping[str, Tensor], sampler: Sampler, name: str) -> float | Tensor:
    """Each sample's own, (b, 1, 1, 1), or the sampler's for all."""
    if name in options:
        return options[name][:, None, None, None]
    found: float = getattr(sampler, name)
    return found
