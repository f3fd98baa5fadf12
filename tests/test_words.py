"""Names and docstrings use the field's terms."""

import ast
from pathlib import Path

import pytest

from benchmarks.code.house import INSTEAD, identifiers

ROOT = Path(__file__).parents[1]
CLAUSES = {"How", "Of", "That", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why"}
"""First words of a clause, where a docstring names what a thing is or does."""

MODULES = sorted(
    file.relative_to(ROOT)
    for package in ("orchestrator", "search_spaces", "trainables")
    for file in (ROOT / package).rglob("*.py")
)


def docstrings(tree):
    """Strings that document a module, class, function or value, with their line."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                text = statement.value.value
                if isinstance(text, str):
                    yield statement.lineno, text.strip()


def wrong_names(source):
    return [
        f"{line}: {name}: {INSTEAD[word]}"
        for line, name in identifiers(ast.parse(source))
        if (word := name.lstrip("_").lower()) in INSTEAD
    ]


def wrong_starts(source):
    return [
        f"{line}: {text.partition('.')[0]}"
        for line, text in docstrings(ast.parse(source))
        if text and text.split()[0].rstrip(",:;") in CLAUSES
    ]


def test_the_checks_see_what_they_are_for():
    source = (
        '"""What it is."""\ndef _tell(told, *, site=1):\n    """Reports."""\n    return [each for each in told.made]\n'
    )
    assert [line.rpartition(" ")[0] for line in wrong_starts(source)] == ["1: What it"]
    names = {line.split(": ")[1] for line in wrong_names(source)}
    assert names == {"_tell", "told", "site", "each", "made"}
    assert wrong_names("import site\nsite.getsitepackages()\nstream.tell()\n") == []


@pytest.mark.parametrize("check", [wrong_names, wrong_starts])
def test_code_uses_the_terms_of_the_field(check):
    assert len(MODULES) > 200
    wrong = [f"{file}:{line}" for file in MODULES for line in check((ROOT / file).read_text(encoding="utf-8"))]
    assert wrong == []
