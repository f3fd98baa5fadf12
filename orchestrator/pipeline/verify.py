"""Verification of an experiment, a model or shards: reads every file and names each that is damaged or missing.

Unlike a run, which compares digests up to a number of bytes, it reads every byte; it changes nothing.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from orchestrator.data.locked_test import PREFIX, locked_beside
from orchestrator.data.separation import verify_apart
from orchestrator.data.shard_reader import MANIFEST
from orchestrator.data.shard_verify import verify_shards
from orchestrator.finish.record import problem_of
from orchestrator.foundation.model_store import read_model
from orchestrator.foundation.stage_record import RECORD, check_stage
from orchestrator.foundation.storage import Storage
from orchestrator.pipeline.stages.report import older_report
from orchestrator.pipeline.status import home_named, is_file_name
from orchestrator.search.trial_record import damaged_records, read_records
from trainables.errors import UsageError, reason_of
from trainables.network.model_files import CARD, WEIGHTS

EXPERIMENT = "experiment.json"


@dataclass(frozen=True, slots=True)
class Problem:
    """A damaged or missing file: its path below the verified folder, and a description of the damage."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Verified:
    """Findings of a verification.

    Attributes:
        place: The folder or prefix that was read.
        kind: ``experiment``, ``model`` or ``shards``.
        checked: Numbers of artefacts that were read, by kind.
        problems: Problems, in order; empty if there are none.
    """

    place: str
    kind: str
    checked: dict[str, int]
    problems: tuple[Problem, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON output."""
        return asdict(self) | {"ok": not self.problems}


def verify(place: Storage) -> Verified:
    """Verifies the artefacts at a place.

    Args:
        place: Folder or prefix of an experiment, of a model, or of shards.

    Raises:
        UsageError: If it is none of these.
    """
    place.check_readable()
    for marker, kind, check in (
        (EXPERIMENT, "experiment", _experiment),
        (CARD, "model", _one_model),
        (WEIGHTS, "model", _one_model),
        (MANIFEST, "shards", _one_set),
    ):
        if place.child(marker).exists():
            found = _Found(place)
            check(found)
            distinct = dict.fromkeys(found.problems)
            return Verified(place.uri, kind, found.checked, tuple(distinct))
    raise UsageError(
        f"'{place.uri}' holds no experiment ({EXPERIMENT}), model ({CARD}) or shards ({MANIFEST}): name the folder of "
        "one, or an experiment's YAML file."
    )


def place_named(named: str) -> Storage:
    """The place that a user names: a folder, a prefix, or the folder of an experiment's YAML file.

    Raises:
        UsageError: If the file is not an experiment, or the experiment has no folder yet.
    """
    place = home_named(named)
    if is_file_name(named) and not place.child(EXPERIMENT).exists():
        raise UsageError(f"'{place.uri}' holds no experiment yet: there is nothing to verify before `rayscale run`.")
    return place


class _Found:
    """Collects problems; an exception while a file is checked becomes a problem of that file."""

    def __init__(self, home: Storage) -> None:
        self.home, self.checked = home, dict[str, int]()
        self.problems: list[Problem] = []

    def add(self, path: str, problem: str) -> None:
        self.problems.append(Problem(path, problem))

    def look(self, kind: str, path: str, check: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """Counts an artefact and adds the problems that a check of it yields."""
        self.checked[kind] = self.checked.get(kind, 0) + 1
        try:
            for where, problem in check():
                self.add(where, problem)
        except Exception as error:
            self.add(path, reason_of(error))


def _one_model(found: _Found) -> None:
    found.look("models", "", lambda: _model(found.home, WEIGHTS))


def _one_set(found: _Found) -> None:
    locked = locked_beside(found.home)
    found.look("shards", MANIFEST, lambda: _shards("", found.home, *([locked] if locked else [])))


def _experiment(found: _Found) -> None:
    home = found.home
    found.look("records", EXPERIMENT, lambda: _settings(home))
    paths = [facts.path for facts in home.files() if "/ray/" not in facts.path]
    folders = {
        name: [path.rpartition("/")[0] for path in paths if path.rpartition("/")[2] == name]
        for name in (RECORD, CARD, WEIGHTS, MANIFEST)
    }
    for folder in folders[MANIFEST]:
        place, locked = home.child(folder), folder.startswith(f"{PREFIX}/")
        beside = None if locked else locked_beside(place)
        if not locked or f"shards/{folder.partition('/')[2]}" not in folders[MANIFEST]:
            others = [beside] if beside else []
            found.look("shards", folder, lambda p=place, f=folder, o=others: _shards(f, p, *o))  # type: ignore[misc]
    if not found.problems:  # damaged shards are named already, and cannot be compared
        sets, tests = (
            {folder.removeprefix(below): home.child(folder) for folder in folders[MANIFEST] if folder.startswith(below)}
            for below in ("shards/", f"{PREFIX}/")
        )
        found.look("separation", "shards", lambda: (("shards", problem) for problem in verify_apart(sets, tests)))
    for folder in sorted({*folders[CARD], *folders[WEIGHTS]}):
        found.look("models", folder, lambda f=folder: _model(home.child(f), f"{f}/{WEIGHTS}"))  # type: ignore[misc]
    for folder in sorted({"/".join(path.split("/")[:3]) for path in paths if path.startswith("search/")}):
        if folder.rpartition("/")[2].startswith("study-"):
            found.look("studies", folder, lambda f=folder: _study(home, f))  # type: ignore[misc]
    for path in paths:
        own = path.startswith(("confirm/", "finish/")) and path.rpartition("/")[2] not in (RECORD, CARD)
        if own and path.endswith(".json"):
            found.look("records", path, lambda p=path: _record(home, p))  # type: ignore[misc]
    if f"report/{RECORD}" in paths:
        found.look("reports", "report", lambda: older_report(home).items())
    for folder in folders[RECORD]:
        found.look("stages", folder, lambda f=folder: _stage(home, f))  # type: ignore[misc]


def _settings(home: Storage) -> Iterable[tuple[str, str]]:
    written = home.child(EXPERIMENT).read_json()
    if not isinstance(written, dict) or not isinstance(written.get("settings"), dict) or "format" not in written:
        yield EXPERIMENT, "is empty, cut short or damaged"


def _shards(base: str, place: Storage, *others: Storage) -> Iterable[tuple[str, str]]:
    for problem in verify_shards(place, *others):
        yield base, problem


def _model(place: Storage, path: str) -> Iterable[tuple[str, str]]:
    try:
        read_model(place)
    except Exception as error:
        yield path, reason_of(error)


def _study(home: Storage, folder: str) -> Iterable[tuple[str, str]]:
    for file, problem in damaged_records(home.child(folder)).items():
        yield f"{folder}/{file}", problem
    for name in ("starts.json", "extended.json"):
        if home.child(folder, name).exists() and home.child(folder, name).read_json() is None:
            yield f"{folder}/{name}", "is empty, cut short or no JSON"


def _record(home: Storage, path: str) -> Iterable[tuple[str, str]]:
    value = json.loads(home.child(path).read_bytes())
    name = path.rpartition("/")[2]
    if "/test-opened/" in path:
        if not isinstance(value, dict) or not {"at", "by", "after_choosing", "test"} <= value.keys():
            yield path, "does not say when, by whom and after which choice the test split was opened"
    elif problem := problem_of(name, value):
        yield path, problem


def _stage(home: Storage, folder: str) -> Iterable[tuple[str, str]]:
    place = home.child(folder)
    record = place.child(RECORD).read_json()
    if not isinstance(record, dict):
        yield f"{folder}/{RECORD}", "is empty, cut short or no record"
        return
    check = check_stage(place, str(record.get("inputs")), most_bytes=math.inf)
    if check.record is None:
        yield f"{folder}/{RECORD}", "does not say its inputs"
    for path, problem in check.damage.items():
        yield f"{folder}/{RECORD}" if path in (RECORD, "") else path, problem
    result = record.get("result")
    if str(record.get("stage")).startswith("search ") and isinstance(result, dict):
        studies = {facts.path.partition("/")[0] for facts in place.files() if facts.path.startswith("study-")}
        whole = max((len(read_records(place.child(study))) for study in studies), default=0)
        if type(result.get("trials")) is int and whole < result["trials"]:
            yield folder, f"has {whole} whole records of the {result['trials']} trials that it finished with"
