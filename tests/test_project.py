"""What a newcomer and a package index read: licence, declared packages, CI, CONTRIBUTING's walks."""

import ast
import re
import runpy
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("orchestrator", "trainables", "search_spaces")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
OPTIONAL = {"torchmetrics": "lpips", "h5py": "fastmri", "mlflow": "mlflow", "wandb": "wandb"} | dict.fromkeys(
    ("onnx", "onnxruntime", "onnxscript"), "onnx"
)
"""What is imported where it is needed alone, and the extra that brings it."""

DISTRIBUTIONS = {"mlflow": "mlflow-skinny"}
"""Distributions of imports that have other names."""


def names(requirements):
    """Distributions as the index spells them."""
    return {re.match(r"[\w.-]+", one)[0].lower().replace("_", "-") for one in requirements}


def imported(package):
    """Top-level names that a package imports, wherever in its files."""
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module.partition(".")[0]


def test_what_is_imported_is_declared():
    distributions = packages_distributions()
    foreign = {name for package in PACKAGES for name in imported(package)} - {*sys.stdlib_module_names, *PACKAGES}
    brought_by = {name: names(distributions[name]) for name in foreign - OPTIONAL.keys()}
    declared = names(PROJECT["dependencies"])
    assert {name: found for name, found in brought_by.items() if not found & declared} == {}
    for name, extra in OPTIONAL.items():
        assert name in foreign
        assert DISTRIBUTIONS.get(name, name) in names(PROJECT["optional-dependencies"][extra])


def test_what_is_declared_is_imported():
    distributions = packages_distributions()
    used = {one for package in PACKAGES for name in imported(package) for one in names(distributions.get(name, []))}
    assert names(PROJECT["dependencies"]) - used == set()


def test_the_licence_is_the_one_that_is_declared():
    (file,) = PROJECT["license-files"]
    text = (ROOT / file).read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_links_of_the_package_description_are_absolute():
    page = runpy.run_path(str(ROOT / "setup.py"))["description"]()
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert [link for link in links if not re.match(r"https?://|#", link)] == []
    start = f"{PROJECT['urls']['Repository']}/blob/main/"
    files = {link.removeprefix(start).partition("#")[0] for link in links if link.startswith(start)}
    assert "docs/method.md" in files
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_ci_runs_targets_that_exist_on_every_python_that_is_promised():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    targets = [target for step in steps for target in re.findall(r"\bmake ([\w-]+)", step)]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"lint", "test", "test-s3", "test-browser", "test-kill"} <= set(targets)
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
    promised = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"


@pytest.mark.parametrize("title", ["Where a learning rate goes", "Where a scene goes"])
def test_a_walk_through_the_code_is_short_and_leads_along_files(title):
    section = CONTRIBUTING.partition(f"### {title}\n")[2].partition("\n#")[0]
    files = re.findall(r"^\d+\. `([^`]+)`", section, re.MULTILINE)
    assert 1 < len(files) <= 8
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_files_that_contributing_names_exist():
    named = re.findall(r"`((?:orchestrator|trainables|search_spaces|tests|benchmarks|docs)/[\w/.]+)`", CONTRIBUTING)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []
