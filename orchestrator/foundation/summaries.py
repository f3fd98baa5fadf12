"""Summaries of work on many files, as ``--json`` prints them and the Python API returns them."""

from typing import NotRequired, TypedDict


class LeftOutFile(TypedDict):
    """A file that was not used, and why."""

    file: str
    reason: str


class PassedOver(TypedDict):
    """Files of a folder that were not used: in a sentence, counted by kind, and the files that need a reason."""

    summary: str
    counts: dict[str, int]
    files: list[LeftOutFile]


class Failure(LeftOutFile):
    """A file that could not be upscaled; of a scene with the class of its error."""

    error: NotRequired[str]


class Note(TypedDict):
    """Facts of a file's output that the user should know."""

    file: str
    note: str


class UpscaleSummary(TypedDict):
    """Result of an upscaling: counts of outputs, each failure and note, output megapixels and wall-clock seconds."""

    model: str
    scale: int
    output: str
    written: int
    skipped: int
    failed: list[Failure]
    notes: list[Note]
    megapixels: float
    seconds: float
    device: str
    precision: str
    passed_over: NotRequired[PassedOver]
