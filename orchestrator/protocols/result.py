"""Result of a benchmark, as `--json` prints it."""

from typing import TypedDict

from orchestrator.apply.evaluation.evaluation_record import GainRecord
from orchestrator.foundation.summaries import LeftOutFile


class PublishedRow(TypedDict):
    """A published result and its source."""

    method: str
    measures: dict[str, float]
    source: str


class PartResult(TypedDict):
    """Means over the images of a part by arm and measure, and each model's gain over bicubic."""

    name: str
    images: int
    arms: dict[str, dict[str, float | None]]
    gains: dict[str, GainRecord]


class BenchmarkResult(TypedDict):
    """Our arms, and the published rows unless ``refusal`` says why they cannot be compared."""

    benchmark: str
    title: str
    home: str
    scale: int
    lr: str
    definition: str
    measures: list[str]
    parts: list[PartResult]
    published: list[PublishedRow]
    notes: list[str]
    left_out: list[LeftOutFile]
    refusal: str | None
