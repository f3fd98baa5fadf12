"""Status of an experiment, from its run lock and its stage records: nothing is computed and no image is listed."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.experiment.load import load_experiment
from orchestrator.foundation.stage_record import RECORD
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.run_lock import LockState, lock_state
from trainables.errors import UsageError

State = Literal["finished", "begun", "not begun"]
_SOURCE = "source"
_TRIAL = re.compile(r"(study-[^/]+)/\d{4,}\.json")
_RUN = re.compile(r"(runs-[^/]+)/[^/]+/run\.json")
_UNITS = {"search": ("trials", _TRIAL), "confirm": ("trained models", _RUN), "finish": ("trained models", _RUN)}
"""Unit of a stage's work on a domain, and the paths of the records that are counted."""


@dataclass(frozen=True, slots=True)
class StageStatus:
    """Status of one stage for one set of images.

    Attributes:
        stage: Name of the stage.
        name: The domain; ``source`` for the source's shards and model, empty for the report.
        state: Whether its record says that it has finished, or parts of its work are there.
        finished_at: Time in ISO 8601, UTC; empty before.
        seconds: Time that it took; None before.
        done: The work that is there, such as ``7 of 12 trials``; empty where nothing is counted.
    """

    stage: str
    name: str
    state: State
    finished_at: str = ""
    seconds: float | None = None
    done: str = ""


@dataclass(frozen=True, slots=True)
class ExperimentStatus:
    """Status of an experiment.

    Attributes:
        experiment: Its name.
        home: Folder or prefix of its artefacts.
        run: ``running``, ``died`` (its process has ended without a word), ``stopped`` or ``finished``.
        sentence: The same in a sentence, with what to do.
        stages: Its stages, in order.
    """

    experiment: str
    home: str
    run: Literal["running", "died", "stopped", "finished"]
    sentence: str
    stages: tuple[StageStatus, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON output."""
        return asdict(self)


def home_named(named: str, overrides: Sequence[str] = ()) -> Storage:
    """The folder of an experiment that a user names by its YAML file, or by the folder or prefix itself.

    Raises:
        UsageError: If the file is no experiment.
    """
    return load_experiment(Path(named).expanduser(), overrides).home if is_file_name(named) else Storage.at(named)


def is_file_name(named: str) -> bool:
    """True if a user names an experiment by its YAML file."""
    return "://" not in named and Path(named).suffix.lower() in (".yaml", ".yml")


def experiment_status(home: Storage) -> ExperimentStatus:
    """Reads the status of an experiment, from any machine that can read its folder.

    A record of other settings counts as finished too: `rayscale plan` says what a change of settings makes anew.

    Args:
        home: The experiment's folder or prefix.

    Raises:
        UsageError: If no experiment has begun there.
        StorageError: If the place cannot be read.
    """
    if home.remote:
        home.check_readable()
    written = home.child("experiment.json").read_json()
    settings = written.get("settings") if isinstance(written, dict) else None
    if not isinstance(settings, dict):
        raise UsageError(
            f"'{home.uri}' holds no experiment that has begun: name an experiment's YAML file or folder, or start it "
            "with `rayscale run`."
        )
    stages = tuple(_stages(home, settings))
    run, sentence = _run(lock_state(home), all(stage.state == "finished" for stage in stages))
    return ExperimentStatus(str(settings.get("name", "")), home.uri, run, sentence, stages)


def _run(lock: LockState | None, finished: bool) -> tuple[Literal["running", "died", "stopped", "finished"], str]:
    if lock is not None and lock.alive:
        return "running", f"Running: {lock.holder or 'another process'}."
    if finished:
        return "finished", "Finished: `rayscale report` shows the results."
    if lock is not None:
        return "died", f"Not running: {lock.holder or 'its process'}, has died; the same command goes on from there."
    return "stopped", "Not running, and not finished: the same command goes on from there."


def _stages(home: Storage, settings: Mapping[str, Any]) -> Iterator[StageStatus]:
    domains = list(_section(settings, "targets"))
    pretrains = "images" in _section(settings, "source")
    for name in ([_SOURCE] if pretrains else []) + domains:
        yield _stage(home.child("shards", name), "shards", name)
    yield _stage(home.child(_SOURCE), "pretrain", _SOURCE)
    if "advice" in (_section(settings, "search").get("starts") or ()):
        for domain in domains:
            yield _stage(home.child("analysis", domain), "analyze", domain)
    later: list[str] = ["search", "confirm"]
    if _section(settings, "finish").get("enabled"):
        later.append("finish")
    for stage in later:
        for domain in domains:
            place = home.child(stage, domain)
            yield _stage(place, stage, domain, _counter(place, stage, settings))
    yield _stage(home.child("report"), "report", "")


def _stage(place: Storage, stage: str, name: str, count: Callable[[], str] = lambda: "") -> StageStatus:
    record = place.child(RECORD).read_json()
    if isinstance(record, dict) and isinstance(record.get("finished_at"), str):
        seconds = record.get("seconds")
        number = float(seconds) if isinstance(seconds, int | float) else None
        return StageStatus(stage, name, "finished", record["finished_at"], number)
    done = count()
    return StageStatus(stage, name, "begun" if done or place.exists() else "not begun", done=done)


def _counter(place: Storage, stage: str, settings: Mapping[str, Any]) -> Callable[[], str]:
    unit, pattern = _UNITS[stage]

    def count() -> str:
        numbers: dict[str, int] = {}
        if place.exists():
            found = (pattern.fullmatch(facts.path) for facts in place.files())
            for match in found:
                if match is not None:
                    numbers[match[1]] = numbers.get(match[1], 0) + 1
        done = max(numbers.values(), default=0)
        of = _section(settings, "search").get("trials") if stage == "search" else None
        return (
            f"{done} of {of} {unit}" if done and isinstance(of, int) and done <= of else f"{done} {unit}" * bool(done)
        )

    return count


def _section(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = settings.get(name)
    return section if isinstance(section, dict) else {}
