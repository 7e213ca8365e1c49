"""evaluate: samples and reconstructions beside held-out images; a page to look at, and the same figures as JSON."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from rayograph.config import Evaluate, Sample, Scale, core_yaml
from rayograph.errors import DataError
from rayograph.runs.artifact import REPORT, Artifact
from rayograph.runs.lineage import Ancestry, ancestors
from rayograph.runs.manifest import HELD_OUT, TRAIN, Manifest
from rayograph.runs.reporter import Reporter
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.runs.tracking import read_metrics
from rayograph.sampling.work_unit import SPLIT
from rayograph.stages.features import gather_images, gather_reconstructions
from rayograph.stages.resources import require
from rayograph.storage import open_store

FIGURES = "report.json"
COLUMNS = 12
STRIP_STEPS = 8
CURVES: dict[str, list[tuple[str, dict[str, str], bool]]] = {
    "train_autoencoder": [
        ("Reconstruction", {"reconstruction": "L1 + perceptual", "perceptual": "perceptual"}, True),
        ("Adversary", {"generator": "generator", "discriminator": "discriminator"}, False),
    ],
    "train_diffusion": [("Denoising", {"loss": "mean squared error"}, True)],
}


def run_evaluate(stage: StageContext, declared: Evaluate) -> StageResult:
    """Gathers the arrays, measures, draws the page."""
    from rayograph.evaluation.extractors import build_extractor
    from rayograph.evaluation.report.figures import denoising_strip, reconstruction_pairs, samples_by_class, tile
    from rayograph.evaluation.measures import ImageSet, MeasureSettings, measure
    from rayograph.evaluation.report.page import Report, circumstances, render, summary

    images, packed = stage.input("images")
    autoencoder, trained = stage.input("autoencoder")
    samples, drawn = stage.input("samples")
    size = trained.facts["image_size"]
    scale = stage.scale
    pool = scale.encode
    require(scale, stage.name, cpus=pool.actors * pool.cpus_per_actor, gpus=pool.actors * scale.gpus)
    with Reporter(stage, "parts", 5, estimated=False) as recorder:
        recorder.progress.doing("now", "reads training images")
        train = gather_images(images, packed, TRAIN, size, scale)
        recorder.progress.advance_to(1)
        recorder.progress.doing("now", "reconstructs held-out images")
        held_out = gather_reconstructions(images, packed, HELD_OUT, size, autoencoder, scale)
        recorder.progress.advance_to(2)
        recorder.progress.doing("now", "reads samples")
        generated = gather_images(samples, drawn, SPLIT, size, scale)
        recorder.progress.advance_to(3)
        rejected = [str(reason) for part in (train, held_out, generated) for reason in part["rejected"]]
        for reason in rejected:
            recorder.progress.say(f"left out: {reason}")
        if len(rejected) > declared.bad_sample_limit:
            raise DataError(f"{rejected[0]} ({len(rejected)} rejected, bad_sample_limit {declared.bad_sample_limit})")
        recorder.progress.doing("now", "draws a few step by step")
        strip = _denoising(stage, drawn)
        recorder.progress.advance_to(4)
        recorder.progress.doing("now", "measures")
        settings = MeasureSettings(
            extractor=build_extractor(declared.extractor, "cpu", scale.access),
            neighbours=declared.neighbours,
            classifier=size % 8 == 0,
        )
        measures = measure(
            ImageSet(train["pixels"], train.get("classes")),
            ImageSet(held_out["pixels"], held_out.get("classes")),
            ImageSet(generated["pixels"], generated.get("classes")),
            reconstructions=held_out["reconstructions"],
            seed=stage.seed,
            settings=settings,
        )
        pixels, classes = generated["pixels"], generated.get("classes")
        rows = samples_by_class(pixels, classes, COLUMNS) if classes is not None else []
        pairs = slice(0, 2 * COLUMNS)
        ancestry = ancestors(samples, scale.access)
        report = Report(
            job=stage.job.name,
            measures=measures,
            stage_seconds={manifest.stage: manifest.seconds for _, manifest in reversed(ancestry)},
            lineage=_lineage(ancestry),
            configuration=core_yaml.dump(stage.job.model_dump(mode="json")),
            training=_curves(ancestry, scale),
            samples_by_class=rows,
            samples=None if rows else tile(pixels[: 8 * COLUMNS], COLUMNS),
            denoising=denoising_strip(strip, scale=2),
            reconstructions=reconstruction_pairs(
                held_out["pixels"][pairs], held_out["reconstructions"][pairs], COLUMNS
            ),
            class_names=dict(enumerate(packed.facts["class_names"])),
        )
        figures = summary(report)
        recorder.progress.advance_to(5)
        recorder.wandb.summarise({name: value for name, value in figures.items() if isinstance(value, float)})
        for name, picture in (
            ("reconstructions", report.reconstructions),
            ("samples", report.samples or tile(pixels[: 8 * COLUMNS], COLUMNS)),
            ("denoising", report.denoising),
        ):
            if picture is not None:
                recorder.wandb.log_image(name, picture)
        for line in _headlines(figures):
            recorder.progress.say(line)
    text = json.dumps(figures, allow_nan=False, indent=2).encode()
    return StageResult(
        files=[stage.artifact.write(FIGURES, text), stage.artifact.write(REPORT, render(report).encode())],
        facts=figures | circumstances(report) | {"rejected": rejected},
    )


def _denoising(stage: StageContext, drawn: Manifest) -> np.ndarray:
    """(s, n, h, w, 3): the first n samples on their way at s - 1 steps, and done."""
    import ray

    model, _ = stage.input("model")
    declared = _sampling(drawn)
    task = ray.remote(num_cpus=stage.scale.encode.cpus_per_actor, num_gpus=stage.scale.gpus)(_walk)
    return ray.get(task.remote(model, declared, drawn.seed, stage.scale.device))


def _walk(model: Artifact, declared: Sample, seed: int, device: str) -> np.ndarray:
    import torch

    from rayograph.sampling.pipeline import DiffusionModel

    loaded = DiffusionModel.load(model, device)
    steps = declared.sampler.num_inference_steps
    kept = sorted({round(step) for step in np.linspace(0, steps - 1, STRIP_STEPS)})
    numbers = torch.arange(min(loaded.num_classes or 4, 10))
    classes = numbers % loaded.num_classes if loaded.num_classes else None
    pixels, under_way = loaded.draw(seed, numbers, classes, declared.sampler, kept)
    return torch.stack([*under_way, pixels]).numpy()


def _sampling(drawn: Manifest) -> Sample:
    return Sample.model_validate(drawn.config["stages"][drawn.stage])


def _lineage(ancestry: Ancestry) -> list[Any]:
    from rayograph.evaluation.report.page import Ancestor

    stages = {uri: manifest.stage for uri, manifest in ancestry}
    return [
        Ancestor(
            stage=manifest.stage,
            uri=uri,
            digest=manifest.digest,
            created=manifest.created,
            counts=_counts(manifest),
            parents=tuple(stages[parent.uri] for parent in manifest.parents),
        )
        for uri, manifest in ancestry
    ]


def _counts(manifest: Manifest) -> Mapping[str, int]:
    if manifest.shards:
        return {"samples": manifest.samples, "shards": len(manifest.shards)}
    return {"files": len(manifest.files)}


def _curves(ancestry: Ancestry, scale: Scale) -> list[Any]:
    from rayograph.evaluation.report.page import TrainingCurves

    curves = []
    for uri, manifest in reversed(ancestry):
        if manifest.kind in CURVES:
            rows = read_metrics(Artifact(open_store(uri, scale.access), ""))
            curves += [
                TrainingCurves(manifest.stage, title, rows, series, logarithmic)
                for title, series, logarithmic in CURVES[manifest.kind]
            ]
    return curves


def _headlines(figures: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, real in (
        ("class_agreement", "classifier_accuracy_real"),
        ("precision", "precision_real"),
        ("recall", "recall_real"),
        ("within_class_variance", "within_class_variance_real"),
        ("frechet_distance", "frechet_distance_real"),
        ("nearest_train_distance", "nearest_train_distance_real"),
        ("reconstruction_psnr", None),
        ("reconstruction_ssim", None),
    ):
        value = figures.get(name)
        if value is not None:
            beside = f"   ({figures[real]:.4f} {real})" if real and figures.get(real) is not None else ""
            lines.append(f"{name:24} {value:.4f}{beside}")
    return lines
