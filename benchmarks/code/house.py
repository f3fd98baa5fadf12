"""Size, names and types of the code at git revisions and in the working tree, as a Markdown table.

    python -m benchmarks.code.house 15adafd HEAD
    python -m benchmarks.code.house 15adafd .

``.`` is the working tree. Everything is counted in the syntax tree of the three packages, but for the names that tests
patch, which are counted in ``tests``.
"""

import argparse
import ast
import io
import math
import re
import subprocess
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
PACKAGES = ("orchestrator", "trainables", "search_spaces")
INSTEAD = {
    "told": "result, record or message",
    "tell": "report_progress",
    "teller": "report_progress",
    "board": "ProgressActor",
    "news": "updates",
    "say": "log",
    "stands": "is_complete",
    "there": "existing",
    "one": "the thing's own name",
    "each": "the thing's own name",
    "wish": "option",
    "wishes": "options",
    "meeting": "rendezvous",
    "arrive": "rendezvous",
    "together": "rendezvous",
    "witness": "ConsistencyObserver",
    "divided": "Split",
    "partdone": "PartFinished",
    "site": "RunContext",
    "past": "SceneHistory",
    "made": "output",
    "looked_after": "health_check_interval",
    "liveliest": "highest_contrast",
}
"""Identifiers, without leading underscores and in small letters, with the term to use instead."""

LIBRARY = {"stream.tell"}
"""Methods of Python's own objects that have a word to replace as their name."""


