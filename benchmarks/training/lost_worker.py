"""Time from the SIGKILL of a pretraining worker to the next step, and data that is read twice, on a real local Ray.

    python -m benchmarks.training.lost_worker       # 2 minutes on two idle cores

Two workers of Ray Train pretrain ``base`` by this project's own loop on packed generated images. The worker of rank 0
is killed three times, each half-way between two checkpoints. The time until its successor has made a step that no
worker had made before is divided at four moments:

- *noticed*: Ray Train's controller calls its callback with the loss of the worker,
- *started*: the training function is called in the last of the new workers,
- *first step*: the first step after that, one behind the last checkpoint,
- *new step*: the first step that had not been made before; between the two, steps are made again.

Until *started* the time is Ray's own: noticing, ending the other worker, new processes with their imports, the process
group. What is read again: images that were decoded after the restart, up to the step at which the worker was killed.
"""

import argparse
import contextlib
import itertools
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.arguments import add_out, command, make_parser, positive
from benchmarks.common.environment import environment
from benchmarks.common.results import CPUS, today, write_results
from orchestrator.data.shard_reader import read_manifest
from orchestrator.data.shards import build_shards
from orchestrator.experiment.load import make_experiment
from orchestrator.experiment.settings import Cluster, Experiment
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile
from orchestrator.runtime.measurements import Measurement
from orchestrator.runtime.on_ray.ray_session import connect
from orchestrator.runtime.progress_updates import Updates
from orchestrator.training import ray_train
from orchestrator.training.pretrain import pretrain_source
from trainables.images.parquet import PackedImage
from trainables.samples import write_samples


def note(log: str, **what: Any) -> None:
    """Adds a line with the time to the log, which all processes of this machine share."""
    with Path(log).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"at": time.time(), "process": os.getpid(), **what}) + "\n")


def notes(log: str) -> list[dict[str, Any]]:
    """All whole lines of the log so far."""
    lines = Path(log).read_text(encoding="utf-8").split("\n")[:-1] if Path(log).exists() else []
    return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class StepLog:
    """A channel of progress that writes down when each step and each line came.

    Attributes:
        log: The log.
    """

    log_file: str

    def report(self, task: str, done: float, total: float, note_: str) -> None:
        """Notes a step of rank 0."""
        del task, total
        if note_.startswith("loss"):
            note(self.log_file, event="step", step=int(done))

    def log(self, line: str) -> None:
        """Notes a line, such as that a worker was lost."""
        note(self.log_file, event="line", line=line)

    def begin(self, submission: str, name: str) -> None:
        """Nothing."""

    def latest(self, seconds: float) -> Updates:
        """Nothing."""
        del seconds
        return {}

    def lines(self) -> list[str]:
        """Nothing."""
        return []

    def measure(self, measurement: Measurement) -> None:
        """Nothing."""

    def measured(self, start: int, seconds: float) -> tuple[int, list[Measurement]]:
        """Nothing."""
        del start, seconds
        return 0, []


def noted_worker(config: dict[str, Any]) -> None:
    """The training function of a worker, with its start and all that it reads noted."""
    from orchestrator.training.ray_train import train_on_worker

    log = config["job"].progress.log_file
    note(log, event="start")
    check = PackedImage.check

    def counted(image: PackedImage) -> None:
        note(log, event="read", bytes=len(image.data))
        check(image)

    PackedImage.check = counted  # type: ignore[method-assign]
    try:
        train_on_worker(config)
    finally:
        PackedImage.check = check  # type: ignore[method-assign]


@contextlib.contextmanager
def killing(log: str, steps: list[int]) -> Iterator[list[dict[str, Any]]]:
    """Kills the worker of rank 0 when it has made each of some steps; gives what was killed and when."""
    killed: list[dict[str, Any]] = []
    ended = threading.Event()

    def watch() -> None:
        for step in steps:
            while not ended.wait(0.02):
                made = [line for line in notes(log) if line["event"] == "step" and line["step"] >= step]
                if made:
                    os.kill(made[0]["process"], signal.SIGKILL)
                    killed.append({"at": time.time(), "step": made[-1]["step"], "process": made[0]["process"]})
                    break

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def recovery(lines: list[dict[str, Any]], kill: dict[str, Any], workers: int) -> dict[str, float]:
    """What one kill cost: seconds until each moment, steps made again, and what was read for the second time.

    Args:
        lines: The log.
        kill: Which step had been made, and when the worker was killed.
        workers: Number of workers.
    """
    after = [line for line in lines if line["at"] > kill["at"]]
    steps = [line for line in after if line["event"] == "step" and line["process"] != kill["process"]]
    starts = [line for line in after if line["event"] == "start"][:workers]
    noticed = next((line["at"] for line in after if line["event"] == "line"), float("nan"))
    new = next(line for line in steps if line["step"] > kill["step"])
    reads = [line["bytes"] for line in after if line["event"] == "read" and line["at"] <= new["at"]]
    began = max(line["at"] for line in starts)
    return {
        "noticed_s": noticed - kill["at"],
        "started_s": began - kill["at"],
        "first_step_s": steps[0]["at"] - kill["at"],
        "new_step_s": new["at"] - kill["at"],
        "ray_share": (began - kill["at"]) / (new["at"] - kill["at"]),
        "steps_again": kill["step"] - steps[0]["step"] + 1,
        "images_read_again": len(reads),
        "bytes_read_again": sum(reads),
    }


