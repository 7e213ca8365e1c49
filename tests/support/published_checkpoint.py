"""Checkpoints as the latent diffusion code wrote them: what stands in the file, by which names; the YAML beside."""

import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
import yaml
from published_first_stage import FirstStage
from published_layout import UNet, disturb
from torch import Tensor, nn

BETAS = (0.0015, 0.0195)


def of_latent_model(
    first_stage: nn.Module, unet: nn.Module, conditioner: dict[str, Tensor] | None = None,
    average: nn.Module | None = None, scale_factor: float | None = None, betas: tuple[float, float] = BETAS,
) -> dict[str, Tensor]:  # fmt: skip
    """A LatentDiffusion's state_dict; `average` is what its exponential moving average has come to."""
    spaced = torch.linspace(betas[0] ** 0.5, betas[1] ** 0.5, 1000, dtype=torch.float64) ** 2
    left = torch.cumprod(1 - spaced, 0)
    found = {
        "betas": spaced.float(),
        "alphas_cumprod": left.float(),
        "sqrt_one_minus_alphas_cumprod": (1 - left).sqrt().float(),
        "logvar": torch.zeros(1000),
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(1),
    }
    if scale_factor is not None:
        found["scale_factor"] = torch.tensor(scale_factor)
    for name, value in unet.state_dict().items():
        found[f"model.diffusion_model.{name}"] = value
    for name, value in (average or unet).state_dict().items():
        found["model_ema.diffusion_model" + name.replace(".", "")] = value
    for name, value in first_stage.state_dict().items():
        found[f"first_stage_model.{name}"] = value
    for name, value in (conditioner or {}).items():
        found[f"cond_stage_model.{name}"] = value
    return found


def save(path: Path, weights: dict[str, Tensor]) -> Path:
    """As pytorch-lightning 1.4 did, its checkpoint callback's class being a key of what it notes."""
    with lightning() as callback:
        noted = {"monitor": "val/loss", "best_model_score": torch.tensor(0.1), "best_model_path": "/somewhere/x.ckpt"}
        torch.save(
            {"epoch": 3, "global_step": 1000, "pytorch-lightning_version": "1.4.2", "callbacks": {callback: noted},
             "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}], "lr_schedulers": [],
             "state_dict": weights}, path,
        )  # fmt: skip
    return path


@contextmanager
def lightning():
    """A class of the name that the published files hold, for as long as one is written."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    callback = type("ModelCheckpoint", (), {"__module__": name})
    modules = {part: ModuleType(part) for part in ("pytorch_lightning", "pytorch_lightning.callbacks", name)}
    modules[name].ModelCheckpoint = callback
    sys.modules.update(modules)
    try:
        yield callback
    finally:
        for part in modules:
            del sys.modules[part]


def configuration(unet: dict, first_stage: dict, conditioner: dict | str | None = None, **params: object) -> str:
    """The YAML beside a latent model: `unet` and `first_stage` are params of theirs, `params` the model's own."""
    return yaml.safe_dump({"model": {"base_learning_rate": 1e-6, "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "params": {
            "linear_start": BETAS[0], "linear_end": BETAS[1], "timesteps": 1000, "image_size": 8, "channels": 3,
            "first_stage_key": "image",
            "unet_config": {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": unet},
            "first_stage_config": {"target": "ldm.models.autoencoder.VQModelInterface", "params": first_stage},
            "cond_stage_config": conditioner or "__is_unconditional__", **params,
        }}})  # fmt: skip


def save_unconditional(
    folder: Path, scale_factor: float | None = None, codes: int | None = 32
) -> tuple[nn.Module, nn.Module]:
    """A small unconditional model and its configuration; return first stage and averaged denoiser."""
    folder.mkdir(parents=True)
    first_stage = disturb(FirstStage(codes=codes))
    trained, average = (disturb(UNet(head_channels=16), seed) for seed in (1, 2))
    save(folder / "model.ckpt", of_latent_model(first_stage, trained, average=average, scale_factor=scale_factor))
    (folder / "config.yaml").write_text(
        configuration(
            {"image_size": 8, "num_head_channels": 16, "model_channels": 32},
            {"embed_dim": 3, "n_embed": codes, "ddconfig": {"resolution": 16, "ch_mult": [1, 2]}},
        )
    )
    return first_stage, average
