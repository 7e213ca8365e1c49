"""cluster/: Ray's own validation, and what it lets pass: typing errors below `provider` and in EC2's parameters."""

import copy
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore.exceptions import InvalidRegionError
from botocore.validate import ParamValidator
from jsonschema import ValidationError
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

from rayograph.config import Scale
from rayograph.config.batches import micro_batch_and_accumulation, worker_counts
from rayograph.config.job.training import Training
from rayograph.config.reading.files import load_job, load_scale
from rayograph.errors import StorageError
from rayograph.storage import open_store

ROOT = Path(__file__).parents[3]
AWS = ROOT / "cluster" / "aws"
Config = dict[str, Any]

PROVIDER = {
    *("type", "region", "availability_zone", "cache_stopped_nodes"),
    *("use_internal_ips", "use_external_head_ip", "security_group", "key_pair", "cloudwatch"),
}
"""All that Ray's AWS provider reads, but for `aws_credentials`: keys belong to no file."""

SECRET = re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN|\b[0-9a-f]{32,}\b|[A-Za-z0-9+/]{40,}|(?:hf|ghp|gho)_[A-Za-z0-9]{20,}")


@pytest.fixture
def cluster() -> Config:
    return yaml.safe_load((AWS / "cluster.yaml").read_text())


@pytest.fixture
def scale() -> Scale:
    return load_scale(str(AWS / "scale.yaml"))


def problems(cluster: Config) -> list[str]:
    """What is wrong with a cluster's description, as far as it can be known without AWS."""
    try:
        validate_config(prepare_config(copy.deepcopy(cluster)))
    except (ValidationError, ValueError) as error:
        return [str(error).splitlines()[0]]
    found = [f"provider.{key}: unknown" for key in sorted(set(cluster["provider"]) - PROVIDER)]
    ec2 = botocore.session.get_session().get_service_model("ec2")
    for name, node_type in cluster["available_node_types"].items():
        asked = {**node_type["node_config"], "MinCount": 1, "MaxCount": 1}  # as Ray adds when it launches
        asked.pop("SubnetIds", None)  # Ray's own
        report = ParamValidator().validate(asked, ec2.operation_model("RunInstances").input_shape)
        if report.has_errors():
            found.append(f"{name}.node_config: {report.generate_report()}")
        spot = asked.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        if spot == (name == cluster["head_node_type"]):
            found.append(f"{name}.node_config.InstanceMarketOptions: the head is on demand, all others are spot")
    for command in start_commands(cluster):
        if not re.search(r"RAY_AUTH_MODE=token( \w+=\S+)* ray start", command):
            found.append(f"RAY_AUTH_MODE=token: missing in {command}")
    if SECRET.search(yaml.safe_dump(cluster)):
        found.append("a secret")
    return found


def start_commands(cluster: Config) -> Iterator[str]:
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        yield from (command for command in cluster[key] if "ray start" in command)


def test_the_cluster_has_no_known_problem(cluster: Config) -> None:
    assert problems(cluster) == []


def change(path: str, value: object) -> Callable[[Config], None]:
    def apply(cluster: Config) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            cluster = cluster[parent]
        cluster[last] = value

    return apply


def drop(path: str) -> Callable[[Config], None]:
    def apply(cluster: Config) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            cluster = cluster[parent]
        del cluster[last]

    return apply


GPU = "available_node_types.gpu"


