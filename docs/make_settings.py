"""Writes docs/settings.md from the types of the experiment file; run it as `python docs/make_settings.py`."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from orchestrator.experiment.image_settings import ImagePairs, ImageSet, ScenePattern, SceneTable, SourceModel, Target
from orchestrator.experiment.settings import Experiment

OUT = Path(__file__).parent / "settings.md"
HEAD = """# Settings of an experiment file

An unknown key is an error, with a suggestion. `--set` gives any setting on the command line: `--set search.trials=24`.
`python docs/make_settings.py` writes this page.
"""


def page() -> str:
    """The whole page."""
    sections = {
        "": Experiment,
        "targets.NAME.": Target,
        "targets.NAME.images. (pairs of HR and LR images)": ImagePairs,
        "….scenes. (a CSV table; … is source or targets.NAME)": SceneTable,
        "….scenes. (a pattern; … is source or targets.NAME)": ScenePattern,
        "source. (images)": ImageSet,
        "source. (a model)": SourceModel,
    }
    for name, field in Experiment.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            sections[f"{name}."] = field.annotation
    return HEAD + "".join(_table(prefix, section) for prefix, section in sections.items())


def _table(key: str, section: type[BaseModel]) -> str:
    prefix, _, instead = key.partition(" ")
    rows = [
        f"| `{prefix}{name}` | {_default(field.default)} | {field.description} |"
        for name, field in section.model_fields.items()
        if field.description
    ]
    title = f"{prefix.rstrip('.')} {instead}".strip() or "Top level"
    return "\n".join([f"\n## {title}\n", "| setting | default | description |", "|---|---|---|", *rows, ""])


def _default(value: Any) -> str:
    return "required" if value is PydanticUndefined else "none" if value is None else f"`{value}`"


if __name__ == "__main__":
    OUT.write_text(page(), encoding="utf-8")
