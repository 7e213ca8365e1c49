import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from typing import ClassVar, Literal

import numpy as np
import pytest
import tiny

from rayograph.config.job.stages import STAGES
from rayograph.config.stage_base import ArtifactType, Chart, StageBase
from rayograph.evaluation.measures import Measures
from rayograph.evaluation.report.ancestry import training_curves
from rayograph.evaluation.report.figures import denoising_strip, reconstruction_pairs, samples_by_class, tile
from rayograph.evaluation.report.glossary import ENTRIES, decibels, duration, number, share
from rayograph.evaluation.report.page import (
    Ancestor,
    AskedSample,
    Report,
    TrainingCurves,
    circumstances,
    render,
    summary,
)
from rayograph.runs.artifact import METRICS, Artifact
from rayograph.runs.lineage import LineageNode
from rayograph.shards.pixels.decode import to_png
from rayograph.storage import open_store

VOID = {"meta", "img", "br", "hr", "link", "input"}
REFERENCES = {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}


class Page(HTMLParser):
    """Notes words and references, and refuses tags that do not nest."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.references, self.words = [], [], [], []
        self.images_without_words = 0
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [value for name, value in attributes if name in REFERENCES]
        if tag == "img" and not dict(attributes).get("alt"):
            self.images_without_words += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words += data.split()

    @property
    def text(self):
        return " ".join(self.words)


@pytest.fixture(scope="module")
def full():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    rows = [{"images_seen": seen, "loss": 1.0 / (seen + 1)} for seen in range(0, 800, 8)]
    return Report(
        job="digits",
        measures=Measures(
            feature_space="grey pixels pooled to 8×8",
            counts={"train": 1437, "held_out": 360, "samples": 1000, "stand_ins": 1000},
            class_agreement=0.981,
            classifier_accuracy_real=0.987,
            class_agreement_by_class={0: 1.0, 1: 0.962},
            classifier_accuracy_real_by_class={0: 1.0, 1: 0.97},
            precision=0.71,
            precision_real=0.92,
            recall=0.63,
            recall_real=0.93,
            within_class_variance=1.37,
            within_class_variance_real=1.82,
            frechet_distance=0.412,
            frechet_distance_real=0.0734,
            reconstruction_psnr=31.24,
            reconstruction_ssim=0.953,
            nearest_train_distance=0.81,
            nearest_train_distance_real=0.775,
            nearest_train_distance_first_percentile=0.4,
            nearest_train_distance_first_percentile_real=0.42,
        ),
        stage_seconds={"pack": 3.4, "train_diffusion": 3725.0},
        lineage=[
            Ancestor("sample", "s3://bucket/sample", "sha256:aa", "2026-11-20 06:41 UTC", {"images": 1000}, ("pack",)),
            Ancestor("pack", "file:///tmp/pack", "sha256:bb", "2026-11-20 06:31 UTC"),
        ],
        configuration="seed: 0\nname: <digits>\n",
        training=[TrainingCurves("train_diffusion", "Denoising loss", rows, {"loss": "loss"}, logarithmic=True)],
        samples_by_class=samples_by_class(pixels, np.array([0, 0, 0, 1, 1, 1]), columns=3),
        denoising=denoising_strip(np.stack([pixels[:2], pixels[2:4]])),
        reconstructions=reconstruction_pairs(pixels, pixels, columns=3),
        class_names={1: "one & only"},
    )


@pytest.fixture(scope="module")
def bare(full):
    """What remains of a job without classes, autoencoder or curves."""
    names = ("precision", "precision_real", "recall", "recall_real", "frechet_distance", "frechet_distance_real")
    measures = Measures("grey pixels pooled to 8×8", {}, **{name: getattr(full.measures, name) for name in names})
    return Report("photographs", measures, {}, [], "")


def test_a_page_is_well_formed_and_needs_nothing_but_itself(full, bare):
    for report in (full, bare, dataclasses.replace(bare, samples=full.denoising)):
        html = render(report)
        page = Page(html)
        assert all(reference.startswith("data:image/png;base64,") for reference in page.references)
        assert page.images_without_words == 0
        assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
        assert not re.search(r"url\(|@import|https?:", html)


def test_a_page_shows_every_figure_beside_its_real_counterpart(full):
    text = Page(render(full)).text
    for words in (
        "98.1 %",
        "98.7 %",
        "0.412",
        "0.0734",
        "71.0 %",
        "63.0 %",
        "31.2 dB",
        "0.953",
        "0.810",
        "0.775",
        "1.37",
        "1.82",
    ):
        assert words in text
    for words in (
        "grey pixels pooled to 8×8",
        "1,000 samples",
        "360 held-out images",
        "sha256:aa",
        "s3://bucket/sample",
    ):
        assert words in text
    for words in ("one & only 96.2 %", "3.4 s", "1 h 2 min", "name: <digits>", "Denoising loss"):
        assert words in text


def test_what_does_not_apply_is_left_out_of_the_page(full, bare):
    assert "None" not in Page(render(full)).text
    page = Page(render(bare))
    for words in ("None", "classifier", "Class agreement", "PSNR", "SSIM", "Lineage", "Training", "Samples The first"):
        assert words not in page.text
    assert "Precision" in page.text
    assert "img" not in page.tags


def test_a_job_that_measured_nothing_still_has_a_page():
    assert "Configuration" in Page(render(Report("empty", Measures("pixels", {}), {"pack": 0.0}, [], ""))).text


def test_values_that_are_no_numbers_are_named_in_the_page_and_null_in_json(full):
    measures = dataclasses.replace(full.measures, reconstruction_psnr=math.inf, frechet_distance=math.nan)
    report = dataclasses.replace(full, measures=measures)
    text = Page(render(report)).text
    assert "∞ dB" in text
    assert "undefined" in text
    figures = json.loads(json.dumps(summary(report), allow_nan=False))
    assert figures["reconstruction_psnr"] is None
    assert figures["frechet_distance"] is None


def test_names_from_users_cannot_become_markup(full):
    report = dataclasses.replace(
        full,
        job="<script>alert(1)</script>",
        training=[dataclasses.replace(full.training[0], title="<b>", series={"loss": "</svg><script>"})],
    )
    page = Page(render(report))
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert "<script>alert(1)</script>" in page.text


def test_the_summary_has_every_stable_name_and_is_json(full, bare):
    stable = {
        "class_agreement",
        "classifier_accuracy_real",
        "precision",
        "precision_real",
        "recall",
        "recall_real",
        "within_class_variance",
        "within_class_variance_real",
        "frechet_distance",
        "frechet_distance_real",
        "reconstruction_psnr",
        "reconstruction_ssim",
        "nearest_train_distance",
        "nearest_train_distance_real",
        "feature_space",
        "counts",
    }
    for report in (full, bare):
        figures = summary(report)
        assert stable <= figures.keys()
        assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert summary(full)["class_agreement_by_class"] == {"0": 1.0, "1": 0.962}
    assert circumstances(full)["lineage"][0] == {
        "stage": "sample",
        "uri": "s3://bucket/sample",
        "digest": "sha256:aa",
        "created": "2026-11-20 06:41 UTC",
        "counts": {"images": 1000},
        "parents": ["pack"],
    }
    assert summary(bare)["class_agreement"] is None


def test_every_entry_of_the_glossary_is_a_figure():
    names = {field.name for field in dataclasses.fields(Measures)}
    for entry in ENTRIES:
        assert entry.name in names
        assert entry.real_name is None or entry.real_name in names
        assert entry.meaning


def test_numbers_are_written_for_readers():
    assert [share(1.0), share(0.9994), share(0.5)] == ["100\xa0%", "99.9\xa0%", "50.0\xa0%"]
    assert [decibels(31.24), decibels(math.inf)] == ["31.2\xa0dB", "∞\xa0dB"]
    assert [number(0.0), number(0.07341), number(12.0), number(1234.5)] == ["0", "0.0734", "12.0", "1230"]
    assert [duration(seconds) for seconds in (0.04, 7.25, 59.97, 75.0, 3725.0)] == [
        "0.0 s",
        "7.2 s",
        "1 min 0 s",
        "1 min 15 s",
        "1 h 2 min",
    ]


def test_samples_without_classes_come_as_one_sheet(bare):
    sheet = tile(np.zeros((4, 8, 8, 3), dtype=np.uint8), columns=2)
    page = Page(render(dataclasses.replace(bare, samples=sheet)))
    assert page.tags.count("img") == 1


class Distill(StageBase):
    """A training from outside."""

    output: ClassVar[ArtifactType] = ArtifactType.DIFFUSION_MODEL
    charts: ClassVar[tuple[Chart, ...]] = (Chart("Distillation", {"distance": "to the teacher"}), Chart("Empty", {}))
    kind: Literal["distill"] = "distill"


def test_samples_stand_beside_what_they_were_asked_for(bare):
    picture = to_png(np.zeros((2, 2, 3), np.uint8))
    one = AskedSample((("negative_prompt", "a <b>cat</b>"),), (("mask", picture),), picture, picture)
    html = render(dataclasses.replace(bare, asked=[one, dataclasses.replace(one, given=(), real=None)]))
    assert html.count("data:image/png") == 3 + 1
    assert html.count("A real image of the same caption") == 1
    assert html.count("<dt>negative prompt</dt><dd>a &lt;b&gt;cat&lt;/b&gt;</dd>") == 2
    assert "Asked for and drawn" not in render(bare)


def test_a_stage_from_outside_has_the_charts_that_it_declares(tmp_path, monkeypatch):
    monkeypatch.setattr(STAGES, "_known", STAGES._known | {"distill": Distill})
    rows = [{"images_seen": 8, "distance": 0.5}, {"images_seen": 16, "distance": 0.25}]
    ancestry = []
    for kind in ("sample", "distill", "train_diffusion", "of_another_version"):
        artifact = Artifact(open_store(str(tmp_path)), f"j/{kind}/0123456789abcdef")
        artifact.write(METRICS, "".join(json.dumps(row) + "\n" for row in rows).encode())
        manifest = tiny.commit(artifact).model_copy(update={"kind": kind, "stage": f"my_{kind}"})
        ancestry.append(LineageNode(artifact, manifest, ()))
    curves = training_curves(ancestry)
    assert [(found.stage, found.title) for found in curves] == [
        ("my_train_diffusion", "Denoising"),
        ("my_distill", "Distillation"),
        ("my_distill", "Empty"),
    ]
    assert curves[1].rows == rows
    assert curves[1].series == {"distance": "to the teacher"}