@pytest.mark.parametrize(
    ("mutation", "named"),
    [
        (change("max_wokers", 3), "max_wokers"),
        (change("max_workers", "12"), "is not of type 'integer'"),
        (change("head_node_type", "haed"), "head_node_type"),
        (change("provider.regoin", "us-west-2"), "provider.regoin"),
        (change("provider.cache_stoped_nodes", False), "provider.cache_stoped_nodes"),
        (change("provider.aws_credentials", {"aws_access_key_id": "x"}), "provider.aws_credentials"),
        (change("auth.ssh_usr", "ubuntu"), "ssh_usr"),
        (change(f"{GPU}.max_worker", 3), "max_worker"),
        (change(f"{GPU}.min_workers", 99), "min_workers"),
        (change(f"{GPU}.resources.GPU", "one"), "is not of type 'integer'"),
        (drop(f"{GPU}.resources"), "'resources' is a required property"),
        (change(f"{GPU}.node_config.InstanceTyp", "p5.48xlarge"), "InstanceTyp"),
        (change(f"{GPU}.node_config.MetadataOptions", {"HttpToken": "required"}), "HttpToken"),
        (change(f"{GPU}.node_config.IamInstanceProfile", "rayograph-node"), "IamInstanceProfile"),
        (change(f"{GPU}.node_config.InstanceMarketOptions", {"MarketTyp": "spot"}), "MarketTyp"),
        (drop(f"{GPU}.node_config.InstanceMarketOptions"), "gpu.node_config.InstanceMarketOptions"),
        (
            change("available_node_types.head.node_config.InstanceMarketOptions", {"MarketType": "spot"}),
            "head.node_config.InstanceMarketOptions",
        ),
        (change("worker_start_ray_commands", ["ray start --address=$RAY_HEAD_IP:6379"]), "RAY_AUTH_MODE=token"),
        (change("setup_commands", ["export RAY_AUTH_TOKEN=" + "0123456789abcdef" * 4]), "a secret"),
        (change("setup_commands", ["export AWS_ACCESS_KEY_ID=AKIA" + "ABCDEFGH" * 2]), "a secret"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_in_the_cluster_is_found(mutation: Callable[[Config], None], named: str, cluster: Config) -> None:
    mutation(cluster)
    assert any(named in problem for problem in problems(cluster)), problems(cluster)


def test_nothing_in_these_files_looks_like_a_secret() -> None:
    for path in sorted((ROOT / "cluster").rglob("*.yaml")):
        assert not SECRET.search(path.read_text()), path


def test_every_profile_loads() -> None:
    for path in sorted((ROOT / "cluster").rglob("scale.yaml")):
        load_scale(str(path))


def test_ray_knows_the_flags_that_start_it(cluster: Config) -> None:
    for command in start_commands(cluster):
        start.make_context("start", shlex.split(command.partition("ray start ")[2]))
    with pytest.raises(Exception, match="dashbord"):
        start.make_context("start", ["--head", "--dashbord-host=127.0.0.1"])


def test_the_dashboard_is_for_the_head_alone(cluster: Config) -> None:
    (command,) = cluster["head_start_ray_commands"][1:]
    options = start.make_context("start", shlex.split(command.partition("ray start ")[2])).params
    assert options["dashboard_host"] == "127.0.0.1"
    assert options["head"]


def test_the_token_reaches_every_node_by_file_and_only_its_owner_may_read_it(cluster: Config) -> None:
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"  # where Ray looks for it everywhere
    assert any(
        command.startswith("test -s ~/.ray/auth_token && chmod 600") for command in cluster["initialization_commands"]
    )


def test_what_is_mounted_from_the_repository_is_there(cluster: Config) -> None:
    for local in cluster["file_mounts"].values():
        assert local.startswith("~") or (ROOT / local).is_file(), local


def test_a_worker_and_its_readers_fit_into_one_gpu_node(cluster: Config, scale: Scale) -> None:
    node = cluster["available_node_types"]["gpu"]["resources"]
    assert scale.gpus <= node["GPU"]
    assert scale.training.cpus_per_worker + scale.ingest.tasks * scale.ingest.cpus_per_task <= node["CPU"]
    assert scale.encode.cpus_per_actor <= node["CPU"]
    assert scale.sampling.cpus_per_replica <= node["CPU"]


def test_the_gpu_group_can_hold_the_whole_profile(cluster: Config, scale: Scale) -> None:
    """Nothing would refuse it later: an autoscaling cluster is waited for."""
    group = cluster["available_node_types"]["gpu"]
    gpus = group["max_workers"] * group["resources"]["GPU"]
    assert max(scale.training.workers[1], scale.encode.actors, scale.sampling.replicas[1]) * scale.gpus <= gpus
    assert cluster["max_workers"] >= sum(kind["max_workers"] for kind in cluster["available_node_types"].values())
    assert scale.ray.autoscaling


def test_every_recipe_can_be_trained_with_this_many_workers(scale: Scale) -> None:
    recipes = [
        stage
        for path in sorted((ROOT / "jobs").glob("*.py"))
        for stage in load_job(str(path)).stages.values()
        if isinstance(stage, Training)
    ]
    assert recipes
    for recipe in recipes:
        for workers in worker_counts(recipe, scale.training):
            micro, accumulation = micro_batch_and_accumulation(recipe, scale.training, workers)
            assert micro * accumulation * workers == recipe.global_batch_size


def test_an_unfilled_bucket_is_refused_by_name(scale: Scale, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    with pytest.raises(StorageError, match=r"s3://<bucket>/rayograph: .*Invalid bucket name"):
        open_store(scale.store).check_access()


def test_an_unfilled_region_is_refused_by_name(cluster: Config) -> None:
    with pytest.raises(InvalidRegionError, match="<region>"):
        AWSNodeProvider.bootstrap_config(prepare_config(cluster))
