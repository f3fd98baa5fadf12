"""docs/degradations.md says what the code does."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from search_spaces import known_spaces
from trainables.degradation import Degradation

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "degradations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("field", fields(Degradation), ids=lambda field: field.name)
def test_every_parameter_is_in_the_table(field):
    assert re.search(rf"^\|.*`{field.name}\b.*\|$", PAGE, re.MULTILINE)


def test_every_space_is_described_as_it_is():
    rows = dict(re.findall(r"^\| `([a-z]+-v[0-9]+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert rows == {name: space.degradation.describe() for name, space in known_spaces().items()}


def test_the_pictures_are_there_and_small():
    named = set(re.findall(r"\(pictures/(\S+)\)", PAGE))
    assert named == {file.name for file in (DOCS / "pictures").glob("degradation-*")}
    assert sum((DOCS / "pictures" / name).stat().st_size for name in named) < 400_000
