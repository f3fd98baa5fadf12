"""A whole experiment, stage by stage: shards → source model → analysis → search → confirmation → report."""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import ray

from orchestrator.analysis.analyze import advise_domains
from orchestrator.analysis.record import AdvisedDomain
from orchestrator.confirm.driver import drive_confirmation
from orchestrator.confirm.record import ConfirmationRecord
from orchestrator.data.shards import build_shards
from orchestrator.experiment.feasibility import Resources, check_resources
from orchestrator.experiment.settings import FORMAT, Experiment
from orchestrator.foundation.artefact_digests import sentence
from orchestrator.foundation.model_store import FoundModel
from orchestrator.foundation.s3 import end_uploads
from orchestrator.foundation.stage_record import RECORD, finish_stage, now, run_stage
from orchestrator.foundation.storage import Storage
from orchestrator.jobs.stage_jobs import SOURCE, Jobs
from orchestrator.jobs.study_starts import study_starts
from orchestrator.pipeline.domain_failures import DomainFailures
from orchestrator.pipeline.finished_stages import FinishedStages, Stage
from orchestrator.pipeline.pack_shards import Packing
from orchestrator.pipeline.preflight import Inputs, needs_ray
from orchestrator.report.build import write_report
from orchestrator.runtime.progress import Display, new_board
from orchestrator.runtime.ray_session import connect, drive_all, free_resources
from orchestrator.search.driver import drive_study
from orchestrator.search.network_speed import device_sentence, measure_speeds
from orchestrator.search.optuna_export import FILE as OPTUNA_LOG
from orchestrator.search.optuna_export import write_optuna_log
from orchestrator.search.result import search_result
from orchestrator.search.trial_record import TrialRecord
from orchestrator.training.pretrain import pretrain_source
from orchestrator.training.record import PretrainResult
from trainables.version import __version__

STAGES = ("shards", "pretrain", "analyze", "search", "confirm", "report")
"""Stages in order; a run may end after any of them."""


