"""`rayscale run` without Ray, as a process of its own that a test can kill."""

import argparse
from pathlib import Path

from rich.console import Console

from orchestrator.experiment.load import load_experiment
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.runtime.progress import Display
from orchestrator.runtime.task_runner import in_process

IN_ONE_PROCESS = [__file__]
SEARCH_IN_ONE_PROCESS = [__file__, "--until", "search"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--until", default="report")
    options = parser.parse_args()
    experiment = load_experiment(options.file, [])
    display = Display(Console(width=200))
    run_experiment(experiment, preflight(experiment), display, until=options.until, start=in_process)


if __name__ == "__main__":
    main()
