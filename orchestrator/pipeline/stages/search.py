"""The search stage: one study per domain."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator.foundation.artefact_digests import Damage
from orchestrator.foundation.stage_record import RECORD, Check, StageRecord, Vouched
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.jobs.study_starts import study_starts
from orchestrator.pipeline.run_context import RunContext
from orchestrator.pipeline.stages.stage import Stage, trial_request
from orchestrator.runtime.task_runner import Needs, result_of
from orchestrator.search.driver import drive_study
from orchestrator.search.guide import read_end
from orchestrator.search.network_speed import device_sentence, measure_speeds
from orchestrator.search.optuna_export import FILE as OPTUNA_LOG
from orchestrator.search.optuna_export import study_title, write_optuna_log
from orchestrator.search.result import SearchResult, search_result
from orchestrator.search.source_limit import exceeded
from orchestrator.search.study import StudyJob
from orchestrator.search.trial_record import Point, TrialRecord, damaged_records, read_records

_ASIDE = ".damaged"
"""Suffix of a damaged trial record, which is kept but not read."""


class SearchStage(Stage):
    """Runs studies.

    Attributes:
        sampled: Sampled points of the trials of a search that has to run again, by domain and number.
    """

    name, noun = "search", "search"
    result = SearchResult

    def __init__(self, jobs: Jobs, with_tests: bool = True) -> None:
        super().__init__(jobs, with_tests)
        self.sampled: dict[str, dict[int, Point]] = {}

    def names(self, domains: Sequence[str]) -> tuple[str, ...]:
        """Every domain."""
        return tuple(domains)

    def inputs(self, name: str) -> str:
        """Fingerprint of a finished search."""
        return self.jobs.search_inputs(name)

    def vouched(self, name: str) -> Vouched:
        """Trial records, their Optuna log, and the measured speeds where they are an objective."""
        places = [self.jobs.records_place(name), self.place(name).child(OPTUNA_LOG)]
        return Vouched(self.home, places + ([self.jobs.speeds_place()] if self.jobs.shortening() else []))

    def requests(self, domains: Sequence[str]) -> dict[str, str]:
        """Resources of its trials."""
        return {self.title(domain): trial_request(self.jobs) for domain in domains}

    def run(self, run: RunContext) -> None:
        """Runs the studies of all domains at once."""
        domains = self.unfinished(run)
        if not domains:
            return
        run.log(f"search: {', '.join(f'{self.jobs.trials(domain)} trials for {domain}' for domain in domains)}")
        start = time.monotonic()
        progress = run.progress
        self.ensure_speeds(run)
        jobs: dict[str, StudyJob] = {}

        def job_of(domain: str) -> StudyJob:
            job = self.jobs.study(domain, study_starts(self.jobs, domain), progress)
            jobs[domain] = replace(job, known=self.sampled.get(domain, {}))
            return jobs[domain]

        def done(domain: str, records: list[TrialRecord]) -> None:
            self._export(domain, jobs[domain], records)
            self.finish(domain, start, search_result(records).plain())
            end = read_end(self.jobs.records_place(domain)) if jobs[domain].ends_early else None
            run.log(f"search {domain}: done, {len(records)} trials{f'; {end}' if end else ''}{exceeded(records)}")

        self.run_domains(run, domains, job_of, drive_study, done)

    def log_damage(self, name: str, check: Check, log: Callable[[str], None]) -> None:
        """Logs damaged trial records too if the search has not finished."""
        super().log_damage(name, check, log)
        if not check.damage:
            for file, problem in damaged_records(self.jobs.records_place(name)).items():
                log(f"search {name}: trial record {file} {problem}, running it again")

    def further_damage(self, name: str, record: StageRecord) -> Damage:
        """Trials whose record is missing or damaged."""
        records = self.jobs.records_place(name)
        whole = {record.number for record in read_records(records)}
        missing = [f"{number:04d}.json" for number in range(self.jobs.trials(name)) if number not in whole]
        problems = damaged_records(records) if missing else {}
        return {f"{self.below_home(records)}/{file}": problems.get(file, "is missing") for file in missing}

    def prepare(self, name: str, check: Check) -> None:
        """Renames damaged trial records, and remembers the sampled points of all trials."""
        records = self.jobs.records_place(name)
        base = self.below_home(records)
        damaged = {path.rpartition("/")[2] for path in check.damage if path.rpartition("/")[0] == base}
        damaged = {file for file in damaged if file.removesuffix(".json").isdigit()} | set(damaged_records(records))
        for file in sorted(damaged):
            place = records.child(file)
            if place.exists():
                records.child(file + _ASIDE).write_bytes(place.read_bytes())
                place.delete()
        if check.record is not None and RECORD not in check.damage:
            self.sampled[name] = SearchResult.parse(check.record.result).sampled or {}

    def trials_left(self, name: str) -> int:
        """Number of trials without a record; the domain's shards must be packed."""
        return self.jobs.trials(name) - len(self.jobs.records(name))

    def ensure_speeds(self, run: RunContext) -> None:
        """Measures the speeds of networks if they are an objective and have not been measured."""
        shortening = self.jobs.shortening()
        if shortening is None or shortening.speeds:
            return
        search = self.jobs.experiment.search
        needs = Needs(search.cpus_per_trial, search.gpus_per_trial)
        measured = result_of(run.runner, run.runner.submit(measure_speeds, self.jobs.speeds(), needs=needs))
        speeds = measured["megapixels_per_second"].values()
        run.log(f"  speed: {min(speeds):.3g} to {max(speeds):.3g} MP/s of output on {device_sentence(measured)}")

    def _export(self, domain: str, job: StudyJob, records: list[TrialRecord]) -> None:
        log = self.place(domain).child(OPTUNA_LOG)
        write_optuna_log(study_title(job), records, job.distributions(), log, job.objectives)
