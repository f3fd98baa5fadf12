"""Whether each stage of an experiment has finished, what it vouches for, and what has to go before it runs again."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import yaml

from orchestrator.confirm.record import Candidate, ConfirmationRecord
from orchestrator.confirm.run_record import FITTED, INTERPOLATION, RUN, problem_of
from orchestrator.data.locked_test import PREFIX
from orchestrator.data.shard_reader import MANIFEST, read_manifest
from orchestrator.foundation.artefact_digests import CHECKED_BYTES, Damage, damage_of, sentence
from orchestrator.foundation.model_store import read_model
from orchestrator.foundation.stage_record import RECORD, Check, Vouched, check_stage
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.vocabulary import INTERPOLATED
from orchestrator.jobs.stage_jobs import SOURCE, Jobs
from orchestrator.report.schema import Report
from orchestrator.search.optuna_export import FILE as OPTUNA_LOG
from orchestrator.search.trial_record import damaged_records, read_records
from trainables.errors import reason_of
from trainables.loops.finetune import TransferConfiguration
from trainables.network.model_files import CARD, WEIGHTS

Stage = Literal["shards", "pretrain", "analysis", "search", "confirm", "report"]

_ASIDE = ".damaged"
"""Ending of a trial's record that was found damaged; nothing reads it."""

_RESULTS: dict[str, tuple[str, ...]] = {
    "shards": ("digest", "test_images"),
    "search": ("trials", "best"),
    "confirm": ("winner", "validation", "opened", "arms", "differences", "candidates", "runs", "pictures"),
    "report": ("files",),
}
"""What a stage's result must hold for later stages."""


