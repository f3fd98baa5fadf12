"""Base class of stages: inputs, artefacts, the comparison with the record of an earlier run, and the run itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, TypeVar

from orchestrator.data.locked_test import PREFIX
from orchestrator.foundation.artefact_digests import CHECKED_BYTES, Damage, sentence
from orchestrator.foundation.model_store import read_model
from orchestrator.foundation.quantities import resources
from orchestrator.foundation.record import Record
from orchestrator.foundation.stage_record import (
    RECORD,
    Check,
    StageRecord,
    Vouched,
    check_stage,
    finish_stage,
    run_stage,
)
from orchestrator.foundation.storage import Storage
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.run_context import RunContext
from orchestrator.runtime.task_runner import TaskRunner, run_for_all
from trainables.errors import reason_of
from trainables.network.model_files import WEIGHTS

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


class Stage(ABC):
    """One stage of an experiment.

    Subclasses name their inputs and artefacts and do the work; comparing them with a record is the same for all.

    Args:
        jobs: The experiment's folders and fingerprints.
        with_tests: Whether the locked test splits are read too; a run that ends with the search does not need them,
            and may not have the right to read them.

    Attributes:
        name: Its name for `until` and on the display.
        noun: Its name in its record, in lines and failures, and the name of its folder.
        result: Record of its result, as later stages read it.
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    result: ClassVar[type[Record]] = Record

    def __init__(self, jobs: Jobs, with_tests: bool = True) -> None:
        self.jobs, self.with_tests = jobs, with_tests
        self.home = jobs.experiment.home

    @abstractmethod
    def names(self, domains: Sequence[str]) -> tuple[str, ...]:
        """Image sets that it runs for in a run of these target domains; every set has a record of its own."""

    @abstractmethod
    def inputs(self, name: str) -> str:
        """Fingerprint of all that determines its result."""

    @abstractmethod
    def vouched(self, name: str) -> Vouched:
        """Files whose digests its record lists once it has ended."""

    @abstractmethod
    def run(self, run: RunContext) -> None:
        """Runs it for every name that has not finished."""

    def place(self, name: str) -> Storage:
        """Folder of its artefacts and its record."""
        return self.jobs.place(self.noun, name)

    def title(self, name: str) -> str:
        """Name of the stage and of the image set, for lines and records."""
        return f"{self.noun} {name}"

    def requests(self, domains: Sequence[str]) -> dict[str, str]:
        """Resources that it requests of the cluster, in words, by the task that waits for them."""
        del domains
        return {}

    def check(self, name: str, most_bytes: float = CHECKED_BYTES) -> Check:
        """Compares its inputs, files and result with its record; digests are checked of at most so many bytes."""

        def older(record: StageRecord) -> Damage:
            try:
                return self.older_damage(name, record, most_bytes)
            except Exception as error:
                return {self.noun: reason_of(error)}

        unseen = "" if self.with_tests else PREFIX
        check = check_stage(self.place(name), self.inputs(name), older, most_bytes, unseen)
        if check.record is None:
            return check
        if problem := self.result.problem(check.record.result):
            return Check(check.record, {RECORD: problem} | check.damage)
        if check.damage:
            return check
        return Check(check.record, self.further_damage(name, check.record))

    def finished(self, name: str) -> bool:
        """True if it need not run again."""
        return self.check(name).finished is not None

    def older_damage(self, name: str, record: StageRecord, most_bytes: float) -> Damage:
        """Damage of files if its record lists no digests, as those of 0.2.0 do not."""
        del name, record, most_bytes
        return {}

    def further_damage(self, name: str, record: StageRecord) -> Damage:
        """Damage beyond that of its files and of the keys of its result."""
        del name, record
        return {}

    def prepare(self, name: str, check: Check) -> None:
        """Removes damaged artefacts that a further run would take for finished ones."""
        del name, check

    def run_one(self, run: RunContext, name: str, work: Callable[[], Record]) -> StageRecord:
        """Runs the stage for one name, or skips it if it has finished; logs which, and returns the stage's record."""
        place, inputs, check = self.place(name), self.inputs(name), self.check(name)
        plain, vouched = lambda: work().plain(), lambda: self.vouched(name)
        return run_stage(self.title(name), place, inputs, plain, run.log, vouched, check)

    def finish(self, name: str, start: float, result: Mapping[str, object]) -> None:
        """Writes the stage's record; it began at ``start`` on the monotonic clock."""
        place, inputs, vouched = self.place(name), self.inputs(name), self.vouched(name)
        finish_stage(self.title(name), place, inputs, start, result, vouched)

    def run_domains(
        self,
        run: RunContext,
        domains: Sequence[str],
        job_of: Callable[[str], _Job],
        drive: Callable[[_Job, TaskRunner], _Result],
        done: Callable[[str, _Result], None],
    ) -> None:
        """Drives the jobs of domains at once; a domain whose job cannot be made, or fails, is left behind.

        Args:
            run: The run.
            domains: Unfinished domains.
            job_of: Makes the job of a domain.
            drive: Drives a job to its result.
            done: Called with each domain and its result.
        """
        jobs: dict[str, _Job] = {}
        for domain in domains:
            with run.failures.leaving_behind(domain, self.noun):
                jobs[domain] = job_of(domain)
        failed = partial(run.failures.add, stage=self.noun)
        run_for_all(run.runner, drive, jobs, done, failed, name=f"driver of {self.noun}")

    def unfinished(self, run: RunContext) -> list[str]:
        """Domains that it has to run for; logs the finding for each domain, and prepares those."""
        unfinished = []
        for domain in self.names(run.failures.going):
            with run.failures.leaving_behind(domain, self.noun):
                check = self.check(domain)
                if check.finished is not None:
                    run.skip(self.title(domain), f"finished {check.finished.finished_at}")
                    continue
                self.log_damage(domain, check, run.log)
                self.prepare(domain, check)
                unfinished.append(domain)
        return unfinished

    def log_damage(self, name: str, check: Check, log: Callable[[str], None]) -> None:
        """Logs why it runs again, where files are damaged."""
        if check.damage:
            log(f"{self.title(name)}: {sentence(check.damage)}, running again")

    def below_home(self, place: Storage) -> str:
        """Path of a folder or file below the experiment's folder."""
        return place.uri.removeprefix(self.home.uri + "/")

    def model_damage(self, place: Storage) -> Damage:
        """Damage of a model for which no digests are on record."""
        try:
            read_model(place)
        except Exception as error:
            return {f"{self.below_home(place)}/{WEIGHTS}": f"cannot be used ({reason_of(error)})"}
        return {}


def trial_request(jobs: Jobs) -> str:
    """Resources of a trial, in words."""
    search = jobs.experiment.search
    return resources(search.cpus_per_trial, search.gpus_per_trial)
