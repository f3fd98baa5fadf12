"""Weights & Biases: a run per training, in a group of the experiment's name."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.runtime.measurements import Setting

if TYPE_CHECKING:
    from wandb import Run


class Wandb:
    """A project of Weights & Biases; the variable WANDB_MODE decides between online and offline, as its own users know.

    Args:
        project: Name of the project.
        experiment: Name of the experiment.
        folder: Folder for its local files; None for its own default.
    """

    def __init__(self, project: str, experiment: str, folder: Path | None = None) -> None:
        self._project, self._experiment, self._folder = project, experiment, folder

    def begin(self, name: str) -> "WandbRun":
        """Begins a run beside those that are open."""
        import wandb

        run = wandb.init(
            project=self._project,
            group=self._experiment,
            name=name,
            dir=None if self._folder is None else str(self._folder),
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )
        return WandbRun(run)


class WandbRun:
    """One run of Weights & Biases."""

    def __init__(self, run: "Run") -> None:
        self._run = run

    def add_settings(self, settings: Mapping[str, Setting]) -> None:
        """Adds to its configuration."""
        self._run.config.update(dict(settings))  # type: ignore[no-untyped-call]

    def add_values(self, step: int, values: Mapping[str, float]) -> None:
        """Logs values."""
        self._run.log(dict(values), step=step)

    def end(self) -> None:
        """Ends the run."""
        self._run.finish()
