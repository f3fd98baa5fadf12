"""The protocol of a stage: its inputs, its artefacts, whether it has finished, what is left of it, and how it runs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from orchestrator.data.locked_test import PREFIX
from orchestrator.foundation.artefact_digests import CHECKED_BYTES, Damage, sentence
from orchestrator.foundation.model_store import read_model
from orchestrator.foundation.stage_record import RECORD, Check, Vouched, check_stage, finish_stage, run_stage
from orchestrator.foundation.storage import Storage
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.run_context import RunContext
from trainables.errors import reason_of
from trainables.network.model_files import WEIGHTS


class Stage(ABC):
    """One stage of an experiment.

    Subclasses name their inputs and artefacts and run; comparing them with a record is the same for all.

    Args:
        jobs: The experiment's folders and fingerprints.
        with_tests: Whether the locked test splits are looked at too; a run that ends with the search has no need of
            them, and may have no right to read them.

    Attributes:
        name: As `until` and the display name it.
        noun: As its record, its lines and failures name it, and its folder is called.
        results: Keys of its result that later stages need.
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    results: ClassVar[tuple[str, ...]] = ()

    def __init__(self, jobs: Jobs, with_tests: bool = True) -> None:
        self.jobs, self.with_tests = jobs, with_tests
        self.home = jobs.experiment.home

    @abstractmethod
    def names(self, domains: Sequence[str]) -> tuple[str, ...]:
        """Image sets that it runs for, each with a record of its own, where these target domains are run."""

    @abstractmethod
    def inputs(self, name: str) -> str:
        """Fingerprint of all that determines its result."""

    @abstractmethod
    def vouched(self, name: str) -> Vouched:
        """Files that it vouches for once it has ended."""

    @abstractmethod
    def run(self, run: RunContext) -> None:
        """Runs it for every name that has not finished."""

    def place(self, name: str) -> Storage:
        """Folder of its artefacts and its record."""
        return self.jobs.place(self.noun, name)

    def title(self, name: str) -> str:
        """Name of the stage and of what it runs for, in lines and records."""
        return f"{self.noun} {name}"

    def requests(self, domains: Sequence[str]) -> dict[str, str]:
        """Resources that it asks the cluster for, in words, by the task that waits for them."""
        del domains
        return {}

    def check(self, name: str, most_bytes: float = CHECKED_BYTES) -> Check:
        """Compares its inputs, its files and its result with its record; reads at most so many bytes for digests."""

        def older(record: dict[str, Any]) -> Damage:
            try:
                return self.older_damage(name, record, most_bytes)
            except Exception as error:
                return {self.noun: reason_of(error)}

        unseen = "" if self.with_tests else PREFIX
        check = check_stage(self.place(name), self.inputs(name), older, most_bytes, unseen)
        if check.record is None or check.damage:
            return check
        missing = [key for key in self.results if key not in check.record["result"]]
        if missing:
            return Check(check.record, {RECORD: f"lacks '{missing[0]}'"})
        return Check(check.record, self.further_damage(name, check.record))

    def finished(self, name: str) -> bool:
        """Whether it need not run again."""
        return self.check(name).finished is not None

    def older_damage(self, name: str, record: dict[str, Any], most_bytes: float) -> Damage:
        """Damage of files whose digests its record does not list, as those of 0.2.0 do not."""
        del name, record, most_bytes
        return {}

    def further_damage(self, name: str, record: dict[str, Any]) -> Damage:
        """What is wrong beside its files and the keys of its result."""
        del name, record
        return {}

    def prepare(self, name: str, check: Check) -> None:
        """Takes out of the way what it would otherwise take for finished when it runs again."""
        del name, check

    def run_one(self, run: RunContext, name: str, work: Callable[[], Mapping[str, object]]) -> dict[str, Any]:
        """Runs it for one name, or skips it if it has finished, and logs which; returns its record."""
        vouched = lambda: self.vouched(name)  # noqa: E731
        place, inputs, check = self.place(name), self.inputs(name), self.check(name)
        return run_stage(self.title(name), place, inputs, work, run.say, vouched, check)

    def finish(self, name: str, start: float, result: Mapping[str, object]) -> None:
        """Writes the record of what began at ``start`` on the monotonic clock."""
        finish_stage(self.title(name), self.place(name), self.inputs(name), start, result, self.vouched(name))

    def unfinished(self, run: RunContext) -> list[str]:
        """Domains that it has to run for; logs what was found of each, and prepares it."""
        unfinished = []
        for domain in self.names(run.failures.going):
            with run.failures.leaving_behind(domain, self.noun):
                check = self.check(domain)
                if check.finished is not None:
                    run.say(f"{self.title(domain)}: finished {check.finished['finished_at']}, skipped")
                    continue
                self.log_damage(domain, check, run.say)
                self.prepare(domain, check)
                unfinished.append(domain)
        return unfinished

    def log_damage(self, name: str, check: Check, say: Callable[[str], None]) -> None:
        """Logs why it runs again, where files are damaged."""
        if check.damage:
            say(f"{self.title(name)}: {sentence(check.damage)}, running again")

    def below_home(self, place: Storage) -> str:
        """Path of a folder or file below the experiment's folder."""
        return place.uri.removeprefix(self.home.uri + "/")

    def model_damage(self, place: Storage) -> Damage:
        """Damage of a folder's model that has no digests."""
        try:
            read_model(place)
        except Exception as error:
            return {f"{self.below_home(place)}/{WEIGHTS}": f"cannot be used ({reason_of(error)})"}
        return {}


def trial_request(jobs: Jobs) -> str:
    """Resources of a trial, in words."""
    search = jobs.experiment.search
    gpus = f" and {search.gpus_per_trial:g} GPUs" if search.gpus_per_trial else ""
    return f"{search.cpus_per_trial:g} CPUs{gpus}"