def pretraining(folder: Path, options: argparse.Namespace) -> tuple[Experiment, Storage]:
    """An experiment with packed images."""
    images = write_samples(folder / "natural", "natural", options.images, 1, 0, (256, 256))
    files, shards = Storage.at(str(folder / "natural")), Storage.at(str(folder / "shards"))
    build_shards(
        [SourceFile(files, facts, facts.path, False) for facts in files.files()],
        {"validation": 0.1},
        144,
        shards,
        "none",
    )
    every = options.checkpoint_every
    settings = {
        "name": "lost-worker",
        "storage": str(folder / "runs"),
        "root": str(folder),
        "source": {"images": "natural"},
        "targets": {"satellite": {"images": "natural"}},
        "pretraining": {
            "workers": options.workers,
            "steps": every * (options.kills + 2),
            "report_every": 1,
            "checkpoint_every": every,
        },
        "search": {"validation_images": 2, "validation_crop": 64},
    }
    assert len(images) == options.images
    return make_experiment(settings, "benchmark"), shards


def kills(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Pretrains with kills, and gives what each cost."""
    experiment, shards = pretraining(folder, options)
    log, every = str(folder / "log.jsonl"), options.checkpoint_every
    at = [every * (kill + 1) + every // 2 for kill in range(options.kills)]
    original: Callable[[dict[str, Any]], None] = ray_train.train_on_worker
    ray_train.train_on_worker = noted_worker
    try:
        with connect(Cluster(cpus=options.workers)) as runner, killing(log, at) as killed:
            pretrain_source(experiment, shards, Storage.at(str(folder / "model")), runner, StepLog(log), "benchmark")
    finally:
        ray_train.train_on_worker = original
    lines = notes(log)
    first = [line for line in lines if line["at"] < killed[0]["at"]]
    steps = [line["at"] for line in first if line["event"] == "step"]
    return {
        "workers": options.workers,
        "images": read_manifest(shards)["images"]["train"],
        "step_s": statistics.median(after - before for before, after in itertools.pairwise(steps)),
        "images_read_before": sum(line["event"] == "read" for line in first),
        "kills": [recovery(lines, kill, options.workers) for kill in killed],
    }


COLUMNS = {
    "noticed_s": "noticed s",
    "started_s": "started s",
    "first_step_s": "first step s",
    "new_step_s": "new step s",
    "ray_share": "Ray's share",
    "steps_again": "steps again",
    "images_read_again": "images again",
    "bytes_read_again": "bytes again",
}


def describe(result: dict[str, Any]) -> str:
    """The page of a result."""
    told = result["measured"]
    lines = [f"# A killed worker of pretraining, {result['date']}", "", f"Command: `{result['command']}`", ""]
    lines += [f"- {name}: {value}" for name, value in result["environment"].items()]
    lines += [
        "",
        f"{told['workers']} workers, {told['images']} training images, all in the pools; a step takes "
        f"{told['step_s']:.2f} s. Seconds count from the SIGKILL. Before the first kill, "
        f"{told['images_read_before']} images had been read.",
        "",
        "| kill | " + " | ".join(COLUMNS.values()) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    rows = {str(number): kill for number, kill in enumerate(told["kills"], 1)}
    rows["median"] = {name: statistics.median(kill[name] for kill in told["kills"]) for name in COLUMNS}
    for name, row in rows.items():
        cells = [f"{row[c]:.0%}" if c == "ray_share" else f"{row[c]:.1f}" for c in list(COLUMNS)[:5]]
        lines.append(f"| {name} | " + " | ".join([*cells, *(f"{row[c]:,.0f}" for c in list(COLUMNS)[5:])]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--kills", type=positive, default=3)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--images", type=positive, default=48)
    parser.add_argument("--checkpoint-every", type=positive, default=20)
    add_out(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = kills(options, Path(folder))
    result = {
        "date": today(),
        "command": command("training.lost_worker"),
        "environment": environment("ray"),
        "measured": measured,
    }
    page = describe(result)
    write_results(options.out, "lost-worker", CPUS, data=result, page=page)
    print(page)


if __name__ == "__main__":
    main()
