"""Generation as people do it with diffusers: one batch a call, then every image to a file.

A loop like its pipelines (`DiTPipeline` is the nearest, as no pipeline of its holds a `UNet2DModel` with classes and an
autoencoder): `torch.cat` for guidance, `scheduler.step`, `vae.decode`, `VaeImageProcessor.postprocess`, `image.save`.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from safetensors.torch import load_file

from rayograph.conditioning.trained import WEIGHTS
from rayograph.config import Sampler
from rayograph.models.layout import CONDITIONER
from rayograph.models.model_folder import AUTOENCODER, DENOISER


class Pipeline:
    """Its models from our folder. Compiled, it is set up as its documentation has it: channels last, and both networks
    through `torch.compile`, on a GPU in mode "max-autotune"."""

    def __init__(
        self, model: str, schedule: Any, sampler: Sampler, device: str, dtype: torch.dtype, compiled: bool = False
    ) -> None:
        self.sampler, self.device = sampler, device
        options = {"torch_dtype": dtype, "low_cpu_mem_usage": False}
        weights = load_file(f"{model}/{CONDITIONER}/{WEIGHTS}")
        self.classes = torch.nn.Embedding.from_pretrained(weights["embedding.weight"]).to(device, dtype)
        self.unet = UNet2DModel.from_pretrained(f"{model}/{DENOISER}", **options).to(device).eval()
        self.vae = AutoencoderKL.from_pretrained(f"{model}/{AUTOENCODER}", **options).to(device).eval()
        self.scheduler = DPMSolverMultistepScheduler.from_config(
            schedule.config, algorithm_type="dpmsolver++", final_sigmas_type="zero", timestep_spacing="trailing"
        )
        self.processor = VaeImageProcessor()
        if compiled:
            mode = "max-autotune" if device == "cuda" else None
            self.unet.to(memory_format=torch.channels_last)
            self.vae.to(memory_format=torch.channels_last)
            self.unet = torch.compile(self.unet, mode=mode)
            self.vae.decode = torch.compile(self.vae.decode, mode=mode)

    @torch.no_grad()
    def __call__(self, classes: list[int], seed: int = 0, latents: torch.Tensor | None = None) -> list[Any]:
        """PIL images. `latents` takes the place of drawn noise."""
        config = self.unet.config
        if latents is None:
            shape = (len(classes), config.in_channels, config.sample_size, config.sample_size)
            generator = torch.Generator(self.device).manual_seed(seed)
            latents = randn_tensor(shape, generator=generator, device=torch.device(self.device), dtype=self.unet.dtype)
        given = torch.tensor(classes, device=self.device)
        labels = self.classes(torch.cat([given, torch.full_like(given, self.classes.num_embeddings - 1)]))
        self.scheduler.set_timesteps(self.sampler.num_inference_steps, device=self.device)
        for timestep in self.scheduler.timesteps:
            both = self.scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
            prediction = self.unet(both, timestep.expand(len(both)), class_labels=labels).sample
            conditional, unconditional = prediction.chunk(2)
            prediction = unconditional + self.sampler.guidance_scale * (conditional - unconditional)
            latents = self.scheduler.step(prediction, timestep, latents).prev_sample
        scale = self.vae.config
        mean, std = (torch.tensor(v).to(latents)[None, :, None, None] for v in (scale.latents_mean, scale.latents_std))
        images = self.vae.decode(latents * std + mean).sample
        return list(self.processor.postprocess(images.float(), output_type="pil"))

    def generate(self, folder: Path, images: int, classes: int, batch_size: int) -> None:
        """Classes in turn, a file an image."""
        folder.mkdir(parents=True)
        for start in range(0, images, batch_size):
            numbers = range(start, min(start + batch_size, images))
            made = self([number % classes for number in numbers], seed=start)
            for number, image in zip(numbers, made, strict=True):
                image.save(folder / f"{number:09d}.png")
