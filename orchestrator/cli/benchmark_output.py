"""Output of `rayscale benchmark`: our arms and the published rows in one table."""

from typing import TYPE_CHECKING

from rich.table import Table

from orchestrator.cli.output import wide_console
from orchestrator.foundation.quantities import plural
from trainables.errors import printable

if TYPE_CHECKING:
    from orchestrator.foundation.summaries import LeftOutFile
    from orchestrator.protocols.result import BenchmarkResult, PartResult

_HEADS = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "sam": "SAM °",
    "ergas": "ERGAS",
    "reflectance": "reflec-\ntance",
    "spectral": "spec-\ntral °",
    "spatial": "spatial",
    "synthesis": "syn-\nthesis",
    "hallucination": "halluci-\nnation",
    "omission": "omis-\nsion",
    "improvement": "improve-\nment",
}
_FORMS = {"psnr": "{:.2f}", "sam": "{:.3f}", "ergas": "{:.3f}", "spectral": "{:.2f}"} | dict.fromkeys(
    ("hallucination", "omission", "improvement"), "{:.3f}"
)
_NAMED = 5


def print_benchmark(result: "BenchmarkResult") -> None:
    """Prints a table of our arms by part and the published rows, then what they mean."""
    measures = result["measures"]
    table = Table("method", title=f"{result['title']}, x{result['scale']}", title_justify="left")
    for name in measures:
        table.add_column(_HEADS[name], justify="right", no_wrap=True)
    table.add_column("gain in dB,\n95 % interval", justify="right", no_wrap=True)
    table.add_column("source")
    for part in result["parts"]:
        _add_part(table, part, measures)
    for row in result["published"]:
        cells = [_cell(name, row["measures"].get(name)) for name in measures]
        table.add_row(row["method"], *cells, "", row["source"])
    wide_console().print(table)
    print(f"LR: {result['lr']}. Measured: {result['definition']}.")
    for note in result["notes"]:
        print(note)
    if not result["published"] and not result["refusal"]:
        print(f"There are no published rows for {result['title']} at x{result['scale']} to compare with.")
    _print_left_out(result["left_out"])


def _add_part(table: Table, part: "PartResult", measures: list[str]) -> None:
    images = plural(part["images"], "image")
    for number, (arm, values) in enumerate(part["arms"].items()):
        cells = [_cell(name, values[name]) for name in measures]
        gain = "{mean:+.2f} [{low:+.2f}, {high:+.2f}]".format(**part["gains"][arm]) if arm in part["gains"] else ""
        table.add_row(arm, *cells, gain, f"here: {part['name']}, {images}" if number == 0 else "here")


def _cell(name: str, value: float | None) -> str:
    return "" if value is None else _FORMS.get(name, "{:.4f}").format(value)


def _print_left_out(files: "list[LeftOutFile]") -> None:
    for entry in files[:_NAMED]:
        print(f"left out: {printable(entry['file'])}: {entry['reason']}")
    if len(files) > _NAMED:
        print(f"left out: {len(files) - _NAMED} more")
