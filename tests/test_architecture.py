"""The house rules, held by looking at the source."""

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import needs
import pytest

ROOT = Path(__file__).parents[1]
PLATFORM = ROOT / "platform"
PACKAGE = PLATFORM / "rayograph"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 300
MOST_FILES, MOST_LINES_OF_A_ROOM = 15, 3000
MOST_LINES_WITH_ANY = 195


@cache
def parsed(path):
    return ast.parse(path.read_text(), str(path))


def calls(path):
    """Every call in a file, as (dotted name, node)."""
    return [(ast.unparse(node.func), node) for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]


def imported(path):
    """Every module named in an import, wherever in the file it stands."""
    names = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def keywords(call):
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def offenders(broken):
    return [str(path.relative_to(ROOT)) for path in SOURCES if broken(path)]


def test_there_are_sources_to_look_at():
    assert len(SOURCES) > 50


def test_platform_is_a_source_root_and_no_package():
    """`platform` is a module of the standard library, which an importable folder of that name would hide."""
    assert [path.name for path in PLATFORM.glob("*.py")] == []
    assert not (PLATFORM / "__init__.py").exists()


def test_no_folder_holds_more_than_a_reader_keeps_in_mind():
    files = {}
    for path in SOURCES:
        files.setdefault(path.parent, []).append(path)
    assert {str(room): len(paths) for room, paths in files.items() if len(paths) > MOST_FILES} == {}
    lines = {room: sum(len(path.read_text().splitlines()) for path in paths) for room, paths in files.items()}
    assert {str(room): count for room, count in lines.items() if count > MOST_LINES_OF_A_ROOM} == {}


def test_no_two_test_files_share_a_name():
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, files in names.items() if files > 1] == []


def test_every_folder_of_the_package_is_a_package():
    folders = {path.parent for path in SOURCES}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_standard_librarys_platform_is_the_one_imported_from_the_root():
    program = "import platform, uuid; print(platform.python_version())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == sys.version.split()[0]


def test_layers_import_only_downwards():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_the_command_line_loads_nothing_heavy():
    program = (
        "import sys; import rayograph.cli; heavy = {'tokenizers', 'transformers'}; "
        "heavy |= {'torch', 'ray', 'diffusers', 'deepspeed', 'wandb', 'boto3', 'sklearn'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "[]"


def test_no_source_file_is_longer_than_three_hundred_lines():
    assert offenders(lambda path: len(path.read_text().splitlines()) > MOST_LINES) == []


def test_every_module_says_what_it_is_about():
    assert offenders(lambda path: not ast.get_docstring(parsed(path))) == []


def test_no_module_works_when_it_is_imported():
    """At the top of a file stand definitions: no calls for their effect, no loops, no blocks but the main guard."""

    def works(node):
        if isinstance(node, ast.Expr):
            return not isinstance(node.value, ast.Constant)
        if isinstance(node, ast.If):
            return not ast.unparse(node.test).startswith(("__name__", "TYPE_CHECKING"))
        return isinstance(node, ast.For | ast.While | ast.With | ast.Try | ast.Assert | ast.Delete)

    assert offenders(lambda path: any(works(node) for node in parsed(path).body)) == []


def test_what_a_value_is_is_said_where_it_is_known():
    """`Any` is for what is only known at run time: a record is a TypedDict or `json_types`, a cell an object."""
    lines = [line for path in SOURCES for line in path.read_text().splitlines() if re.search(r"\bAny\b", line)]
    assert len(lines) <= MOST_LINES_WITH_ANY


@pytest.mark.parametrize("module", ["pickle", "cloudpickle", "dill", "shelve", "joblib", "marshal"])
def test_nothing_is_unpickled_by_us(module):
    assert offenders(lambda path: any(name.split(".")[0] == module for name in imported(path))) == []


def test_no_array_is_read_with_pickles_allowed():
    def allows(call):
        return keywords(call).get("allow_pickle", "False") != "False"

    assert offenders(lambda path: any(allows(call) for _, call in calls(path))) == []


def test_torch_loads_weights_only():
    def loads_anything(name, call):
        return name.endswith("torch.load") and keywords(call).get("weights_only") != "True"

    assert offenders(lambda path: any(loads_anything(*found) for found in calls(path))) == []
    assert any(name == "torch.load" for path in SOURCES for name, _ in calls(path))


def test_yaml_is_read_safely():
    assert offenders(lambda path: any(name in ("yaml.load", "yaml.full_load") for name, _ in calls(path))) == []


def test_only_the_engine_and_its_state_know_deepspeed():
    users = offenders(lambda path: any(name.split(".")[0] == "deepspeed" for name in imported(path)))
    assert users == [f"platform/rayograph/training/engine/{name}.py" for name in ("engine", "state")]


def test_only_ray_compat_reaches_into_rays_private_modules():
    def private(name):
        parts = name.split(".")
        return parts[0] == "ray" and any(part.startswith("_") for part in parts)

    assert offenders(lambda path: any(map(private, imported(path)))) == ["platform/rayograph/ray_compat.py"]


def test_only_the_models_know_diffusers():
    users = offenders(lambda path: any(name.split(".")[0] == "diffusers" for name in imported(path)))
    assert users
    assert {Path(user).parts[2] for user in users} == {"models"}


def test_no_file_is_called_after_having_no_idea():
    names = {"utils", "util", "helpers", "helper", "misc", "common", "tools"}
    assert offenders(lambda path: path.stem in names) == []


def test_the_latents_scale_is_measured_and_never_written_into_the_source():
    assert offenders(lambda path: "0.18215" in path.read_text() or "0.13025" in path.read_text()) == []


def test_no_user_input_is_checked_by_assert():
    """`python -O` drops asserts. Those that only tell the type checker what it cannot see compare with None."""

    def checks(node):
        return isinstance(node, ast.Assert) and "is not None" not in ast.unparse(node.test)

    assert offenders(lambda path: any(checks(node) for node in ast.walk(parsed(path)))) == []


@pytest.mark.parametrize("file", [".ci/run", "README.md"])
def test_every_package_that_tests_can_use_is_installed_by_ci_and_named_to_the_reader(file):
    words = set(re.split(r"[^\w.+-]+", (ROOT / file).read_text()))
    assert set(needs.PACKAGES.values()) <= words
