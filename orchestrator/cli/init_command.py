"""``rayscale init``: writes example experiments."""

from pathlib import Path
from typing import Annotated

import typer

from trainables.errors import printable


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write them.")] = Path("experiments"),
) -> None:
    """Writes the example experiments; existing files are left as they are."""
    from orchestrator.experiment.examples_writer import write_examples

    examples = write_examples(folder)
    for name in examples.written:
        print(printable(f"{folder / name}: written"))
    for name in examples.existing:
        print(printable(f"{folder / name}: there already, left as it is"))
