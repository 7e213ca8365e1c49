"""Models on the Hugging Face Hub: one goes there, and comes in again from there."""

import fake_hub
import huggingface_hub._commit_api
import published_checkpoint as written
import pytest
import torch
from huggingface_hub import HfFileSystem, constants

from rayograph.cli import main
from rayograph.commands.model_import import import_folder
from rayograph.config import Sampler, Scale
from rayograph.errors import StorageError
from rayograph.runs.artifact import Artifact
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.storage import open_store
from rayograph.storage.hub import repository_of

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def server(monkeypatch):
    with fake_hub.serving() as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_URL_HOSTS", constants.HF_URL_HOSTS | {"127.0.0.1"})
        monkeypatch.setattr(huggingface_hub._commit_api, "is_xet_available", lambda: False)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        HfFileSystem.clear_instance_cache()
        yield found
    HfFileSystem.clear_instance_cache()


def drawn(uri):
    model = DiffusionModel.load(Artifact(open_store(uri), ""), "cpu")
    return model.draw(0, torch.arange(2), {}, Sampler(num_inference_steps=2))[0]


def test_a_model_is_pushed_and_imported_again(tmp_path, server, capsys):
    scale = Scale(store=str(tmp_path / "store"))
    written.save_unconditional(tmp_path / "ldm")
    uri, _ = import_folder(str(tmp_path / "ldm"), scale)
    assert main(["push", uri, "hf://somebody/ldm"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f"{server.url}/somebody/ldm/commit/{fake_hub.SHA}"
    files = set(server.files["somebody/ldm"])
    assert {"model_index.json", "pipeline.py", "README.md", "unet/config.json", "vae/config.json"} <= files
    assert "hf_secret" not in said.out + said.err
    assert not any(b"hf_secret" in data for data in server.files["somebody/ldm"].values())
    assert main(["import", "hf://somebody/ldm", "--store", scale.store, "--name", "again"]) == 0
    again = capsys.readouterr().out.splitlines()[0]
    assert torch.equal(drawn(uri), drawn(again))


def test_what_the_hub_refuses_is_one_line_without_the_token(tmp_path, server, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    scale = Scale(store=str(tmp_path / "store"))
    written.save_unconditional(tmp_path / "ldm")
    uri, _ = import_folder(str(tmp_path / "ldm"), scale)
    capsys.readouterr()
    assert main(["push", uri, "hf://somebody/ldm"]) == 2
    err = capsys.readouterr().err
    assert "hf://somebody/ldm: push failed (" in err
    assert "hf_wrong" not in err
    assert main(["import", "hf://somebody/nothing", "--store", scale.store]) == 2
    assert "hf_wrong" not in capsys.readouterr().err


@pytest.mark.parametrize("uri", ["hf://ldm", "hf://a/b/c", "hf://", "hf://a/..", "hf://datasets/a/b"])
def test_a_place_that_is_no_repository_is_refused(uri):
    with pytest.raises(StorageError, match="expected hf://owner/name"):
        repository_of(uri)
