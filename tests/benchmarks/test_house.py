"""The figures that describe the code, on a tree small enough to count by hand."""

import pytest

from benchmarks.code import house

CODE = '''
from typing import Any

Record = dict[str, Any]


def told(record: Record) -> dict[str, Any]:
    """Gives it back."""
    return record


def _score(values: list[float], _tell: Any) -> float:
    return max(values)
'''
TEST = """
def test_it(monkeypatch):
    monkeypatch.setattr("orchestrator.running._score", max)
    monkeypatch.setattr(running, "_tell", print)
    monkeypatch.setattr(running, "score", max)
"""


@pytest.fixture
def tree(tmp_path):
    for file, text in {
        "orchestrator/running.py": CODE,
        "orchestrator/ring.py": "",
        "tests/test_running.py": TEST,
    }.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    return house.Tree(tmp_path)


@pytest.mark.parametrize(
    ("figure", "expected"),
    {
        house.largest_folder: "2 (orchestrator)",
        house.ing_names: "100.0 %",
        house.untyped_records: "230.8",  # the alias, its use and the result, in 13 lines
        house.records_in_signatures: "1",
        house.any_in_signatures: "2",
        house.banned_words: "2",
        house.private_patches: "2",
        house.module_lines: "13 / 13",
        house.function_lines: "2.5 / 3",
    }.items(),
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_figures(tree, figure, expected):
    assert figure(tree) == expected
