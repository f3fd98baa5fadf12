"""A whole experiment, stage by stage: shards → source model → search → confirmation → report."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ray

from orchestrator.cluster import Resources, check_resources, connect, local_resources
from orchestrator.confirming import ConfirmJob, candidates_of, run_confirmations
from orchestrator.experiment import FORMAT, Experiment, Target
from orchestrator.finetuning import DomainJob
from orchestrator.pretraining import SOURCE_DEGRADATION, pretrain_source
from orchestrator.progress import Board, Display
from orchestrator.reporting import write_report
from orchestrator.searching import Record, StudyJob, run_studies
from orchestrator.shards import (
    SourceFile,
    build_shards,
    check_sound,
    list_files,
    listing_fingerprint,
    read_manifest,
)
from orchestrator.stages import finished, fingerprint, now, run_stage
from orchestrator.storage import Storage
from trainables.errors import UsageError
from trainables.finetune import TransferConfiguration
from trainables.models import CARD
from trainables.patches import smallest_image
from trainables.version import __version__

SOURCE = "source"
STAGES = ("shards", "pretrain", "search", "confirm", "report")
"""Stages in order; a run may end after any of them."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a preflight found: every image file, by set, and the cluster if it is a Ray of our own."""

    files: dict[str, list[SourceFile]]
    resources: Resources | None


def preflight(experiment: Experiment) -> Inputs:
    """Checks all that can be checked before anything is spent.

    Raises:
        UsageError: If storage, images, an earlier experiment or the cluster's size stand in the way.
    """
    experiment.home.check_writable()
    _check_version(experiment)
    if SOURCE in experiment.targets:
        raise UsageError(f"A target cannot be called '{SOURCE}'; that is the source domain's folder.")
    root = Storage.at(experiment.root)
    files = {SOURCE: list_files(experiment.source, root)}
    for name, target in experiment.targets.items():
        files[name] = list_files(target, root, target.test_images)
    resources = local_resources(experiment.cluster) if experiment.cluster.address is None else None
    if resources is not None:
        check_resources(experiment, resources)
    return Inputs(files, resources)


def run_experiment(experiment: Experiment, inputs: Inputs, display: Display, until: str = "report") -> None:
    """Runs every stage that does not stand finished, and says of each whether it ran.

    Args:
        experiment: What to run.
        inputs: The result of :func:`preflight`.
        display: Where progress goes.
        until: The last stage, one of :data:`STAGES`.

    Raises:
        RunError: If a stage fails; what had finished is kept.
    """
    experiment.home.child("experiment.json").write_json(
        {"format": FORMAT, "rayscale": __version__, "written_at": now(), "settings": experiment.dump()}
    )
    wanted = STAGES[: STAGES.index(until) + 1]
    run = _Run(experiment, display)
    for name, files in inputs.files.items():
        run.shards(name, files)
    if "pretrain" not in wanted:
        return
    if not run.finished_through(wanted):
        with connect(experiment.cluster) as resources:
            check_resources(experiment, resources)
            run.on_cluster(resources, wanted)
    else:
        run.say_finished(wanted)
    if "report" in wanted:
        run.report()


