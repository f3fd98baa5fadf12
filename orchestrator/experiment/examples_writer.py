"""Example experiments, and a function that writes them to a folder of the user's."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from trainables.errors import UsageError, reason_of


@dataclass(frozen=True, slots=True)
class Examples:
    """Folder and files of example experiments.

    Attributes:
        folder: The folder.
        written: Names of the files that were written.
        existing: Names of existing files, which are not replaced.
    """

    folder: Path
    written: list[str]
    existing: list[str]


def write_examples(folder: Path) -> Examples:
    """Writes the example experiments to a folder, which is made if it is missing; replaces no file.

    Raises:
        UsageError: If the folder cannot be written to.
    """
    written, existing = [], []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source in sorted(
            resources.files("orchestrator.experiment").joinpath("examples").iterdir(), key=lambda entry: entry.name
        ):
            try:
                with (folder / source.name).open("x", encoding="utf-8") as file:
                    file.write(source.read_text(encoding="utf-8"))
                written.append(source.name)
            except FileExistsError:
                existing.append(source.name)
    except OSError as error:
        raise UsageError(f"'{folder}' cannot hold the example experiments: {reason_of(error)}") from None
    return Examples(folder, written, existing)
