"""The evaluate stage over any two artifacts of images, in this process."""

import json

import numpy as np
import pytest
from PIL import Image

from rayograph.config import EfficientNetLite0, Evaluate, ImageFolder, Job, Pack, PooledPixels, RayCluster, Scale
from rayograph.errors import ConfigError, DataError
from rayograph.ingest import streams
from rayograph.pipeline import runner
from rayograph.pipeline.preflight import check
from rayograph.stages import evaluate as evaluation
from rayograph.stages import pack as packing

SCALE = Scale(ray=RayCluster(local_cpus=1))


@pytest.fixture
def here(monkeypatch, tmp_path):
    """Stages with their work done here; folders of images, a little brighter, and of few colours each."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(runner, "connect", lambda scale: None)
    monkeypatch.setattr(runner, "check_cluster", lambda stages: None)
    for module in (evaluation, packing):
        monkeypatch.setattr(module, "require_pool", lambda _: None, raising=False)
        monkeypatch.setattr(module, "require", lambda *_, **__: None, raising=False)
    monkeypatch.setattr(streams, "each", lambda items, work, scale: map(work, items))
    monkeypatch.setattr(streams, "each_with", lambda items, worker, **_: map(worker(), items))
    draws = np.random.default_rng(0)
    for number in range(60):
        pixels = draws.integers(0, 200, (16, 16, 3), dtype=np.uint8) // 2 + 60 * (number % 2)
        coarse = pixels[::8, ::8].repeat(8, axis=0).repeat(8, axis=1)
        for folder, image in {"real": pixels, "drawn": pixels + 20, "coarse": coarse}.items():
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(image.astype(np.uint8)).save(tmp_path / folder / f"{number}.png")
    return tmp_path


def packed(folder, held_out=0.4):
    return Pack(source=ImageFolder(uri=str(folder)), image_size=16, held_out_fraction=held_out, samples_per_shard=16)


def run(store, **stages):
    job = Job(name="two", stages=stages)
    runner.run_job(job, SCALE.model_copy(update={"store": str(store)}), None)
    (artifact,) = (store / "two" / list(stages)[-1]).iterdir()
    return artifact


def report(artifact):
    return json.loads((artifact / "report.json").read_text())


ALONE = Evaluate(images="real", samples="drawn", autoencoder=None, model=None)


def test_two_packed_folders_are_compared_without_any_model(here):
    found = run(here / "store", real=packed(here / "real"), drawn=packed(here / "drawn"), evaluate=ALONE)
    figures = report(found)
    assert figures["counts"]["samples"] == figures["compared"]["samples"] == 60
    assert figures["counts"]["train"] + figures["counts"]["held_out"] == 60
    assert figures["counts"]["stand_ins"] == figures["counts"]["train"]
    assert figures["frechet_distance"] > figures["frechet_distance_real"] > 0
    assert figures["reconstruction_psnr"] is figures["class_agreement"] is None
    page = (found / "report.html").read_text()
    for words in ("Real and reconstructed", "From noise to image"):
        assert words not in page
    assert "60 samples beside" in page


def test_artifacts_of_other_jobs_are_compared_by_their_uris(here):
    run(here / "store", real=packed(here / "real"))
    run(here / "store", drawn=packed(here / "drawn", held_out=0))
    (real,), (drawn,) = ((here / "store" / "two" / name).iterdir() for name in ("real", "drawn"))
    declared = Evaluate(images=str(real), samples=str(drawn), autoencoder=None, model=None)
    figures = report(run(here / "other", evaluate=declared))
    assert figures["counts"]["samples"] == 60
    again = run(here / "third", real=packed(here / "real"), drawn=packed(here / "drawn", held_out=0), evaluate=ALONE)
    assert figures == report(again)


def test_without_held_out_images_samples_are_compared_with_all_of_them(here):
    figures = report(
        run(here / "store", real=packed(here / "real", 0), drawn=packed(here / "drawn", 0), evaluate=ALONE)
    )
    assert figures["counts"] == {"train": 60, "samples": 60}
    assert figures["frechet_distance"] == pytest.approx(64 * (20 / 255) ** 2)  # of 64 features, each 20 levels off
    assert figures["frechet_distance_real"] is figures["precision_real"] is None
    assert figures["nearest_train_distance"] > 0


def test_images_compared_with_themselves_are_no_distance_apart(here):
    declared = Evaluate(images="real", samples="real", autoencoder=None, model=None, features=PooledPixels(grey=False))
    figures = report(run(here / "store", real=packed(here / "real", 0), evaluate=declared))
    assert figures["frechet_distance"] == pytest.approx(0, abs=1e-12)
    assert figures["precision"] == figures["recall"] == 1.0
    assert figures["nearest_train_distance"] == 0.0
    assert figures["feature_space"] == "RGB pixels pooled to 8×8"


def test_the_packaged_network_tells_the_folders_apart(here):
    declared = ALONE.model_copy(update={"features": EfficientNetLite0(resolution=32), "compared_images": 24})
    found = run(here / "store", real=packed(here / "real"), drawn=packed(here / "coarse"), evaluate=declared)
    figures = report(found)
    assert figures["feature_space"] == "EfficientNet-Lite0 at 32×32"
    assert figures["frechet_distance"] > figures["frechet_distance_real"] > 0
    assert figures["compared"]["samples"] == 24
    assert "24 of samples" in (found / "report.html").read_text()


def test_the_same_bytes_come_of_any_number_of_shards_at_a_time(here, monkeypatch):
    first = run(here / "store", real=packed(here / "real"), drawn=packed(here / "drawn"), evaluate=ALONE)

    def one_actor_each(items, worker, **_):
        done = {number: worker()(item) for number, item in reversed(list(enumerate(items)))}
        return (done[number] for number in range(len(items)))

    monkeypatch.setattr(streams, "each_with", one_actor_each)
    second = run(here / "again", real=packed(here / "real"), drawn=packed(here / "drawn"), evaluate=ALONE)
    assert (first / "report.json").read_bytes() == (second / "report.json").read_bytes()


def test_features_that_cannot_be_made_are_refused_before_any_work(here, monkeypatch):
    job = Job(name="two", stages={"real": packed(here / "real"), "drawn": packed(here / "drawn"), "evaluate": ALONE})

    def with_features(**features):
        declared = ALONE.model_copy(update=features)
        return job.model_copy(update={"stages": {**job.stages, "evaluate": declared}})

    check(with_features(), SCALE, ["evaluate"])
    with pytest.raises(ConfigError, match=r"^evaluate\.features: expected images of a multiple of 5, got .*16$"):
        check(with_features(features=PooledPixels(size=5)), SCALE, ["evaluate"])
    with pytest.raises(ConfigError, match=r"^evaluate\.feature_size: expected a divisor of .*16, got 5$"):
        check(with_features(feature_size=5), SCALE, ["evaluate"])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="needs its weights"):
        runner.run_job(
            with_features(features=EfficientNetLite0()), SCALE.model_copy(update={"store": str(here / "s")}), None
        )
    assert not (here / "s" / "two").exists()


def test_one_image_too_many_that_cannot_be_decoded_stops_the_stage(here, monkeypatch):
    run(here / "store", real=packed(here / "real"), drawn=packed(here / "drawn"))
    from rayograph.ingest.images import image_batches as image_batches

    decode = image_batches.decoded_images

    def without_the_first(rows, choose):
        decoded, rejected = decode(rows, choose)
        return decoded[1:], [*rejected, {"key": "x", "reason": f"{decoded[0][1].key}: no image"}]

    monkeypatch.setattr(image_batches, "decoded_images", without_the_first)
    stages = {"real": packed(here / "real"), "drawn": packed(here / "drawn")}
    with pytest.raises(DataError, match=r"no image \(3 rejected so far, bad_sample_limit 2\)"):
        run(here / "store", **stages, evaluate=ALONE.model_copy(update={"bad_sample_limit": 2}))
