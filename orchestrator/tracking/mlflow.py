"""MLflow: an experiment of the same name, with a run per training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.runtime.measurements import Setting

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Mlflow:
    """An experiment on an MLflow server or store.

    Args:
        uri: Tracking URI.
        experiment: Name of the experiment; it is made if it is missing.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(experiment)
        self._experiment: str = found.experiment_id if found else self._client.create_experiment(experiment)

    def begin(self, name: str) -> "MlflowRun":
        """Begins a run."""
        run = self._client.create_run(self._experiment, run_name=name, tags={"rayscale.training": name})
        return MlflowRun(self._client, run.info.run_id)


class MlflowRun:
    """One MLflow run."""

    def __init__(self, client: "MlflowClient", run: str) -> None:
        self._client, self._run = client, run

    def add_settings(self, settings: Mapping[str, Setting]) -> None:
        """Logs parameters."""
        for name, value in settings.items():
            self._client.log_param(self._run, name, value)

    def add_values(self, step: int, values: Mapping[str, float]) -> None:
        """Logs metrics."""
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def end(self) -> None:
        """Ends the run."""
        self._client.set_terminated(self._run)
