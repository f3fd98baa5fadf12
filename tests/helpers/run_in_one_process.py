"""`rayscale run` without Ray, as a process of its own that a test can kill."""

import sys
from pathlib import Path

from rich.console import Console

from orchestrator.experiment.load import load_experiment
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.runtime.progress import Display
from orchestrator.runtime.task_runner import in_process

IN_ONE_PROCESS = [__file__]


def main() -> None:
    experiment = load_experiment(Path(sys.argv[1]), [])
    run_experiment(experiment, preflight(experiment), Display(Console(width=200)), start=in_process)


if __name__ == "__main__":
    main()