class _Run:
    """The state of one run: which stages stand, and where."""

    def __init__(self, experiment: Experiment, display: Display) -> None:
        self.experiment, self.home, self.display = experiment, experiment.home, display

    def place(self, *parts: str) -> Storage:
        return self.home.child(*parts)

    def shards(self, name: str, files: list[SourceFile]) -> None:
        experiment, place = self.experiment, self.place("shards", name)
        image_set = experiment.source if name == SOURCE else experiment.targets[name]
        shares = {"validation": image_set.validation_share}
        if isinstance(image_set, Target) and image_set.test_images is None:
            shares["test"] = image_set.test_share
        section = experiment.pretraining if name == SOURCE else experiment.finetuning
        least = smallest_image(section.lr_patch, experiment.scale)

        def build() -> dict[str, Any]:
            manifest = build_shards(files, shares, least, place, image_set.licence)
            check_sound(place)
            return {"digest": manifest["digest"]}

        inputs = fingerprint(listing_fingerprint(files), shares, least, image_set.licence)
        run_stage(f"shards {name}", place, inputs, build, self.display.say)
        self._tell_counts(name, read_manifest(place))

    def on_cluster(self, resources: Resources, wanted: tuple[str, ...]) -> None:
        board = Board.remote()
        with self.display.watching(board):
            self._pretrain(resources, board)
            if "search" in wanted:
                self._search(board)
            if "confirm" in wanted:
                self._confirm(board)
        ray.kill(board)

    def report(self) -> None:
        place = self.place("report")
        confirmations = [self._digest_of("confirm", domain) for domain in self.experiment.targets]
        inputs = fingerprint(confirmations, self.experiment.generated_samples)
        studies = {domain: self.study_inputs(domain) for domain in self.experiment.targets}
        run_stage(
            "report", place, inputs, lambda: write_report(self.experiment, studies, place), self.display.say
        )

    # Fingerprints: each stage's inputs are its settings and the fingerprints of the stages before it.

    def source_inputs(self) -> str:
        settings = self.experiment.pretraining.model_dump(exclude={"workers", "gpus_per_worker", "pool_images"})
        digest = read_manifest(self.place("shards", SOURCE))["digest"]
        # The number of workers changes the effective batch and so the result; where they run does not.
        workers = self.experiment.pretraining.workers
        architecture = self.experiment.architecture.to_dict()
        return fingerprint(
            "pretrain-1", settings, workers, digest, architecture, SOURCE_DEGRADATION.to_dict(), self.experiment.seed
        )

    def study_inputs(self, domain: str) -> str:
        """Without the number of trials: a study with more trials is the same study, extended."""
        experiment, space = self.experiment, self.experiment.space(domain)
        search = experiment.search.model_dump(
            exclude={"trials", "cpus_per_trial", "gpus_per_trial", "concurrent_trials"}
        )
        return fingerprint(
            "search-1",
            self.source_inputs(),
            read_manifest(self.place("shards", domain))["digest"],
            [space.id, space.degradation.to_dict(), space.learning_rate, space.lambda_, space.zero_share],
            [str(start) for start in self._starts(domain)],
            experiment.frozen_depths(domain),
            experiment.finetuning.model_dump(exclude={"scratch_learning_rate"}),
            search,
            experiment.seed,
        )

    def search_inputs(self, domain: str) -> str:
        return fingerprint(self.study_inputs(domain), self.experiment.search.trials)

    def confirm_inputs(self, domain: str) -> str:
        settings = self.experiment.confirmation.model_dump()
        rate = self.experiment.finetuning.scratch_learning_rate
        return fingerprint("confirm-1", self.search_inputs(domain), settings, rate)

    def finished_through(self, wanted: tuple[str, ...]) -> bool:
        stands = finished(self.place("source"), self.source_inputs()) is not None
        for stage, inputs in (("search", self.search_inputs), ("confirm", self.confirm_inputs)):
            if stage in wanted:
                domains = self.experiment.targets
                stands = stands and all(finished(self.place(stage, domain), inputs(domain)) for domain in domains)
        return stands

    def say_finished(self, wanted: tuple[str, ...]) -> None:
        for stage in wanted[1:4]:
            self.display.say(f"{stage}: finished, skipped")

    def _pretrain(self, resources: Resources, board: Any) -> None:
        place, inputs = self.place("source"), self.source_inputs()
        shards = self.place("shards", SOURCE)
        run_stage(
            "pretrain",
            place,
            inputs,
            lambda: pretrain_source(self.experiment, shards, place, resources, board, inputs),
            self.display.say,
        )

    def _search(self, board: Any) -> None:
        jobs = []
        for domain in self.experiment.targets:
            done = finished(self.place("search", domain), self.search_inputs(domain))
            if done is not None:
                self.display.say(f"search {domain}: finished {done['finished_at']}, skipped")
            else:
                jobs.append(self._study(domain, board))
        if jobs:
            domains = ", ".join(job.domain.domain for job in jobs)
            self.display.say(f"search: {self.experiment.search.trials} trials each for {domains}")
            run_studies(jobs, lambda job, records: self._study_done(job, records))

    def _study_done(self, job: StudyJob, records: list[Record]) -> None:
        domain = job.domain.domain
        run_stage(
            f"search {domain}",
            self.place("search", domain),
            self.search_inputs(domain),
            lambda: {"trials": len(records), "seconds": sum(r["seconds"] for r in records)},
            _silent,
        )
        self.display.say(f"search {domain}: {len(records)} trials done")

    def _confirm(self, board: Any) -> None:
        jobs = []
        for domain in self.experiment.targets:
            done = finished(self.place("confirm", domain), self.confirm_inputs(domain))
            if done is not None:
                self.display.say(f"confirm {domain}: finished {done['finished_at']}, skipped")
            else:
                jobs.append(self._confirmation(domain, board))
        if jobs:
            self.display.say(f"confirm: fresh seeds for {', '.join(job.domain.domain for job in jobs)}")
            run_confirmations(jobs, lambda job, told: self._confirmation_done(job, told))

    def _confirmation_done(self, job: ConfirmJob, told: dict[str, Any]) -> None:
        domain = job.domain.domain
        candidates = [
            {
                "name": c.name,
                "label": c.label,
                "configuration": _plain(c.configuration),
                "validation_psnr": told["validation"][c.name],
                "search_psnr": c.search_psnr,
            }
            for c in job.candidates
        ]
        run_stage(
            f"confirm {domain}",
            self.place("confirm", domain),
            self.confirm_inputs(domain),
            lambda: {**told, "candidates": candidates, "runs": job.runs.uri.removeprefix(self.home.uri + "/")},
            _silent,
        )
        self.display.say(f"confirm {domain}: done, the winner is {told['winner']}")

    def _study(self, domain: str, board: Any) -> StudyJob:
        experiment, space = self.experiment, self.experiment.space(domain)
        return StudyJob(
            domain=self._domain_job(domain),
            settings=experiment.search,
            seed=experiment.seed,
            learning_rate=space.learning_rate,
            lambda_=space.lambda_range,
            lambda_floor=space.lambda_[0],
            frozen_depth=experiment.frozen_depths(domain),
            starts=self._starts(domain),
            records=self.place("search", domain, f"study-{self.study_inputs(domain)}"),
            scratch=self.place("search", domain, "ray"),
            board=board,
        )

    def _confirmation(self, domain: str, board: Any) -> ConfirmJob:
        from orchestrator.searching import read_records

        experiment, search = self.experiment, self.experiment.search
        records = read_records(self.place("search", domain, f"study-{self.study_inputs(domain)}"))[: search.trials]
        return ConfirmJob(
            domain=self._domain_job(domain),
            candidates=candidates_of(records, experiment.confirmation.top, self._default()),
            scratch=replace(self._default(), learning_rate=experiment.finetuning.scratch_learning_rate),
            seeds=tuple(experiment.seed + 1 + i for i in range(experiment.confirmation.seeds)),
            runs=self.place("confirm", domain, f"runs-{self.confirm_inputs(domain)}"),
            model=self.place("models", domain),
            lineage={
                "shards": read_manifest(self.place("shards", domain))["digest"],
                "source_shards": read_manifest(self.place("shards", SOURCE))["digest"],
                "source_model": str((self.place("source", CARD).read_json() or {}).get("sha256")),
                "study": self.study_inputs(domain),
            },
            cpus=search.cpus_per_trial,
            gpus=search.gpus_per_trial,
            board=board,
        )

    def _domain_job(self, domain: str) -> DomainJob:
        experiment, shards = self.experiment, self.place("shards", domain)
        return DomainJob(
            domain=domain,
            shards=shards,
            shards_digest=read_manifest(shards)["digest"],
            source=self.place("source"),
            degradation=experiment.space(domain).degradation,
            scale=experiment.scale,
            budget=experiment.finetuning.budget(),
            lr_patch=experiment.finetuning.lr_patch,
            validation_images=experiment.search.validation_images,
            validation_crop=experiment.search.validation_crop,
            threads=max(1, int(experiment.search.cpus_per_trial)),
            on_gpu=experiment.search.gpus_per_trial > 0,
        )

    def _default(self) -> TransferConfiguration:
        rate = self.experiment.finetuning.default_learning_rate
        return TransferConfiguration(learning_rate=rate, lambda_=0.0, frozen_depth=0)

    def _starts(self, domain: str) -> tuple[TransferConfiguration, ...]:
        return (self._default(), *self.experiment.space(domain).starts)

    def _digest_of(self, stage: str, domain: str) -> str:
        record = self.place(stage, domain, "stage.json").read_json() or {}
        return f"{record.get('inputs')} {record.get('finished_at')}"

    def _tell_counts(self, name: str, manifest: dict[str, Any]) -> None:
        counts = ", ".join(f"{count} {split}" for split, count in manifest["images"].items())
        skipped = manifest["skipped"]
        self.display.say(f"  {counts} images" + (f"; {len(skipped)} files left out:" if skipped else ""))
        for entry in skipped[:5]:
            self.display.say(f"    {entry['file']}: {entry['reason']}")
        if len(skipped) > 5:
            self.display.say(f"    and {len(skipped) - 5} more, all listed in {self.place('shards', name).uri}")


def _check_version(experiment: Experiment) -> None:
    place = experiment.home.child("experiment.json")
    if not place.exists():
        return
    told = place.read_json()
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        found = f"rayscale {told.get('rayscale')}, format {told.get('format')}" if isinstance(told, dict) else "unknown"
        raise UsageError(
            f"'{experiment.home.uri}' holds an experiment of another version ({found}; this is {__version__}, format "
            f"{FORMAT}): finish it with that version, or set another `name`."
        )


def _plain(configuration: TransferConfiguration | None) -> dict[str, Any] | None:
    if configuration is None:
        return None
    return {name: getattr(configuration, name) for name in ("learning_rate", "lambda_", "frozen_depth")}


def _silent(line: str) -> None:
    del line


Say = Callable[[str], None]
