"""Every benchmark starts, and none imports from another one."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts): ast.parse(file.read_text(encoding="utf-8"))
    for file in sorted((ROOT / "benchmarks").rglob("*.py"))
}
SCRIPTS = [name for name, tree in MODULES.items() if "main" in {getattr(node, "name", "") for node in tree.body}]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_benchmark_starts_and_says_what_it_measures(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main()
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert ast.get_docstring(MODULES[name]).splitlines()[0] in said
    assert f"python -m {name}" in said, "the help should hold the command"


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("benchmarks"):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("benchmarks"))


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_imports_from_common_and_its_own_folder_and_never_a_benchmark(name):
    own = name.rpartition(".")[0]
    found = list(imported(MODULES[name]))
    assert [module for module in found if module in SCRIPTS] == []
    others = (module for module in found if module != "benchmarks" and not module.startswith("benchmarks.common"))
    assert [module for module in others if module != own and not module.startswith(f"{own}.")] == []


def test_all_benchmarks_are_listed():
    """A benchmark that README does not name is found by nobody."""
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    paths = [name.removeprefix("benchmarks.").replace(".", "/") + ".py" for name in SCRIPTS]
    assert [path for path in paths if f"`{path}" not in page] == []
