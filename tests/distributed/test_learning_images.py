"""Images that are encoded as they are learned train the denoiser as their moments would, on any number of workers."""

from pathlib import Path

import numpy as np
import torch
from engines import named_state
from safetensors.torch import load_file, save_file
from workers import spawn

from rayograph.config import Autoencoder, Denoiser, TrainDiffusion, TrainingScale
from rayograph.config.job.conditions.spatial import MaskedImage
from rayograph.models.autoencoder import AutoencoderNetwork, build_autoencoder, moments_of, to_images
from rayograph.models.normalisation import LatentNormalisation
from rayograph.models.specs import LatentShape
from rayograph.shards.batch import Batch

SEED, STEPS, GLOBAL, SIDE = 5, 3, 8, 16
LATENTS = LatentShape(2, SIDE // 2, 2)
SCALE = LatentNormalisation((0.3, -1.0), (0.5, 2.0))
NETWORK = Denoiser(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, mid_block_attention=False)
COMMON = {
    "network": NETWORK, "total_images": STEPS * GLOBAL, "global_batch_size": GLOBAL, "lanes": 4, "learning_rate": 1e-2,
    "eps": 1e-3, "ema_decays": (0.9,),
}  # fmt: skip
OF_MOMENTS = TrainDiffusion(**COMMON)
OF_IMAGES = TrainDiffusion(images="pack", autoencoder="train_autoencoder", **COMMON)
INPAINTING = TrainDiffusion(images="pack", autoencoder="train_autoencoder", conditioner=MaskedImage(), **COMMON)


AUTOENCODER = Autoencoder(
    latent_channels=2, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, mid_block_add_attention=False
)


def first() -> AutoencoderNetwork:
    torch.manual_seed(0)
    return build_autoencoder(AUTOENCODER).eval()


def pixels(step: int) -> np.ndarray:
    return np.random.default_rng(step).integers(0, 256, (GLOBAL, SIDE, SIDE, 3), np.uint8)


def masks(step: int) -> np.ndarray:
    return np.random.default_rng(step).integers(0, 2, (GLOBAL, SIDE, SIDE)).astype(np.uint8)


def learn(rank: int, workers: int, folder: str) -> None:
    from rayograph.training.diffusion_learner import DiffusionLearner

    share = GLOBAL // workers
    rows = slice(rank * share, (rank + 1) * share)
    encoder = first()
    for name, recipe in {"moments": OF_MOMENTS, "images": OF_IMAGES, "inpainting": INPAINTING}.items():
        scale = TrainingScale(micro_batch_size=share, zero_stage=1)
        encodes = None if recipe.images is None else first()
        learner = DiffusionLearner(recipe, scale, SEED, SCALE, LATENTS, first_stage=encodes)
        losses = []
        for step in range(STEPS):
            images = pixels(step)[rows]
            columns = {"pixels": images}
            if recipe.images is None:
                columns = {"moments": moments_of(encoder, to_images(torch.from_numpy(images))).numpy()}
            elif recipe.conditioner is not None:
                columns |= {"image": images, "mask": masks(step)[rows]}
            positions = np.arange(step * GLOBAL, (step + 1) * GLOBAL)[rows]
            losses.append(learner.step(Batch(positions, columns), step * GLOBAL)["loss"])
        state = named_state(learner) | {"losses": torch.tensor(losses)}
        names = {key.rpartition("/")[2] for key in state}
        assert not any(weight.startswith("conditioner") for weight in names)  # the first stage is not the training's
        if rank == 0:
            save_file(state, f"{folder}/{name}-{workers}.safetensors")


def test_images_train_as_their_moments_on_one_worker_or_two(tmp_path: Path) -> None:
    for workers in (1, 2):
        spawn(learn, workers, str(tmp_path))
    expected = load_file(tmp_path / "moments-1.safetensors")
    for workers in (1, 2):
        found = load_file(tmp_path / f"images-{workers}.safetensors")
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
    one, two = (load_file(tmp_path / f"inpainting-{workers}.safetensors") for workers in (1, 2))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
    assert one["losses"].isfinite().all()
