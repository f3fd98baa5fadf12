"""The strict type check sees faults that would otherwise end an experiment at its report."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FAULTS = {
    "a record key renamed where it is written": (
        "orchestrator/confirm/comparison.py",
        "seed_sd=spread.sd",
        "sd=spread.sd",
    ),
    "a record key renamed where it is read": (
        "orchestrator/report/domain_section.py",
        "found.source_psnr.get(name)",
        "found.source_score.get(name)",
    ),
    "a misspelt attribute of a record": (
        "orchestrator/report/verdicts.py",
        "fmean(zero.scores)",
        "fmean(zero.score)",
    ),
    "a misspelt attribute of an estimate": (
        "orchestrator/cli/output.py",
        "low, high = plan.seconds_range",
        "low, high = plan.second_range",
    ),
    "a display passed as an experiment": (
        "orchestrator/cli/experiment_commands.py",
        "    _run(experiment, display)\n",
        "    _run(display, display)\n",
    ),
    "swapped arguments in the command line": (
        "orchestrator/cli/experiment_commands.py",
        '_print_plan(loaded, asked, "", as_json)',
        '_print_plan(asked, loaded, "", as_json)',
    ),
}


def statement_with(source: str, line: int) -> range:
    """Lines of the innermost statement that holds a line."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    inside = [range(node.lineno, (node.end_lineno or node.lineno) + 1) for node in found]
    return min((lines for lines in inside if line in lines), key=len)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """A copy of the packages with every fault, and the lines of each."""
    copy = tmp_path_factory.mktemp("seeded")
    for package in ("orchestrator", "trainables", "search_spaces"):
        ignored = shutil.ignore_patterns("__pycache__", "weights")
        shutil.copytree(ROOT / package, copy / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    places = {}
    for fault, (name, right, wrong) in FAULTS.items():
        source = (copy / name).read_text(encoding="utf-8")
        assert source.count(right) == 1, f"{right!r} must be in {name} once"
        (copy / name).write_text(source.replace(right, wrong), encoding="utf-8")
        places[fault] = name, source[: source.index(right) + len(right.rstrip())].count("\n") + 1
    sources = {name: (copy / name).read_text(encoding="utf-8") for name, _ in places.values()}
    return copy, {fault: (name, statement_with(sources[name], line)) for fault, (name, line) in places.items()}


@pytest.mark.types
def test_mypy_sees_each_of_six_faults_and_nothing_else(seeded):
    copy, places = seeded
    cache = ROOT / ".mypy_cache"  # what `make lint` has just checked is not checked again
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache]
    told = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    errors = re.findall(r"^(\S+?):(\d+): error: (.+)$", told.stdout, re.MULTILINE)
    seen = {fault: [] for fault in places}
    for file, line, message in errors:
        faults = [fault for fault, (name, lines) in places.items() if name == file and int(line) in lines]
        assert faults, f"{file}:{line}: {message}"
        seen[faults[0]].append(message)
    assert [fault for fault, messages in seen.items() if not messages] == [], told.stdout + told.stderr
