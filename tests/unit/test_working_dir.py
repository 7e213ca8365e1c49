"""What `ray job submit --working-dir .` takes along, by Ray's own packaging."""

import logging
import shutil
import zipfile
from pathlib import Path

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

ROOT = Path(__file__).parents[2]
SECRETS = (
    ".env",
    ".env.local",
    ".netrc",
    "jobs/.env",
    "platform/rayograph/.netrc",
    "cluster/aws/key.pem",
    "auth_token",
)
NOT_FOR_JOBS = (
    ".git/config",
    ".ci/run",
    "tests/conftest.py",
    ".hypothesis/example",
    ".ruff_cache/x",
    "runs/digits/a.tar",
)
NEEDED = ("platform/rayograph/cli/__init__.py", "jobs/digits.py", "cluster/laptop/scale.yaml")


def packed(folder: Path, target: Path, *, gitignore: bool = True) -> zipfile.ZipFile:
    create_package(
        str(folder),
        target,
        include_gitignore=gitignore,
        excludes=get_runtime_env_default_excludes(),
        logger=logging.getLogger(__name__),
    )
    return zipfile.ZipFile(target)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The repository's own rules over files that must and must not go along."""
    folder = tmp_path / "checkout"
    for name in (*SECRETS, *NOT_FOR_JOBS, *NEEDED):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.mark.parametrize("gitignore", [True, False], ids=["with .gitignore", "RAY_RUNTIME_ENV_IGNORE_GITIGNORE=1"])
def test_no_secret_goes_along(gitignore: bool, checkout: Path, tmp_path: Path) -> None:
    with packed(checkout, tmp_path / "package.zip", gitignore=gitignore) as package:
        names = set(package.namelist())
    assert not names & {*SECRETS, *NOT_FOR_JOBS}
    assert set(NEEDED) <= names


def test_the_repository_is_a_small_working_directory(tmp_path: Path) -> None:
    with packed(ROOT, tmp_path / "package.zip") as package:
        names = package.namelist()
    assert set(NEEDED) <= set(names)
    assert not [name for name in names if name.startswith((".git/", ".venv/", "tests/")) or "_cache/" in name]
    assert (tmp_path / "package.zip").stat().st_size < 2_000_000
