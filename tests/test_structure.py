"""How the packages hang together."""

import ast
import pickle
import re
import tomllib
from pathlib import Path

import pytest

from orchestrator.foundation.file_types import LISTS, RASTER_INPUTS
from trainables import errors
from trainables.version import __version__

ROOT = Path(__file__).parents[1]
MAY_NOT_IMPORT = {
    "trainables": {"search_spaces", "orchestrator", "ray", "optuna", "tests", "benchmarks"},
    "search_spaces": {"orchestrator", "ray", "optuna", "tests", "benchmarks"},
    "orchestrator": {"tests", "benchmarks"},
}
ROOMS = {
    "orchestrator": [
        "cli",
        "cluster_jobs",
        "estimate",
        "pipeline",
        "report",
        "tracking",
        "jobs",
        "finish",
        "confirm",
        "search",
        "analysis",
        "training",
        "protocols",
        "apply",
        "archive.estimate",
        "archive.report",
        "archive.batch",
        "archive.places",
        "archive.ledger",
        "public_sets",
        "data",
        "image_sets",
        "rasters",
        "dicom",
        "archive.products",
        "archive.scene",
        "runtime",
        "experiment",
        "foundation",
    ],
    "trainables": [
        "samples",
        "classical",
        "domain_shift",
        "loops",
        "metrics",
        "inference",
        "network",
        "images",
        "degradation",
    ],
}
"""Rooms from the top: a module imports from its own room and from those below."""

OWNERS = {
    "ray": {"cluster_jobs", "runtime", "training", "search", "data"},
    "typer": {"cli"},
    "rich": {"cli", "runtime"},
    "optuna": {"search", "report"},
}
"""Rooms of the orchestrator that may import a library."""

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


def room_of(module, package):
    """A module's room; empty for modules beside the rooms."""
    inner = module.removeprefix(f"{package}.")
    return next((room for room in ROOMS[package] if inner == room or inner.startswith(f"{room}.")), "")


def modules_imported(file):
    """Full names of what a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", ROOMS)
def test_a_room_imports_from_rooms_below_it_alone(package):
    wrong, seen = set(), set()
    for file in (ROOT / package).rglob("*.py"):
        here = str(file.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        room = room_of(here, package)
        seen.add(room)
        for name in modules_imported(file):
            there = room_of(name, package) if name.startswith(f"{package}.") else ""
            if room and there and ROOMS[package].index(there) < ROOMS[package].index(room):
                wrong.add(f"{here}: {name}")
    assert wrong == set()
    assert seen - {""} == set(ROOMS[package])


@pytest.mark.parametrize("library", OWNERS)
def test_libraries_stay_in_their_rooms(library):
    using = {
        room_of(str(file.relative_to(ROOT).with_suffix("")).replace("/", "."), "orchestrator")
        for file in (ROOT / "orchestrator").rglob("*.py")
        if library in imported(file)
    }
    assert using == OWNERS[library]


def imported_at_once(file):
    """Modules that a file imports when it is imported itself."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_processes_without_a_torchvision_network_do_not_load_torchvision():
    """It takes two seconds to import."""
    own = {"trainables.network.torchvision_trunks"}
    for package in ROOMS:
        for file in (ROOT / package).rglob("*.py"):
            if str(file.relative_to(ROOT).with_suffix("")).replace("/", ".") not in own:
                modules = set(imported_at_once(file))
                assert not modules & own, file
                assert not any(module.startswith("torchvision") for module in modules), file


def texts_compared(file):
    """Texts of a file, but for parts of names that it puts together."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value.lower()


def test_one_file_decides_by_endings_what_an_input_is():
    naming = {
        str(file.relative_to(ROOT / "orchestrator"))
        for file in (ROOT / "orchestrator").rglob("*.py")
        if (RASTER_INPUTS | LISTS).intersection(texts_compared(file))
    }
    assert naming == {"foundation/file_types.py"}


@pytest.mark.parametrize("package", ROOMS)
def test_every_room_says_what_it_is(package):
    for room in ROOMS[package]:
        file = ROOT / package / room.replace(".", "/") / "__init__.py"
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), f"{file} needs a sentence"


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
    assert set(told["packages"]["find"]["include"]) == {f"{package}*" for package in MAY_NOT_IMPORT}
    folders = {file.parent for package in MAY_NOT_IMPORT for file in (ROOT / package).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
    for package in MAY_NOT_IMPORT:
        assert (ROOT / package / "py.typed").exists()
        assert "py.typed" in told["package-data"][package]
