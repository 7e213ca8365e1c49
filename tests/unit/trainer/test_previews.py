"""Previews: a picture that cannot be made is a note, never a black image, and never the end of a training."""

from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
import torch

from rayograph.models.finite import require_finite
from rayograph.runs.artifact import Artifact
from rayograph.storage import open_store
from rayograph.trainer.control_actor import Control
from rayograph.trainer.events import Busy, Note
from rayograph.trainer.previews import Preview
from rayograph.trainer.worker_config import WorkerConfig

PROGRESS = SimpleNamespace(images_seen=64)


class Learner:
    """Nothing to export."""

    def exports(self):
        return iter(())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_preview_that_is_not_finite_is_told_and_left_out(tmp_path, value):
    said = []
    control = create_autospec(Control, instance=True)
    control.put = said.append

    def picture(reader, models):
        require_finite("latents and pixels", ["sample 0", "sample 1"], torch.tensor([[0.0], [value]]))
        return b"png"

    artifact = Artifact(open_store(str(tmp_path)), "job/stage/key")
    assignment = create_autospec(WorkerConfig, instance=True, picture=picture, reader=None, artifact=artifact)
    Preview(assignment, 0, control)(Learner(), PROGRESS, {})
    assert said[0] == Busy("draws a preview")
    (note,) = said[1:]
    assert isinstance(note, Note)
    assert note.text.startswith("no preview at 64 images: sample 1: expected finite latents and pixels")
    assert artifact.names("previews/") == []
