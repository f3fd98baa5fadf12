"""Templates of pages that need no network and no other file, with one style."""

import base64
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from orchestrator.foundation.quantities import duration

_SHARED = Path(__file__).parent / "templates"


def page_environment(templates: Path) -> Environment:
    """Environment of a page's templates, with the filter ``duration``; ``style.css`` is the style of all pages."""
    environment = Environment(
        loader=FileSystemLoader([templates, _SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = partial(duration, digits=1)
    return environment


def data_uri(png: bytes) -> str:
    """A PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