class Tree:
    """The Python files of a checkout, parsed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        files = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
        self.sources = {file: file.read_text(encoding="utf-8") for file in files}
        self.modules = {file: ast.parse(source) for file, source in self.sources.items()}
        self.nodes = [node for module in self.modules.values() for node in ast.walk(module)]
        self.lines = sum(source.count("\n") for source in self.sources.values())

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method."""
        return (node for node in self.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    def named(self) -> list[str]:
        """Names of the modules, without packages' own files."""
        return [file.stem for file in self.sources if file.stem != "__init__"]


def identifiers(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name that a module defines or uses, with its line, but for the modules and methods of libraries."""
    imported = {name.name for node in ast.walk(module) if isinstance(node, ast.Import) for name in node.names}
    for node in ast.walk(module):
        for attribute in ("id", "attr", "arg", "name", "asname"):
            name = getattr(node, attribute, None)
            if isinstance(name, str) and name not in imported and not _is_library(node):
                yield getattr(node, "lineno", 0), name


def largest_folder(tree: Tree) -> str:
    """Modules in the folder that has most of them."""
    folders = Counter(file.parent for file in tree.sources if file.stem != "__init__")
    folder, count = folders.most_common(1)[0]
    return f"{count} ({folder.relative_to(tree.root)})"


def ing_names(tree: Tree) -> str:
    """Share of module names that end in -ing."""
    names = tree.named()
    return f"{100 * sum(name.endswith('ing') for name in names) / len(names):.1f} %"


def untyped_records(tree: Tree) -> str:
    """`dict[str, Any]` per 1,000 lines; a name that stands for it counts wherever it is used."""
    return f"{1000 * _uses(tree, 'dict[str, Any]') / tree.lines:.1f}"


def untyped_mappings(tree: Tree) -> str:
    """`Mapping[str, Any]` per 1,000 lines, counted in the same way."""
    return f"{1000 * _uses(tree, 'Mapping[str, Any]') / tree.lines:.1f}"


def any_in_signatures(tree: Tree) -> str:
    """Functions with `Any` among the types of arguments or result."""
    return str(sum(any("Any" in _names(hint) for hint in _hints(function)) for function in tree.functions()))


def records_in_signatures(tree: Tree) -> str:
    """Public functions with `dict[str, Any]` among the types of arguments or result."""
    public = (function for function in tree.functions() if not function.name.startswith("_"))
    return str(sum(any("dict[str, Any]" in ast.unparse(hint) for hint in _hints(function)) for function in public))


def banned_words(tree: Tree) -> str:
    """How often an identifier is a banned word."""
    names = (name for module in tree.modules.values() for _, name in identifiers(module))
    return str(sum(name.lstrip("_").lower() in INSTEAD for name in names))


def private_patches(tree: Tree) -> str:
    """Private names that tests replace."""
    files = (tree.root / "tests").rglob("*.py")
    calls = (node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    return str(sum(_patched(call).rpartition(".")[2].startswith("_") for call in calls if isinstance(call, ast.Call)))


def module_lines(tree: Tree) -> str:
    """Median and 95th percentile of the lines of a module, empty files left out."""
    return _spread([source.count("\n") for source in tree.sources.values() if source.strip()])


def function_lines(tree: Tree) -> str:
    """Median and 95th percentile of the lines of a function, its docstring included."""
    return _spread([(function.end_lineno or function.lineno) - function.lineno + 1 for function in tree.functions()])


ROWS = {
    "modules in the largest folder": largest_folder,
    "module names in -ing": ing_names,
    "`dict[str, Any]` per 1,000 lines": untyped_records,
    "`Mapping[str, Any]` per 1,000 lines": untyped_mappings,
    "public functions that take or give `dict[str, Any]`": records_in_signatures,
    "functions with `Any` in their signature": any_in_signatures,
    "identifiers that are banned words": banned_words,
    "private names patched by tests": private_patches,
    "lines of a module, median / p95": module_lines,
    "lines of a function, median / p95": function_lines,
    "lines": lambda tree: f"{tree.lines:,}",
}


def checkout(revision: str, folder: Path) -> Path:
    """Unpacks a git revision; the working tree is taken where it is."""
    if revision == ".":
        return ROOT
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(folder / revision, filter="data")
    return folder / revision


def table(revisions: Sequence[str]) -> str:
    """A row per figure and a column per revision."""
    with tempfile.TemporaryDirectory() as folder:
        trees = [Tree(checkout(revision, Path(folder))) for revision in revisions]
        rows = [[name, *(figure(tree) for tree in trees)] for name, figure in ROWS.items()]
    head = ["", *("working tree" if revision == "." else revision for revision in revisions)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, [":---", *("---:" for _ in revisions)], *rows])


def _uses(tree: Tree, written: str) -> int:
    aliases = {
        node.targets[0].id
        for node in tree.nodes
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and ast.unparse(node.value) == written
    }
    subscripts = sum(isinstance(node, ast.Subscript) and ast.unparse(node) == written for node in tree.nodes)
    return subscripts + sum(isinstance(node, ast.Name) and node.id in aliases for node in _all_hints(tree))


def _all_hints(tree: Tree) -> Iterator[ast.AST]:
    hints = [hint for function in tree.functions() for hint in _hints(function)]
    hints += [node.annotation for node in tree.nodes if isinstance(node, ast.AnnAssign)]
    return (node for hint in hints for node in ast.walk(hint))


def _hints(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    given = function.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    hints = [argument.annotation for argument in arguments if argument is not None]
    return [hint for hint in [*hints, function.returns] if hint is not None]


def _names(hint: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(hint) if isinstance(node, ast.Name)}


def _is_library(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node) in LIBRARY


def _patched(call: ast.Call) -> str:
    """The name that a test replaces by this call; empty if it replaces none."""
    written = ast.unparse(call.func)
    if not re.search(r"(monkeypatch|patch|context|\bm)\.(setattr|object)$|(^|\.)patch$", written):
        return ""
    named = [argument.value for argument in call.args[:2] if isinstance(argument, ast.Constant)]
    return next((value for value in named if isinstance(value, str)), "")


def _spread(lines: list[int]) -> str:
    ranked = sorted(lines)
    return f"{median(ranked):g} / {ranked[math.ceil(0.95 * len(ranked)) - 1]}"


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revisions", nargs="*", default=["HEAD"], help="git revisions, or . for the working tree")
    print(table(parser.parse_args().revisions))


if __name__ == "__main__":
    main()