def run_experiment(
    experiment: Experiment,
    inputs: Inputs,
    display: Display,
    until: str = "report",
    domains: Sequence[str] | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Runs every stage that does not stand finished, and says of each whether it ran.

    Args:
        experiment: What to run.
        inputs: The result of :func:`preflight`.
        display: Where progress goes.
        until: The last stage, one of :data:`STAGES`.
        domains: The targets that are searched; all by default. The report is of all.
        check: Called before each stage; raises if the run must not go on.

    Raises:
        PartlyDoneError: If domains failed; the others are finished and, where that was asked for, reported.
        RunError: If a stage fails for all; what had finished is kept.
    """
    if experiment.home.remote:
        end_uploads(experiment.home.uri)
    experiment.home.child("experiment.json").write_json(
        {"format": FORMAT, "rayscale": __version__, "written_at": now(), "settings": experiment.dump()}
    )
    for line in inputs.not_used:
        display.say(line)
    wanted = STAGES[: STAGES.index(until) + 1]
    with ExitStack() as stack:
        run = _Run(experiment, tuple(experiment.targets if domains is None else domains), display, stack, until)
        if len(wanted) > 1 and experiment.cluster.address is not None and needs_ray(experiment, inputs):
            run.connect()  # before the first expensive stage: whether all fits is known then
        packed = [name for name in inputs.files if name == SOURCE or name in run.domains]
        Packing(run.jobs, inputs.files, display.say, run.run_shards, build_shards).pack(packed, run.packing)
        for stage in wanted[1:]:
            run.failures.check_some_left()
            check()
            with display.doing(stage, run.asks(stage)):
                getattr(run, stage)()
        run.failures.check_none(reported=until == "report")


class _Run:
    """One run of an experiment; Ray starts when the first stage needs it."""

    def __init__(
        self,
        experiment: Experiment,
        domains: tuple[str, ...],
        display: Display,
        stack: ExitStack,
        until: str,
    ) -> None:
        self.experiment, self.jobs, self.say = experiment, Jobs(experiment), display.say
        self.stages = FinishedStages(self.jobs, with_tests=until in ("confirm", "report"))
        self.domains, self.failures = domains, DomainFailures(domains, display.say)
        self._display, self._stack = display, stack

    def leaving_behind(self, name: str, stage: str) -> AbstractContextManager[None]:
        """Leaves a domain behind that fails, but not the source, which all others need."""
        return nullcontext() if name == SOURCE else self.failures.leaving_behind(name, stage)

    @contextmanager
    def packing(self, name: str) -> Iterator[None]:
        """What goes on while a set is packed; a domain whose set cannot be is left behind."""
        with self._display.doing(f"shards {name}"), self.leaving_behind(name, "shards"):
            yield

    def connect(self) -> None:
        """Starts or joins Ray, and checks that all fits it."""
        _, _ = self._cluster  # not by an assertion, which Python leaves out under -O

    def run_shards(self, name: str, work: Callable[[], Mapping[str, object]], inputs: str) -> dict[str, Any]:
        """Packs a set unless it stands finished and sound; gives the stage's record."""
        return self._run_stage("shards", name, f"shards {name}", inputs, work)

    def asks(self, stage: str) -> dict[str, str]:
        """What a stage asks the cluster for, by the task that waits for it."""
        search, section = self.experiment.search, self.experiment.pretraining
        if stage == "pretrain":
            each = f"{section.gpus_per_worker:g} GPUs" if section.gpus_per_worker else "a CPU or a share of one"
            return {"pretraining": f"{section.workers} workers with {each} each"}
        if stage in ("search", "confirm"):
            gpus = f" and {search.gpus_per_trial:g} GPUs" if search.gpus_per_trial else ""
            return {f"{stage} {domain}": f"{search.cpus_per_trial:g} CPUs{gpus}" for domain in self.failures.going}
        return {}

    def pretrain(self) -> None:
        place, shards = self.jobs.place("source"), self.jobs.place("shards", SOURCE)
        inputs = self.jobs.source_inputs()
        if found := self.experiment.source_model:
            self._adopt(found, place, inputs)
            return

        def train() -> PretrainResult:
            resources, board = self._cluster
            return pretrain_source(self.experiment, shards, place, resources, board, inputs)

        self._run_stage("pretrain", SOURCE, "pretrain", inputs, train)
        self.say(f"  to use it as it is: rayscale upscale YOUR_IMAGES UPSCALED --model {shlex.quote(place.uri)}")

    def _adopt(self, found: FoundModel, place: Storage, inputs: str) -> None:
        self.say(f"pretrain: source model {found.where}, nothing to train")
        check = self.stages.check("pretrain", SOURCE, inputs)
        if check.finished:
            return
        if check.damage:
            self.say(f"pretrain: {sentence(check.damage)}, copied again")
        start = time.monotonic()
        if place.child(RECORD).exists():
            place.child(RECORD).delete()  # of another model: its record must not outlive its files
        for name, data in found.files.items():
            place.child(name).write_bytes(data)
        vouched = self.stages.vouched("pretrain", SOURCE)
        finish_stage("pretrain", place, inputs, start, {"model": found.where}, vouched)

    def analyze(self) -> None:
        """Asks for advice on each domain that a study may start from."""
        if "advice" not in self.experiment.search.starts:
            return
        domains = self._unfinished("analysis", self.jobs.analysis_inputs)
        if not domains:
            return
        self.say(f"analysis: how far {', '.join(domains)} lie from the source")
        start = time.monotonic()
        for domain, told in self._advise(domains).items():
            place, inputs = self.jobs.place("analysis", domain), self.jobs.analysis_inputs(domain)
            finish_stage(f"analysis {domain}", place, inputs, start, told, self.stages.vouched("analysis", domain))
            advice = told["advice"]
            self.say(f"analysis {domain}: {advice['reason'] if advice else 'no advice, ' + told.get('reason', '')}")

    def _advise(self, domains: list[str]) -> dict[str, AdvisedDomain]:
        """All domains in one reading of the source's images; one by one where that fails."""
        try:
            return advise_domains(self.experiment, domains)
        except Exception:
            advised: dict[str, AdvisedDomain] = {}
            for domain in domains:
                with self.failures.leaving_behind(domain, "analysis"):
                    advised |= advise_domains(self.experiment, [domain])
            return advised

    def search(self) -> None:
        domains = self._unfinished("search", self.jobs.search_inputs)
        if not domains:
            return
        trials = ", ".join(f"{self.jobs.trials(domain)} trials for {domain}" for domain in domains)
        self.say(f"search: {trials}")
        start = time.monotonic()
        _, board = self._cluster
        self._measure_speeds()
        jobs = {}
        for domain in domains:
            with self.failures.leaving_behind(domain, "search"):
                job = self.jobs.study(domain, study_starts(self.jobs, domain), board)
                jobs[domain] = replace(job, known=self.stages.sampled.get(domain, {}))

        def done(domain: str, records: list[TrialRecord]) -> None:
            place, inputs = self.jobs.place("search", domain), self.jobs.search_inputs(domain)
            name = f"{self.experiment.name}, {domain}"
            job, log = jobs[domain], place.child(OPTUNA_LOG)
            write_optuna_log(name, records, job.distributions(), log, job.objectives)
            vouched = self.stages.vouched("search", domain)
            finish_stage(f"search {domain}", place, inputs, start, search_result(records).plain(), vouched)
            self.say(f"search {domain}: done, {len(records)} trials")

        drive_all("Search", drive_study, jobs, done, lambda domain, why: self.failures.add(domain, "search", why))

    def _measure_speeds(self) -> None:
        """Measures on Ray the speeds that studies maximise too, unless that is done or quality alone is searched."""
        shortening = self.jobs.shortening()
        if shortening is None or shortening.speeds:
            return
        search = self.experiment.search
        task = measure_speeds.options(num_cpus=search.cpus_per_trial, num_gpus=search.gpus_per_trial, max_retries=2)
        told = ray.get(task.remote(self.jobs.speeds()))
        speeds = told["megapixels_per_second"].values()
        self.say(f"  speed: {min(speeds):.3g} to {max(speeds):.3g} MP/s of output on {device_sentence(told)}")

    def confirm(self) -> None:
        domains = self._unfinished("confirm", self.jobs.confirm_inputs)
        if not domains:
            return
        self.say(f"confirm: {self.experiment.confirmation.seeds} fresh seeds each for {', '.join(domains)}")
        start = time.monotonic()

        _, board = self._cluster
        jobs = {}
        for domain in domains:
            with self.failures.leaving_behind(domain, "confirm"):
                jobs[domain] = self.jobs.confirmation(domain, board)

        def done(domain: str, confirmed: ConfirmationRecord) -> None:
            place, inputs = self.jobs.place("confirm", domain), self.jobs.confirm_inputs(domain)
            vouched = self.stages.vouched("confirm", domain)
            finish_stage(f"confirm {domain}", place, inputs, start, confirmed.plain(), vouched)
            self.say(f"confirm {domain}: done, the winner is {confirmed.winner}")

        failed = lambda domain, why: self.failures.add(domain, "confirm", why)  # noqa: E731
        drive_all("Confirmation", drive_confirmation, jobs, done, failed)

    def report(self) -> None:
        if missing := self.failures.reasons:
            self._report_of_some(missing)
            return
        records = {domain: self.jobs.records(domain) for domain in self.experiment.targets}
        place = self.jobs.place("report")
        write = lambda: write_report(self.experiment, records, place)  # noqa: E731
        self._run_stage("report", SOURCE, "report", self.jobs.report_inputs(), write)

    def _report_of_some(self, missing: dict[str, str]) -> None:
        """A report that is no finished stage: the next run makes it again, with all domains."""
        self.say(f"report: of {', '.join(self.failures.going)} alone")
        place, targets = self.jobs.place("report"), self.experiment.targets
        if place.child(RECORD).exists():
            place.child(RECORD).delete()
        some = self.experiment.model_copy(update={"targets": {name: targets[name] for name in self.failures.going}})
        write_report(some, {domain: self.jobs.records(domain) for domain in some.targets}, place, missing)

    @cached_property
    def _cluster(self) -> tuple[Resources, Any]:
        resources = self._stack.enter_context(connect(self.experiment.cluster))
        check_resources(self.experiment, resources)
        self._display.free = free_resources
        board = new_board()
        self._stack.enter_context(self._display.watching(board))
        return resources, board

    def _run_stage(
        self, stage: Stage, name: str, title: str, inputs: str, work: Callable[[], Mapping[str, object]]
    ) -> dict[str, Any]:
        """Runs a stage unless it has finished and its files are what it wrote."""
        check = self.stages.check(stage, name, inputs)
        vouched = lambda: self.stages.vouched(stage, name)  # noqa: E731
        return run_stage(title, self.stages.place(stage, name), inputs, work, self.say, vouched, check)

    def _unfinished(self, stage: Stage, inputs_of: Any) -> list[str]:
        unfinished = []
        for domain in self.failures.going:
            with self.failures.leaving_behind(domain, stage):
                if self.stages.must_run(stage, domain, inputs_of(domain), self.say):
                    unfinished.append(domain)
        return unfinished
