"""Latent diffusion as rayograph trains it, for diffusers: what stock pipelines do not know of its folders.

Latents have a mean and a deviation by channel, `latents_mean` and `latents_std` of the autoencoder's configuration;
conditions come from `conditioner/`; attention may have a number of heads that diffusers' UNet2DModel has no argument
for. From the same first noise, `latents`, it draws what rayograph draws with its "ddim" sampler, "trailing" spacing.

This file stands by itself: it needs torch and diffusers alone.
"""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor


class LatentDiffusionPipeline(DiffusionPipeline):
    """Draws of classes, or unconditionally where there is no conditioner."""

    _optional_components = ("conditioner",)

    def __init__(self, vae, unet, scheduler, conditioner=None) -> None:  # type: ignore[no-untyped-def]  # as diffusers
        super().__init__()
        self.register_modules(vae=vae, unet=unet, scheduler=scheduler, conditioner=conditioner)
        number = unet.config.get("num_attention_heads") if isinstance(unet, UNet2DModel) else None
        for module in unet.modules() if number else ():
            if isinstance(module, Attention):
                module.heads, module.scale = number, (module.inner_dim // number) ** -0.5

    @torch.no_grad()
    def __call__(
        self,
        classes: Sequence[int | str] | int | str | None = None,
        num_images: int = 1,
        num_inference_steps: int = 50,
        guidance_scale: float = 1.0,
        eta: float = 0.0,
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
    ) -> ImagePipelineOutput:
        """Draw `num_images` of each of `classes`, by number or name; `latents` are the first noise, if given."""
        told: list[dict[str, Tensor]]
        if self.conditioner is None:
            if classes is not None:
                raise ValueError(f"classes: expected none, as the model is unconditional, got {classes!r}")
            told, count = [{}], num_images
        else:
            asked = range(self.conditioner.num_classes) if classes is None else classes
            numbers = self.conditioner.numbers([asked] if isinstance(asked, int | str) else asked, num_images)
            told, count = [self.conditioner.embed(numbers)], len(numbers)
            if guidance_scale != 1.0:
                told.append(self.conditioner.null(count))
        device, dtype, side = self.unet.device, self.unet.dtype, self.unet.config.sample_size
        if latents is None:
            shape = (count, self.unet.config.out_channels, side, side)
            latents = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        latents = latents.to(device)
        flow = isinstance(self.scheduler, FlowMatchEulerDiscreteScheduler)
        if flow:  # evenly down to the clean image
            self.scheduler.set_timesteps(
                sigmas=np.arange(num_inference_steps, 0, -1) / num_inference_steps, device=device
            )
        else:
            self.scheduler.set_timesteps(num_inference_steps, device=device)
        options = {} if flow else {"eta": eta, "generator": generator}
        for timestep in self.progress_bar(self.scheduler.timesteps):
            inputs = latents.to(dtype)
            found = [self._predicted(inputs, timestep, each) for each in told]
            prediction = found[0] if len(found) == 1 else found[1] + guidance_scale * (found[0] - found[1])
            latents = self.scheduler.step(prediction, timestep, latents, **options).prev_sample
        images = self.vae.decode(self._raw(latents).to(dtype)).sample.float()
        images = ((images.clamp(-1, 1) + 1) / 2).cpu().permute(0, 2, 3, 1).numpy()
        return ImagePipelineOutput(images=self.numpy_to_pil(images) if output_type == "pil" else images)

    def _predicted(self, latents: Tensor, timestep: Tensor, told: dict[str, Tensor]) -> Tensor:
        prediction: Tensor = self.unet(latents, timestep.expand(len(latents)), **told).sample
        return prediction.float()

    def _raw(self, latents: Tensor) -> Tensor:
        """As the autoencoder decodes them: mean and deviation back."""
        config = self.vae.config
        mean, std = (
            torch.tensor(config[name], device=latents.device)[None, :, None, None]
            for name in ("latents_mean", "latents_std")
        )
        return latents * std + mean
