"""The whole job on each kind of store, ending in a report."""

import json
import os
from pathlib import Path

import ceph_gateway
import command
import pytest
from s3_servers import S3Server

from rayograph.storage import open_store

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


@pytest.mark.skipif(ceph_gateway.installed(), reason="a real S3 server is here, and runs the same")
def test_the_whole_job_on_an_imitation_of_s3(moto_s3: S3Server) -> None:
    whole_job_on(moto_s3)


def test_the_whole_job_on_a_real_s3_server(ceph_s3: S3Server) -> None:
    whole_job_on(ceph_s3)


def whole_job_on(server: S3Server) -> None:
    store = f"{server.new_bucket()}/prefix"
    credentials = {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
    done = command.run("", store, "--endpoint-url", server.endpoint_url, **credentials)
    uri = done.stdout.splitlines()[-1]
    assert uri.startswith(store)
    assert uri.endswith("/report.html")
    held = open_store(store, server.endpoint_url)
    assert held.read(uri.removeprefix(f"{store}/")).startswith(b"<!")
    assert command.verified(store, AWS_ENDPOINT_URL=server.endpoint_url, **credentials).count("whole") == 6


def test_refused_credentials_end_before_any_work(ceph_s3: S3Server) -> None:
    store = ceph_s3.new_bucket()
    refused = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "wrong", "AWS_REGION": "us-east-1"}
    with pytest.raises(AssertionError) as caught:
        command.run("", store, "--endpoint-url", ceph_s3.endpoint_url, **refused)
    (line,) = [line for line in str(caught.value).splitlines() if line.startswith("rayograph: ")]
    assert store in line
    assert "403" in line
