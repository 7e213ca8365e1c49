"""One tiny training, shared by the tests that only sample from it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import command
import pytest


@pytest.fixture(scope="session")
def trained_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with every stage but sample and evaluate committed."""
    store = tmp_path_factory.mktemp("trained") / "store"
    command.run(":train_diffusion", store)
    return store


@pytest.fixture
def new_store(trained_store: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies of it under names of their own."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(trained_store, tmp_path / name))

    return copy
