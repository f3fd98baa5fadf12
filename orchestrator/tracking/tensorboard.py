"""TensorBoard: a folder per training, with its curves and its settings as hyperparameters."""

from collections.abc import Mapping
from pathlib import Path

from orchestrator.runtime.measurements import Setting


class TensorBoard:
    """A folder that TensorBoard reads.

    Args:
        folder: The folder; it is made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, name: str) -> "TensorBoardRun":
        """Begins a training in a folder of its own."""
        return TensorBoardRun(self._folder / name)


class TensorBoardRun:
    """One training's event files."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder), flush_secs=5)
        self._settings: dict[str, Setting] = {}
        self._last: dict[str, float] = {}

    def add_settings(self, settings: Mapping[str, Setting]) -> None:
        """Keeps settings for the end, where TensorBoard wants them beside the final values."""
        self._settings |= settings

    def add_values(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a point of each curve."""
        self._last |= values
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self) -> None:
        """Writes the hyperparameters and closes the files."""
        if self._settings and self._last:
            self._writer.add_hparams(self._settings, self._last, name="settings")
        self._writer.close()
