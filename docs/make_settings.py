"""Writes docs/settings.md from the types of the experiment file; run it as `python docs/make_settings.py`."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from orchestrator.experiment.image_settings import ImageSet, SceneTable, SourceModel, Target
from orchestrator.experiment.settings import Experiment

OUT = Path(__file__).parent / "settings.md"
HEAD = """# Every setting of an experiment file

Unknown keys are refused with a suggestion. Each setting can be given on the command line: `--set search.trials=24`.
This page is written by `python docs/make_settings.py`.
"""


def page() -> str:
    """The whole page."""
    sections = {
        "": Experiment,
        "targets.NAME.": Target,
        "….scenes.": SceneTable,
        "source.": ImageSet,
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
    title = f"{prefix.rstrip('.')} {instead}".strip() or "the experiment"
    return "\n".join([f"\n## {title}\n", "| setting | default | what it is |", "|---|---|---|", *rows, ""])


def _default(value: Any) -> str:
    return "required" if value is PydanticUndefined else "none" if value is None else f"`{value}`"


if __name__ == "__main__":
    OUT.write_text(page(), encoding="utf-8")
