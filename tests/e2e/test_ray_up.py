"""`ray up cluster/aws/cluster.yaml` as far as an imitation of AWS goes: Ray's own preparation and its launches."""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import command
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.commands import _set_up_config_for_head_node
from ray.autoscaler._private.util import prepare_config

REGION = "us-west-2"


@dataclass(frozen=True)
class Prepared:
    """What Ray makes of the file before it launches anything."""

    written: dict[str, Any]
    config: dict[str, Any]
    provider: AWSNodeProvider

    def launch(self, name: str) -> Any:
        """One node of a kind, described by EC2."""
        node_config = copy.deepcopy(self.config["available_node_types"][name]["node_config"])
        (instance,) = self.provider.create_node(node_config, {"ray-node-type": name}, 1)
        found = boto3.client("ec2", region_name=REGION).describe_instances(InstanceIds=[instance])
        return found["Reservations"][0]["Instances"][0]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    written = yaml.safe_load((command.ROOT / "cluster/aws/cluster.yaml").read_text().replace("<region>", REGION))
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray writes its key pair below it
        iam = boto3.client("iam")
        for profile in ("rayograph-head", "rayograph-node"):
            iam.create_instance_profile(InstanceProfileName=profile)
        bare = prepare_config(copy.deepcopy(written))
        config = AWSNodeProvider.bootstrap_config(bare)
        yield Prepared(written, config, AWSNodeProvider(config["provider"], config["cluster_name"]))


def test_the_resources_are_those_that_ec2_tells(prepared: Prepared) -> None:
    bare = copy.deepcopy(prepared.written)
    for node_type in bare["available_node_types"].values():
        node_type["resources"] = {}
    told = AWSNodeProvider.fillout_available_node_types_resources(bare)["available_node_types"]
    for name in ("gpu", "cpu"):
        ours = prepared.written["available_node_types"][name]["resources"]
        found = told[name]["resources"]
        assert ours == {kind: found[kind] for kind in ("CPU", "GPU") if kind in found}


def test_the_head_is_on_demand_and_the_others_are_spot(prepared: Prepared) -> None:
    head = prepared.launch("head")
    assert "InstanceLifecycle" not in head
    assert head["IamInstanceProfile"]["Arn"].endswith("/rayograph-head")
    for name in ("gpu", "cpu"):
        node = prepared.launch(name)
        assert node["InstanceLifecycle"] == "spot"
        assert node["IamInstanceProfile"]["Arn"].endswith("/rayograph-node")


def test_only_ssh_comes_in_from_outside(prepared: Prepared) -> None:
    groups = {
        group
        for node_type in prepared.config["available_node_types"].values()
        for group in node_type["node_config"]["SecurityGroupIds"]
    }
    found = boto3.client("ec2", region_name=REGION).describe_security_groups(GroupIds=sorted(groups))
    rules = [rule for group in found["SecurityGroups"] for rule in group["IpPermissions"]]
    open_to_all = [(rule["FromPort"], rule["ToPort"]) for rule in rules if rule["IpRanges"] or rule["Ipv6Ranges"]]
    assert open_to_all == [(22, 22)]
    assert all(pair["GroupId"] in groups for rule in rules for pair in rule["UserIdGroupPairs"])


def test_the_head_hands_the_token_on_to_its_workers(prepared: Prepared) -> None:
    config, file = _set_up_config_for_head_node(copy.deepcopy(prepared.config), prepared.provider, False)
    with file:
        handed = json.loads(Path(file.name).read_text())
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert handed["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in line for line in handed["initialization_commands"])
