"""`rayograph trace`: what an image says, what its store adds, and whether both and a second drawing agree."""

import signal
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import yaml
from command import DIGITS
from cryptography.hazmat.primitives.asymmetric import ec
from marked import KINDS, RECORD, issued, marked, picture

from rayograph.cli import main
from rayograph.config import Scale
from rayograph.config.reading.files import load_job
from rayograph.pipeline.resolve import resolve
from rayograph.runs.artifact import RESOLVED
from rayograph.runs.digests import sha256
from rayograph.runs.stage_result import StageResult, commit
from rayograph.sampling.marking.c2pa import Signer
from rayograph.sampling.marking.record import record_in
from rayograph.shards.pixels.decode import render
from rayograph.storage import open_store

LINEAGE = ("pack", "train_autoencoder", "encode", "train_diffusion", "sample")
PLAN = b'{"samples": 1000}'


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """The command takes SIGTERM for itself and reads AWS_ENDPOINT_URL."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def stages(tmp_path):
    """The digits job down to its samples, committed without having been run."""
    found = resolve(load_job(DIGITS), Scale(), open_store(str(tmp_path / "store")))
    for name in LINEAGE:
        stage = found[name]
        files = [stage.artifact.write("notes.txt", name.encode())]
        if name == "sample":
            files.append(stage.artifact.write("request/plan.json", PLAN))
        commit(stage, StageResult(files=files), 0.0)
    return found


def digest(stage):
    return stage.artifact.committed().digest


@pytest.fixture
def record(stages):
    """What an image of these samples says."""
    return RECORD | {
        "artifact": stages["sample"].artifact.path,
        "model": digest(stages["train_diffusion"]),
        "data": [digest(stages["pack"])],
        "request": sha256(PLAN),
    }


@pytest.fixture
def kept(tmp_path):
    """Writes an image file; its path."""

    def write(record, kind="png", pixels=None):
        path = tmp_path / f"image.{kind}"
        path.write_bytes(marked(kind, record, pixels))
        return str(path)

    return write


@pytest.fixture
def again(monkeypatch):
    """A sampler that draws the picture; what it was asked for."""
    asked = []
    module = types.ModuleType("rayograph.sampling.reproduce")
    module.kind, module.pixels = "png", picture()

    def draw_again(artifact, number, endpoint_url, device):
        asked.append((artifact.uri, number, endpoint_url, device))
        return module.pixels, marked(module.kind, RECORD, module.pixels), RECORD

    module.draw_again, module.asked = draw_again, asked
    monkeypatch.setitem(sys.modules, "rayograph.sampling.reproduce", module)
    return module


def said(capsys, *arguments, code=0):
    """The lines of a command by their labels, each a list; and its line on standard error."""
    assert main(["trace", *arguments]) == code
    out, err = capsys.readouterr()
    assert err.count("\n") == (1 if code else 0)
    found = {}
    for line in out.splitlines():
        label, _, value = line.partition(" ")
        found.setdefault(label, []).append(value.strip())
    return found, err


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_says_its_model_data_request_seed_and_settings(capsys, kept, kind):
    found, _ = said(capsys, kept(RECORD, kind))
    assert found["artifact"] == [RECORD["artifact"]]
    assert (found["number"], found["seed"], found["class"]) == (["17"], [str(2**64 - 1)], ["3"])
    assert found["model"] == [RECORD["model"]]
    assert found["data"] == RECORD["data"]
    assert found["request"] == [RECORD["request"]]
    assert found["scheduler"] == ["dpmsolver++"]
    assert found["guidance_scale"] == ["1.4"]
    assert found["credentials"] == ["none"]
    assert "store" not in found


def test_nothing_in_a_record_reaches_the_terminal_as_a_command(capsys, kept):
    evil = "\x1b[2J\x9b31m\u202e\nmodel forged\u6f22"
    assert main(["trace", kept({"prompt": evil, "\x1b[1m": ["\x07"]})]) == 0
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines())
    assert "\nmodel" not in out
    assert "\u6f22" in out


def test_an_image_in_a_store_is_read_by_its_uri(capsys, kept, tmp_path, monkeypatch):
    path = kept(RECORD)
    assert said(capsys, f"file://{path}")[0]["number"] == ["17"]
    monkeypatch.chdir(tmp_path)
    assert said(capsys, "image.png")[0]["number"] == ["17"]
    assert said(capsys, "./image.png")[0]["number"] == ["17"]


def test_credentials_are_told_valid_or_not(capsys, tmp_path):
    signed = Signer(*issued(tmp_path, ec.generate_private_key(ec.SECP256R1()))).sign(marked("png"), "png")
    path = tmp_path / "signed.png"
    path.write_bytes(signed)
    (line,) = said(capsys, str(path))[0]["credentials"]
    assert line == "signed by Example Press (signer), Es256: valid, by an issuer that is in no trust list here"
    changed = bytearray(signed)
    changed[-30] ^= 1
    path.write_bytes(changed)
    (line,) = said(capsys, str(path))[0]["credentials"]
    assert line.startswith("signed by Example Press (signer), Es256: NOT VALID: ")
    assert "assertion.dataHash.mismatch" in line


def test_without_the_library_the_rest_is_told(capsys, kept, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    found, _ = said(capsys, kept(RECORD))
    assert found["number"] == ["17"]
    assert "not looked at: " in found["credentials"][0]
    assert "pip install 'rayograph[credentials]'" in found["credentials"][0]


def test_a_store_adds_the_commit_and_the_whole_lineage_with_digests(capsys, kept, record, stages, tmp_path):
    found, _ = said(capsys, kept(record), "--store", str(tmp_path / "store"))
    assert found["store"][0].startswith(f"{stages['sample'].artifact.uri}  committed 20")
    for name in LINEAGE:
        assert found[name] == [f"{stages[name].artifact.uri}  digest {digest(stages[name])}"]
    assert found["digests"] == ["the record's and the store's are the same"]


@pytest.mark.parametrize("key", ["model", "data", "request"])
def test_a_digest_that_disagrees_is_told_and_ends_with_code_2(capsys, kept, record, tmp_path, key):
    wrong = ["00" * 32] if key == "data" else "00" * 32
    found, err = said(capsys, kept(record | {key: wrong}), "--store", str(tmp_path / "store"), code=2)
    assert err.startswith(f"rayograph: {tmp_path}/image.png: differs from what the store says: {key}: the record says")
    assert "00" * 32 in found["digests"][0]
    assert str(record[key]).strip("[]'") in found["digests"][0]


@pytest.mark.parametrize("key", ["model", "data", "request"])
def test_a_digest_that_the_record_lacks_disagrees_too(capsys, kept, record, tmp_path, key):
    less = {name: value for name, value in record.items() if name != key}
    _, err = said(capsys, kept(less), "--store", str(tmp_path / "store"), code=2)
    assert f"{key}: the record says null, the store [" in err


def test_a_plan_that_changed_in_the_store_is_noticed(capsys, kept, record, stages, tmp_path):
    stages["sample"].artifact.write("request/plan.json", PLAN + b" ")
    _, err = said(capsys, kept(record), "--store", str(tmp_path / "store"), code=2)
    assert "request: the record says" in err


def test_an_ancestor_made_anew_since_is_noticed(capsys, kept, record, stages, tmp_path):
    artifact = stages["encode"].artifact
    artifact.store.delete(artifact.key("manifest.json"))
    commit(stages["encode"], StageResult(files=[artifact.write("notes.txt", b"other")]), 0.0)
    _, err = said(capsys, kept(record), "--store", str(tmp_path / "store"), code=2)
    assert f"{stages['train_diffusion'].artifact.uri}: was made from {artifact.uri} when that was" in err


def test_samples_without_a_commit_are_told_begun_or_missing(capsys, kept, record, stages, tmp_path):
    artifact = stages["sample"].artifact
    artifact.store.delete(artifact.key("manifest.json"))
    found, _ = said(capsys, kept(record), "--store", str(tmp_path / "store"))
    assert found["store"] == [f"{artifact.uri}  nothing there"]
    artifact.write(RESOLVED, yaml.safe_dump({}).encode())
    found, _ = said(capsys, kept(record), "--store", str(tmp_path / "store"))
    assert found["store"] == [f"{artifact.uri}  begun, not committed"]


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_again_the_same_pixels_are_said_to_be(capsys, kept, record, stages, again, tmp_path, kind):
    again.kind = kind
    target = tmp_path / f"new.{kind}"
    store = str(tmp_path / "store")
    found, _ = said(capsys, kept(record, kind), "--store", store, "--again", "--to", str(target))
    assert found["again"] == ["the same pixels"]
    assert found["to"] == [str(target)]
    assert np.array_equal(render(target.read_bytes(), "a"), render(marked(kind), "a"))
    assert record_in(target.read_bytes(), "a") == RECORD
    ((uri, number, endpoint_url, device),) = again.asked
    assert (uri, number, endpoint_url) == (stages["sample"].artifact.uri, 17, None)
    assert device in ("cpu", "cuda")


@pytest.mark.usefixtures("stages", "again")
@pytest.mark.parametrize(("kind", "most"), [("png", 1), ("webp", 8), ("jpeg", 8)])
def test_drawn_again_more_than_rounding_ends_with_code_2(capsys, kept, record, monkeypatch, tmp_path, kind, most):
    """What was drawn is changed by one number, not the file: an encoder would lose it."""
    uri, told = kept(record, kind), {}
    given = render(Path(uri).read_bytes(), "a")
    for difference in (most, most + 1):
        pixels = np.where(given > 127, given - difference, given + difference).astype(np.uint8)
        monkeypatch.setattr(
            "rayograph.commands.provenance.render",
            lambda data, name, p=pixels: p if name == "the image drawn again" else given,
        )
        told[difference] = said(
            capsys, uri, "--store", str(tmp_path / "store"), "--again", code=2 * (difference > most)
        )
    found, err = told[most]
    assert (found["again"], err) == ([f"pixels differ by up to {most} of 255, in 100.00% of them"], "")
    assert f"drawn again, pixels differ by up to {most + 1} of 255" in told[most + 1][1]


@pytest.mark.usefixtures("stages", "again")
def test_drawn_again_another_size_ends_with_code_2(capsys, kept, record, tmp_path):
    uri = kept(record, "png", picture()[:, :32])
    found, err = said(capsys, uri, "--store", str(tmp_path / "store"), "--again", code=2)
    assert found["again"] == ["drawn 64 × 48, the file is 32 × 48"]
    assert "drawn again, drawn 64 × 48" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--again"], "--again: expected --store URI too"),
        (["--to", "x.png"], "--to: expected --again too"),
    ],
)
def test_options_that_lack_another_are_refused(capsys, kept, arguments, message):
    found, err = said(capsys, kept(RECORD), *arguments, code=2)
    assert not found
    assert message in err


@pytest.mark.parametrize("uri", ["", "folder/", "s3://bucket", "s3://"])
def test_what_cannot_be_a_file_is_refused(capsys, uri):
    assert "expected a file, such as image.png or s3://bucket/image.png" in said(capsys, uri, code=2)[1]


def test_a_missing_file_or_one_that_is_no_image_is_refused_by_name(capsys, tmp_path):
    assert f"{tmp_path}/none.png" in said(capsys, str(tmp_path / "none.png"), code=2)[1]
    (tmp_path / "note.txt").write_text("hello")
    assert f"{tmp_path}/note.txt: expected a PNG, JPEG or WebP" in said(capsys, str(tmp_path / "note.txt"), code=2)[1]


@pytest.mark.parametrize("artifact", [None, 7, "", "../../etc", "/etc", "a//b"])
def test_a_record_cannot_lead_out_of_the_store(capsys, kept, tmp_path, stages, artifact):
    found, err = said(capsys, kept(RECORD | {"artifact": artifact}), "--store", str(tmp_path / "store"), code=2)
    assert "lineage" not in found
    assert "is no key" in err or "expected its record to name its artifact" in err
