"""Pictures of a training under way: the same reconstructions, or samples of the same noise, every so many images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from rayograph.ingest.reading import PlannedReader
from rayograph.models.autoencoder import AutoencoderNetwork
from rayograph.models.finite import NonFiniteError
from rayograph.models.normalisation import LatentNormalisation
from rayograph.trainer.control_actor import Control
from rayograph.trainer.events import Busy, Note, PreviewDrawn
from rayograph.trainer.worker_config import WorkerConfig

if TYPE_CHECKING:
    from rayograph.training.learner import Learner, Metrics, Model
    from rayograph.training.training_progress import TrainingProgress

PREVIEWS = "previews/"
COLUMNS = 8


@dataclass(frozen=True)
class Preview:
    """previews/<images seen>.png, of the first average. The first worker draws while the others wait."""

    assignment: WorkerConfig
    rank: int
    control: Control

    def __call__(self, learner: "Learner", progress: "TrainingProgress", metrics: "Metrics") -> None:
        if self.rank == 0:
            self.control.put(Busy("draws a preview"))
        models = dict(learner.exports())
        if self.rank == 0:
            try:
                png = self.assignment.picture(self.assignment.reader, models)
            except NonFiniteError as error:  # the training's own figures say whether it has diverged
                self.control.put(Note(f"no preview at {progress.images_seen:,} images: {error}"))
                return
            name = f"{PREVIEWS}{progress.images_seen:012d}.png"
            self.assignment.artifact.write(name, png)
            self.control.put(PreviewDrawn(name, progress.images_seen))


def reconstructions(count: int, reader: PlannedReader, models: Mapping[str, "Model"]) -> bytes:
    """The plan's first images, each above what the autoencoder makes of it."""
    from rayograph.evaluation.report.figures import reconstruction_pairs
    from rayograph.models.autoencoder import AutoencoderNetwork, reconstruct
    from rayograph.models.model_folder import AUTOENCODER
    from rayograph.training.workers import device

    pixels = reader.read(np.arange(count))["pixels"]
    network = cast(AutoencoderNetwork, models[AUTOENCODER]).eval().to(device())
    return reconstruction_pairs(pixels, reconstruct(network, pixels), COLUMNS)


def samples(
    count: int,
    seed: int,
    first_stage: Callable[[], AutoencoderNetwork],
    normalisation: LatentNormalisation,
    reader: PlannedReader,
    models: Mapping[str, "Model"],
) -> bytes:
    """The first samples of the seed, one class after the other, as the default sampler draws them."""
    import torch

    from rayograph.conditioning.trained import TrainedConditioner
    from rayograph.config import Sampler
    from rayograph.evaluation.report.figures import tile
    from rayograph.models.denoiser import DenoiserNetwork
    from rayograph.models.layout import CONDITIONER
    from rayograph.models.model_folder import DENOISER, SCHEDULE
    from rayograph.models.schedule import TrainingSchedule
    from rayograph.sampling.pipeline import DiffusionModel
    from rayograph.training.workers import device

    conditioner = cast(TrainedConditioner, models[CONDITIONER])
    conditioner.network.eval().to(device())
    model = DiffusionModel(
        cast(DenoiserNetwork, models[DENOISER]).eval().to(device()),
        conditioner,
        first_stage().eval().to(device()),
        cast(TrainingSchedule, models[SCHEDULE]),
        normalisation,
        device(),
    )
    numbers = torch.arange(count)
    steps = min(Sampler().num_inference_steps, model.schedule.config.num_train_timesteps)
    columns = model.examples(numbers)
    if conditioner.conditioner.needs_examples:
        real = reader.read(np.arange(count))
        columns = {name: torch.from_numpy(real[name]) for name in columns}
    pixels, _ = model.draw(seed, numbers, columns, Sampler(num_inference_steps=steps))
    return tile(pixels.numpy(), COLUMNS)
