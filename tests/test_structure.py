"""How the packages hang together."""

import ast
import pickle
import re
import tomllib
from pathlib import Path

import pytest

from trainables import errors
from trainables.version import __version__

ROOT = Path(__file__).parents[1]
MAY_NOT_IMPORT = {
    "trainables": {"search_spaces", "orchestrator", "ray", "optuna", "tests"},
    "search_spaces": {"orchestrator", "ray", "optuna", "tests"},
    "orchestrator": {"tests"},
}
ERRORS = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, Exception)]


def imported(file):
    """Top-level packages that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", MAY_NOT_IMPORT)
def test_imports_run_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert len(files) > 5
    wrong = {f"{file.name}: {name}" for file in files for name in imported(file) if name in MAY_NOT_IMPORT[package]}
    assert wrong == set()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_errors_survive_the_trip_between_processes(error):
    again = pickle.loads(pickle.dumps(error("one message")))
    assert type(again) is error
    assert str(again) == "one message"
    assert again.exit_code == error.exit_code
    assert issubclass(error, errors.RayScaleError)


def test_exit_codes_tell_wrong_usage_from_failure():
    assert {error.__name__: error.exit_code for error in ERRORS} == {
        "RayScaleError": 1,
        "RunError": 1,
        "PartlyDoneError": 1,
        "DivergedError": 1,
        "UnreadableImageError": 1,
        "UsageError": 2,
        "StorageError": 2,
        "ImageSetError": 2,
    }


def test_one_place_states_the_version():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in told["project"]["dynamic"]
    assert told["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "trainables.version.__version__"}
    newest = re.search(r"^## \[?([0-9.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == __version__


def test_every_package_is_shipped_typed():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        str(file.parent.relative_to(ROOT)).replace("/", ".")
        for p in MAY_NOT_IMPORT
        for file in (ROOT / p).rglob("*.py")
    }
    assert set(told["packages"]) == folders
    for package in MAY_NOT_IMPORT:
        assert (ROOT / package / "py.typed").exists()
        assert "py.typed" in told["package-data"][package]
