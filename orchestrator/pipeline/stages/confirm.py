"""The confirm stage: fresh seeds for the best configurations, a choice on validation, and the locked test."""

import re
import time
from collections.abc import Sequence

from orchestrator.confirm.driver import drive_confirmation
from orchestrator.confirm.job import ConfirmJob
from orchestrator.confirm.record import Candidate, ConfirmationRecord
from orchestrator.confirm.run_record import RUN, problem_of
from orchestrator.foundation.artefact_digests import Damage
from orchestrator.foundation.stage_record import RECORD, Check, StageRecord, Vouched
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.vocabulary import INTERPOLATED
from orchestrator.pipeline.run_context import RunContext
from orchestrator.pipeline.stages.run_files import set_aside
from orchestrator.pipeline.stages.stage import Stage, trial_request
from trainables.errors import reason_of
from trainables.loops.settings import TransferConfiguration
from trainables.metrics.constant_fields import constant_field_sentence
from trainables.network.model_files import CARD, WEIGHTS

_TRAINED = re.compile(rf"-seed\d+/{re.escape(RUN)}$")
"""Records of trainings, not of weights that were averaged of them."""


class ConfirmStage(Stage):
    """Confirms searches."""

    name, noun = "confirm", "confirm"
    result = ConfirmationRecord

    def names(self, domains: Sequence[str]) -> tuple[str, ...]:
        """Every domain."""
        return tuple(domains)

    def inputs(self, name: str) -> str:
        """Fingerprint of a confirmation."""
        return self.jobs.confirm_inputs(name)

    def vouched(self, name: str) -> Vouched:
        """Its runs, the record of the opened test split, the domain's models, and fitted classical baselines."""
        job = self.jobs.confirmation(name)
        return Vouched(self.home, [job.runs, job.opening, job.model, *([job.classical] if job.classical else [])])

    def requests(self, domains: Sequence[str]) -> dict[str, str]:
        """Resources of its runs, which are those of trials."""
        return {self.title(domain): trial_request(self.jobs) for domain in domains}

    def run(self, run: RunContext) -> None:
        """Confirms all domains at once."""
        domains = self.unfinished(run)
        if not domains:
            return
        run.log(f"confirm: {self.jobs.experiment.confirmation.seeds} fresh seeds each for {', '.join(domains)}")
        start, progress = time.monotonic(), run.progress

        def job_of(domain: str) -> ConfirmJob:
            self._make_way(domain)
            return self.jobs.confirmation(domain, progress)

        def done(domain: str, confirmed: ConfirmationRecord) -> None:
            self.finish(domain, start, confirmed.plain())
            run.log(f"confirm {domain}: done, the winner is {confirmed.winner}")
            if sentence := constant_field_sentence(confirmed.constant_fields):
                run.log(f"  {sentence}")

        self.run_domains(run, domains, job_of, drive_confirmation, done)

    def further_damage(self, name: str, record: StageRecord) -> Damage:
        """Candidates that differ from those of the search now, or a model at another place than it belongs now.

        A lost trial may get another result when run again; with a finished model, the confirmed one lies below it.
        """

        def known_by(candidate: Candidate) -> tuple[str, TransferConfiguration | None]:
            return candidate.name, candidate.configuration

        try:
            result = ConfirmationRecord.parse(record.result)
            confirmed = [known_by(candidate) for candidate in result.candidates if candidate.averaged is None]
            found = [known_by(candidate) for candidate in self.jobs.confirmation(name).candidates]
            trials = {f"trial-{trial.number}": trial.configuration for trial in self.jobs.records(name)}
        except Exception as error:
            return {f"confirm/{name}/{RECORD}": f"has candidates that cannot be compared ({reason_of(error)})"}
        # Earlier versions took candidates of one effect too; the trials of theirs must be what they were.
        older = all(trials.get(trial) == known for trial, known in confirmed if trial.startswith("trial-"))
        same = older if result.choice is None else set(found) <= set(confirmed)
        if not same:
            return {f"confirm/{name}": "confirmed other candidates than the search has now"}
        model = f"{self.below_home(self.jobs.confirmed_model(name))}/{WEIGHTS}"
        elsewhere = bool(record.files) and model not in {file.path for file in record.files or ()}
        return {model: "is missing"} if elsewhere else {}

    def older_damage(self, name: str, record: StageRecord, most_bytes: float) -> Damage:
        """Empty or malformed records of runs, a changed record of the opened test split, and unreadable models."""
        confirmed, damage = ConfirmationRecord.parse(record.result), {}
        runs = self.home.child(confirmed.runs)
        for facts in runs.files():
            path, file = f"{confirmed.runs}/{facts.path}", facts.path.rpartition("/")[2]
            if not facts.size:
                damage[path] = "is empty"
            elif file.endswith(".json") and (problem := problem_of(file, self.home.child(path).read_json())):
                damage[path] = problem
        opening = f"confirm/{name}/test-opened/{record.inputs}.json"
        if self.home.child(opening).read_json() != record.result["opened"]:
            damage[opening] = "is not what the confirmation recorded"
        share = confirmed.interpolation.share if confirmed.interpolation else 1
        models = self.jobs.confirmed_model(name)
        folders = {models.uri} | ({models.child(INTERPOLATED).uri} if share < 1 else set())
        for place in (models, runs):
            cards = (facts.path for facts in place.files() if facts.path.rpartition("/")[2] in (CARD, WEIGHTS))
            folders |= {place.child(path).uri.rpartition("/")[0] for path in cards}
        for folder in sorted(folders):
            damage |= self.model_damage(Storage(folder))
        return damage

    def prepare(self, name: str, check: Check) -> None:
        """Deletes damaged runs, and restores the record of the opened test split from the stage's record."""
        if check.record is not None:
            for path in check.damage:
                set_aside(self.home, path, check.record.result.get("opened"))

    def _make_way(self, name: str) -> None:
        """Removes what was made of an earlier confirmation: the finished model's record, and models at other places."""
        finished, model = self.jobs.place("finish", name, RECORD), self.jobs.place("models", name)
        if finished.exists():
            finished.delete()
        below = (INTERPOLATED, "front") if self.jobs.experiment.finish.enabled else ("confirmed",)
        for folder in below:
            model.child(folder).delete_folder()

    def runs_done(self, name: str) -> tuple[int, int]:
        """Numbers of runs of an unfinished confirmation that are trained, and that are scored on the test split."""
        place = self.place(name).child(f"runs-{self.inputs(name)}")
        paths = [facts.path for facts in place.files()]
        trained = sum(_TRAINED.search(path) is not None for path in paths)
        return trained, sum(path.startswith("test-") for path in paths)
