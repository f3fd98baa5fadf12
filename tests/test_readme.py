import pydoc
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from orchestrator.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEW_DOMAIN = "search_spaces/thermal.py"
"""The example of docs/domains.md, which a reader would write."""
FENCED = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMANDS = [
    line.partition("#")[0].strip()
    for page in PAGES
    for block in FENCED.findall(page.read_text(encoding="utf-8"))
    for line in block.splitlines()
]


def parse(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context("rayscale", words)


@pytest.mark.parametrize("line", [line for line in COMMANDS if "rayscale " in line])
def test_rayscale_commands_of_the_docs_parse(line: str) -> None:
    inner = re.search(r"'(rayscale .*)'", line)
    parse(shlex.split(inner.group(1) if inner else line)[1:])


def test_a_wrong_command_would_not_parse() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(["demo", "--sise", "smallest"])


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_make_targets_of_the_docs_exist(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_docs_hold_commands_to_check() -> None:
    assert sum("rayscale " in line for line in COMMANDS) >= 4


def test_first_command_stands_early() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert next(i for i, line in enumerate(lines, 1) if line.startswith("make demo")) <= 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_anchors_lead_to_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^):]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if link[1] not in anchors(page.parent / link[0] if link[0] else page)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_functions_that_a_page_names_exist(page: Path) -> None:
    spans = re.findall(r"`([^`\s]+)`", page.read_text(encoding="utf-8"))
    files = [span for span in spans if re.match(r"(orchestrator|trainables|search_spaces|tests|benchmarks)/", span)]
    names = [span for span in spans if re.match(r"(orchestrator|trainables|search_spaces)\.", span)]
    assert [file for file in files if file != NEW_DOMAIN and not any(ROOT.glob(file))] == []
    assert [name for name in names if pydoc.locate(name) is None] == []


def test_settings_page_is_current() -> None:
    scope: dict[str, object] = {"__file__": str(ROOT / "docs" / "make_settings.py"), "__name__": "make_settings"}
    exec((ROOT / "docs" / "make_settings.py").read_text(encoding="utf-8"), scope)
    page = scope["page"]
    assert callable(page)
    assert page() == (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
