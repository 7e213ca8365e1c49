"""What the benchmarks of generation share: a model that nobody trained, and the bare loop that draws a plan's units.

As a program it is one side of bench_11: the loop over its share of the units, in one process, without Ray.
"""

import argparse
import json
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

import torch

from rayograph.conditioning.trained import conditioned, conditioner_of
from rayograph.config import Autoencoder, Denoiser, ImageFile, NoiseSchedule, Sample
from rayograph.config.job.conditioners import ClassLabel, Unconditional
from rayograph.models.autoencoder import build_autoencoder
from rayograph.models.denoiser import build_denoiser
from rayograph.models.layout import CONDITIONER
from rayograph.models.model_folder import AUTOENCODER, DENOISER, SCHEDULE, save_model
from rayograph.models.normalisation import LatentNormalisation
from rayograph.models.schedule import build_schedule
from rayograph.runs.artifact import Artifact
from rayograph.runs.environment import machine, versions
from rayograph.runs.manifest import Manifest
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.sampling.requests.plan import Plan, Unit
from rayograph.sampling.requests.planner import plan_request
from rayograph.sampling.work_unit import Files, Origin, draw, keep
from rayograph.storage import open_store


def commit_model(uri: str, first: Autoencoder, second: Denoiser, schedule: NoiseSchedule, side: int) -> Artifact:
    """A committed model of these networks at `side` pixels, fresh weights: they cost what trained ones do."""
    artifact = Artifact(open_store(uri), "")
    torch.manual_seed(0)
    autoencoder = build_autoencoder(first)
    LatentNormalisation((0.0,) * first.latent_channels, (1.0,) * first.latent_channels).keep_in(autoencoder)
    denoiser = build_denoiser(second, first.latent_channels, side // first.downsampling_factor)
    declared = ClassLabel(num_classes=second.num_classes) if second.num_classes else Unconditional()
    conditioner = conditioned(denoiser, conditioner_of(declared, None))
    parts = (autoencoder, denoiser, conditioner, build_schedule(schedule))
    for name, part in zip((AUTOENCODER, DENOISER, CONDITIONER, SCHEDULE), parts, strict=True):
        save_model(artifact, name, part)
    artifact.commit(
        Manifest(
            job="bench",
            stage="train_diffusion",
            kind="train_diffusion",
            key="0" * 16,
            seed=0,
            config={},
            scale={},
            parents=[],
            files=artifact.records("model/"),
            shards=[],
            facts={"class_names": [str(number) for number in range(second.num_classes)]},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=0.0,
            machine=machine(),
            versions=versions(),
        )
    )
    return artifact


def planned(target: Artifact, model: Artifact, declared: Sample, seed: int) -> Plan:
    """The plan of a generation, as the stage makes it."""
    return plan_request(target, declared, seed, ModelSpec.of(model, model.committed()), None)


def draw_units(
    model: DiffusionModel,
    target: Artifact,
    plan: Plan,
    units: Iterable[Unit],
    batch_size: int,
    encoders: ThreadPoolExecutor,
    whole_batches: bool = False,
) -> None:
    """Draws and commits units as a replica does: while one is drawn, the one before is encoded and stored.

    `whole_batches` fills up a short last batch, which compiled networks want.
    """
    origin, files = Origin(target.path, plan.digest, "0" * 64, ()), Files(ImageFile())
    conditioner = model.conditioner.conditioner
    keeping: Future[object] | None = None
    with ThreadPoolExecutor(1) as pool:
        for unit in units:
            draws = plan.draws(unit)
            padded = draws.padded(-len(draws) % batch_size) if whole_batches else draws
            pixels = draw(model, padded, batch_size)[: len(draws)]
            if keeping is not None:
                keeping.result()
            keeping = pool.submit(keep, target, unit, draws, pixels, origin, files, conditioner, encoders)
        if keeping is not None:
            keeping.result()


def main() -> None:
    """Every `--step`-th unit of a generation from `--first` on, with one thread for networks and one for files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--sample", type=Sample.model_validate_json, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    target, source = (Artifact(open_store(uri), "") for uri in (options.target, options.model))
    plan = planned(target, source, options.sample, options.seed)
    model = DiffusionModel.load(source, "cpu")
    model.draw_rows(plan.draws(plan.unit(0))[: options.batch_size])  # warm, as a replica is
    with ThreadPoolExecutor(1) as encoders:
        units = map(plan.unit, range(options.first, plan.total_units, options.step))
        draw_units(model, target, plan, units, options.batch_size, encoders)
    print(json.dumps({"units": plan.total_units}))


if __name__ == "__main__":
    main()
