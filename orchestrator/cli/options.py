"""Options shared by several commands."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.foundation.logs import start_logging

Model = Annotated[
    str,
    typer.Option(
        help="A packaged model (base-x2, base-x4), a folder or an s3:// prefix. A folder with the name of a packaged "
        "model needs a slash: ./base-x4"
    ),
]
SelfEnsemble = Annotated[
    bool, typer.Option("--self-ensemble", help="Average the outputs of 8 flips and rotations; takes 8 × as long.")
]
PrecisionName = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option("--precision", help="Precision of the convolutions; auto is bfloat16 where that is faster."),
]
ValueRangeText = Annotated[
    str | None,
    typer.Option(
        "--value-range",
        metavar="LOW,HIGH",
        help="For images of any depth and bands: the values that mean 0 and 1; percentile measures them on the images, "
        "window takes those that DICOM files state. By default the range in the model's card; without either, images "
        "are 8-bit gray or RGB.",
    ),
]
BandNames = Annotated[
    str | None,
    typer.Option("--bands", metavar="NAME,...", help="Bands to use, in this order; by default all; with a range only."),
]
_CHIP_HELP = "Side in pixels of the parts into which larger images of any depth are cut."
ChipSide = Annotated[int, typer.Option("--chip", min=32, max=4096, help=_CHIP_HELP)]
SliceAxis = Annotated[
    int, typer.Option("--slice-axis", min=0, max=2, help="Axis that slices of NIfTI volumes are cut across.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for scripts.")]


def _log_to(file: Path | None) -> None:
    if file is not None:
        start_logging(file)


def _log_here(wanted: bool) -> None:
    if wanted:
        start_logging(verbose=True)


LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        metavar="FILE",
        callback=_log_to,
        help="Append a log to FILE, with stage, domain and trial in each line.",
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", callback=_log_here, help="Print the log on standard error.")]
