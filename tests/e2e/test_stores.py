"""The whole job on a local store, ending in a report. On S3: test_ray_job.py."""

import json
from pathlib import Path

import command
import pytest
from s3_servers import S3Server

NAMES = {
    "class_agreement",
    "classifier_accuracy_real",
    "precision",
    "recall",
    "frechet_distance",
    "frechet_distance_real",
    "reconstruction_psnr",
    "reconstruction_ssim",
    "nearest_train_distance",
    "nearest_train_distance_real",
}


def test_the_whole_job_on_a_local_store_and_again(trained_store: Path) -> None:
    done = command.run("", trained_store)
    report = Path(done.stdout.splitlines()[-1])
    assert report.name == "report.html"
    assert "http" not in report.read_text().split("<svg")[0].replace("http://www.w3.org", "")
    figures = json.loads((report.parent / "report.json").read_text())
    assert figures.keys() >= NAMES
    facts = json.loads((report.parent / "manifest.json").read_text())["facts"]
    assert {name: facts[name] for name in figures} == figures
    assert list(facts["stage_seconds"]) == ["pack", "train_autoencoder", "encode", "train_diffusion", "sample"]
    assert [ancestor["stage"] for ancestor in facts["lineage"]][-1] == "pack"
    again = command.run("", trained_store)
    assert again.stdout == done.stdout
    assert again.stderr.count("committed before") == 6
    assert command.verified(trained_store).count("whole") == 6


def test_refused_credentials_end_before_any_work(ceph_s3: S3Server) -> None:
    store = ceph_s3.new_bucket()
    refused = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "wrong", "AWS_REGION": "us-east-1"}
    with pytest.raises(AssertionError) as caught:
        command.run("", store, "--endpoint-url", ceph_s3.endpoint_url, **refused)
    (line,) = [line for line in str(caught.value).splitlines() if line.startswith("rayograph: ")]
    assert store in line
    assert "403" in line
