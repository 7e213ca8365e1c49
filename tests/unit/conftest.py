"""Settings that all unit tests share."""

import os
import random
import sys

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for small tensors, threads on shared cores mostly wait for each other

# A busy machine is no defect, and the same code gives the same answer each time. HYPOTHESIS_PROFILE=search looks
# for inputs that no run has seen; what it finds becomes an @example.
settings.register_profile("same each time", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same each time"))


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """What a test draws without a generator of its own is the same in every run, whichever tests ran before."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