class FinishedStages:
    """Looks at what the stages of an experiment left.

    Args:
        jobs: The experiment's places and fingerprints.
        with_tests: Whether the locked test splits are looked at too; a run that ends with the search has no need of
            them, and may have no right to read them.

    Attributes:
        sampled: What the trials of a search that has to run again had sampled, by domain and number.
    """

    def __init__(self, jobs: Jobs, with_tests: bool = True) -> None:
        self._with_tests = with_tests
        self._jobs, self._home = jobs, jobs.experiment.home
        self.sampled: dict[str, dict[int, Any]] = {}

    def place(self, stage: Stage, name: str) -> Storage:
        """Folder of a stage; the name is that of an image set, and without a meaning for model and report."""
        folders = {"pretrain": ("source",), "report": ("report",)}
        return self._jobs.place(*folders.get(stage, (stage, name)))

    def check(self, stage: Stage, name: str, inputs: str, most_bytes: float = CHECKED_BYTES) -> Check:
        """Compares a stage with its record.

        Args:
            stage: Which stage.
            name: The image set; anything for model and report.
            inputs: Fingerprint that it should have.
            most_bytes: How many bytes may be read to compare digests.
        """
        place = self.place(stage, name)
        unseen = "" if self._with_tests else PREFIX
        check = check_stage(place, inputs, self._older(stage, name, most_bytes), most_bytes, unseen)
        if check.record is None or check.damage:
            return check
        missing = [key for key in _RESULTS.get(stage, ()) if key not in check.record["result"]]
        damage = {RECORD: f"lacks '{missing[0]}'"} if missing else {}
        if stage == "search" and not damage:
            damage = self._trials_missing(name)
        if stage == "confirm" and not damage:
            damage = self._other_candidates(name, check.record)
        return Check(check.record, damage)

    def must_run(self, stage: Stage, name: str, inputs: str, say: Callable[[str], None]) -> bool:
        """Whether a stage of a domain has to run; says what was found of it, and prepares it."""
        check = self.check(stage, name, inputs)
        if check.finished is not None:
            say(f"{stage} {name}: finished {check.finished['finished_at']}, skipped")
            return False
        if check.damage:
            say(f"{stage} {name}: {sentence(check.damage)}, running again")
        elif stage == "search":
            for file, problem in damaged_records(self._jobs.records_place(name)).items():
                say(f"search {name}: trial record {file} {problem}, running it again")
        self.prepare(stage, name, check)
        whole = check.record is not None and RECORD not in check.damage
        told = check.record["result"].get("sampled") if whole and check.record else None
        self.sampled[name] = {int(number): point for number, point in (told or {}).items()}
        return True

    def vouched(self, stage: Stage, name: str) -> Vouched:
        """What a stage that has just ended vouches for."""
        jobs, place, known = self._jobs, self.place(stage, name), {}
        places = [place]
        if stage == "shards":
            locked = [] if name == SOURCE else [jobs.locked_test(name)]
            places += locked
            known = {file["path"]: file for shards in places for file in self._parts(shards)}
        elif stage == "pretrain":
            places = [place.child(WEIGHTS), place.child(CARD)]
        elif stage == "analysis":
            places = []
        elif stage == "search":
            places = [jobs.records_place(name), place.child(OPTUNA_LOG)]
            places += [jobs.speeds_place()] if jobs.shortening() else []
        elif stage == "confirm":
            job = jobs.confirmation(name, None)
            places = [job.runs, job.opening, job.model, *([job.classical] if job.classical else [])]
        elif stage == "report":
            places += [jobs.place("confirm", domain, RECORD) for domain in jobs.experiment.targets]
        return Vouched(self._home, places, known)

    def prepare(self, stage: Stage, name: str, check: Check) -> None:
        """Takes out of the way what a stage that runs again would otherwise take for finished.

        A trial's record is kept under another name. The record that opened the locked test split is put back as the
        confirmation wrote it down.
        """
        if stage == "search":
            self._set_trials_aside(name, check)
        if stage == "confirm" and check.record is not None:
            for path in check.damage:
                self._set_run_aside(path, check.record)

    def _set_trials_aside(self, name: str, check: Check) -> None:
        records = self._jobs.records_place(name)
        base = records.uri.removeprefix(self._home.uri + "/")
        damaged = {path.rpartition("/")[2] for path in check.damage if path.rpartition("/")[0] == base}
        damaged = {file for file in damaged if file.removesuffix(".json").isdigit()} | set(damaged_records(records))
        for file in sorted(damaged):
            place = records.child(file)
            if place.exists():
                records.child(file + _ASIDE).write_bytes(place.read_bytes())
                place.delete()

    def _set_run_aside(self, path: str, record: dict[str, Any]) -> None:
        place = self._home.child(path)
        opened = record["result"].get("opened") if isinstance(record.get("result"), dict) else None
        if "/test-opened/" in path:
            if isinstance(opened, dict):
                place.write_json(opened)
            return
        folder = Storage(place.uri.rpartition("/")[0])
        own = folder.uri.rpartition("/")[2]
        redone = [place] if "/runs-" in path or path.endswith(f"/{FITTED}") else []
        if own.startswith(f"{INTERPOLATED}-seed"):
            redone.append(Storage(folder.uri.rpartition("/")[0]).child(INTERPOLATION))
        elif place.uri.rpartition("/")[2] in (WEIGHTS, CARD):
            redone.append(folder.child(RUN))
        elif "/classical-" in path:
            redone.append(folder.child(FITTED))
        for each in redone:
            if each.exists():
                each.delete()

    def _trials_missing(self, name: str) -> Damage:
        records = self._jobs.records_place(name)
        base = records.uri.removeprefix(self._home.uri + "/")
        whole = {record.number for record in read_records(records)}
        missing = [number for number in range(self._jobs.trials(name)) if number not in whole]
        problems = damaged_records(records) if missing else {}
        return {
            f"{base}/{file}": problems.get(file, "is missing") for file in (f"{number:04d}.json" for number in missing)
        }

    def _other_candidates(self, name: str, record: dict[str, Any]) -> Damage:
        """A trial that was lost and run again may have become another one."""

        def known_by(candidate: Candidate) -> tuple[str, TransferConfiguration | None]:
            return candidate.name, candidate.configuration

        try:
            confirmed = [known_by(c) for c in ConfirmationRecord.parse(record["result"]).candidates]
            found = [known_by(candidate) for candidate in self._jobs.confirmation(name, None).candidates]
        except Exception as error:
            return {f"confirm/{name}/{RECORD}": f"has candidates that cannot be compared ({reason_of(error)})"}
        return {} if confirmed == found else {f"confirm/{name}": "confirmed other candidates than the search has now"}

    def _parts(self, shards: Storage) -> Iterator[dict[str, Any]]:
        base = shards.uri.removeprefix(self._home.uri + "/")
        for part in read_manifest(shards)["files"]:
            yield {"path": f"{base}/{part['path']}", "bytes": part["bytes"], "sha256": part["sha256"]}

    def _older(self, stage: Stage, name: str, most_bytes: float) -> Any:
        """How files of a record without digests are looked at: by the digests that they have of their own, if any."""

        def look(record: dict[str, Any]) -> Damage:
            looks = {
                "shards": lambda: self._older_shards(name, record, most_bytes),
                "pretrain": lambda: self._older_model(self.place("pretrain", name)),
                "confirm": lambda: self._older_confirmation(name, record),
                "report": lambda: older_report(self._home),
            }
            try:
                return looks.get(stage, lambda: {})()
            except Exception as error:
                return {stage: reason_of(error)}

        return look

    def _older_shards(self, name: str, record: dict[str, Any], most_bytes: float) -> Damage:
        tested = self._with_tests and name != SOURCE and bool(record["result"].get("test_images"))
        damage: Damage = {}
        for place in (self._jobs.place("shards", name), *([self._jobs.locked_test(name)] if tested else [])):
            base = place.uri.removeprefix(self._home.uri + "/")
            try:
                damage |= damage_of(self._home, list(self._parts(place)), most_bytes)
            except Exception as error:
                damage[f"{base}/{MANIFEST}"] = f"is missing or damaged ({reason_of(error)})"
        return damage

    def _older_model(self, place: Storage) -> Damage:
        base = place.uri.removeprefix(self._home.uri + "/")
        try:
            read_model(place)
        except Exception as error:
            return {f"{base}/{WEIGHTS}": f"cannot be used ({reason_of(error)})"}
        return {}

    def _older_confirmation(self, name: str, record: dict[str, Any]) -> Damage:
        result, damage = record["result"], {}
        runs = self._home.child(result["runs"])
        for facts in runs.files():
            path, file = f"{result['runs']}/{facts.path}", facts.path.rpartition("/")[2]
            if not facts.size:
                damage[path] = "is empty"
            elif file.endswith(".json") and (problem := problem_of(file, self._home.child(path).read_json())):
                damage[path] = problem
        opening = f"confirm/{name}/test-opened/{record['inputs']}.json"
        if self._home.child(opening).read_json() != result["opened"]:
            damage[opening] = "is not what the confirmation recorded"
        share = (result.get("interpolation") or {}).get("share", 1)
        models = self._jobs.place("models", name)
        folders = {models.uri} | ({models.child(INTERPOLATED).uri} if share < 1 else set())
        for place in (models, runs):
            cards = (facts.path for facts in place.files() if facts.path.rpartition("/")[2] in (CARD, WEIGHTS))
            folders |= {place.child(path).uri.rpartition("/")[0] for path in cards}
        for folder in sorted(folders):
            damage |= self._older_model(Storage(folder))
        return damage


def older_report(home: Storage) -> Damage:
    """What is wrong with the files of a report whose stage lists no digests."""
    place, damage = home.child("report"), {}
    try:
        report = Report.model_validate_json(place.child("report.json").read_bytes())
    except Exception as error:
        return {"report/report.json": f"is missing or damaged ({reason_of(error)})"}
    try:
        if not isinstance(yaml.safe_load(place.child("best.yaml").read_bytes()), dict):
            damage["report/best.yaml"] = "is empty or damaged"
    except Exception as error:
        damage["report/best.yaml"] = f"is missing or damaged ({reason_of(error)})"
    sizes = {facts.path: facts.size for facts in place.files()}
    pictures = [panel.file for domain in report.domains.values() for one in domain.comparisons for panel in one.panels]
    for file in ("table.md", "index.html", *pictures):
        if not sizes.get(file):
            damage[f"report/{file}"] = "is empty" if file in sizes else "is missing"
    if sizes.get("index.html") and not place.child("index.html").read_bytes().rstrip().endswith(b"</html>"):
        damage["report/index.html"] = "is cut short"
    return damage
