"""Templates of pages that need no network and no other file, with one style."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_SHARED = Path(__file__).parent / "templates"


def page_environment(templates: Path) -> Environment:
    """Environment of a page's templates; ``style.css`` is the style of all pages."""
    return Environment(
        loader=FileSystemLoader([templates, _SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
