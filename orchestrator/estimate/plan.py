"""Plan of an experiment: its work, duration and cost, without a cluster.

The times of a step, a score and the start of a process are measured on this machine; the rest is counted. Each stage
has one estimator, which counts its remaining work.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from orchestrator.analysis.search_worth import SearchWorth, predict
from orchestrator.estimate.further_scores import of_a_confirmation, of_a_finished_model, of_a_trial
from orchestrator.estimate.known import Known
from orchestrator.estimate.rates import Rates, SetToTime, measure
from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.vocabulary import CLASSICAL
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.preflight import Inputs
from orchestrator.pipeline.remaining_work import remaining
from orchestrator.search.pareto_front import CONFIRMED

_RANGE = (0.7, 1.3)
"""Factors from the estimate to the ends of its range."""

# Ray starts processes of its own, whose imports take longer than a small experiment trains. So many are started by a
# stage, and so many of them one after the other: counted on a real run, and set by what three took (plan_check.py).
_PRETRAINING_PROCESSES = 7
_PRETRAINING_IN_TURN = {"direct": 4.4, "ray_data": 7.0}
_RAY_WORKERS = 1.2
"""Overhead of Ray itself, in starts of a worker."""

_REPORT_WORKERS = 0.4
"""Time of a report's figures, in starts of a worker."""

_TRIAL_SECONDS = 0.4
"""Seconds between two trials of a domain: Optuna's suggestion, and Ray Tune's round through its actors."""


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """One stage of a run.

    Attributes:
        stage: Its name.
        work: Its work in words.
        seconds: Its wall-clock seconds; 0 where they are not known.
        known: Whether they are known: they are not where the stage asks for GPUs that this machine does not have.
        uses: What it uses of the cluster, such as ``8 of 8 GPUs``; may be empty.
    """

    stage: str
    work: str
    seconds: float
    known: bool = True
    uses: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole run, or its remaining part."""

    stages: list[StageEstimate]
    images: dict[str, int]
    slots: int
    rates: Rates
    price_per_hour: float | None
    not_used: tuple[str, ...] = ()
    search_worth: dict[str, SearchWorth] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Estimated wall-clock seconds of the stages whose time is known."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Stages whose time is not known here."""
        return tuple(stage.stage for stage in self.stages if not stage.known)

    @property
    def seconds_range(self) -> tuple[float, float]:
        """Lowest and highest expected wall-clock seconds."""
        return self.seconds * _RANGE[0], self.seconds * _RANGE[1]

    @property
    def step_seconds(self) -> dict[str, float]:
        """Seconds of a fine-tuning step with every block trained, by domain."""
        return {name: rates.step for name, rates in self.rates.domains.items()}

    @property
    def cost_range(self) -> tuple[float, float] | None:
        """Lowest and highest expected cost in the price's currency; None without a price."""
        if self.price_per_hour is None:
            return None
        low, high = self.seconds_range
        return low / 3600 * self.price_per_hour, high / 3600 * self.price_per_hour

    def to_dict(self) -> dict[str, object]:
        """Plain values for scripts."""
        return {
            "images": self.images,
            "parallel_trials": self.slots,
            "machine": self.rates.machine,
            "step_seconds": self.step_seconds,
            "stages": [
                {
                    "stage": s.stage,
                    "work": s.work,
                    "seconds": s.seconds if s.known else None,
                    **({"uses": s.uses} if s.uses else {}),
                }
                for s in self.stages
            ],
            "seconds": self.seconds,
            "seconds_range": list(self.seconds_range),
            "cost_range": list(self.cost_range) if self.cost_range else None,
            "not_used": list(self.not_used),
            "search_worth": self.search_worth,
        }


def make_plan(experiment: Experiment, inputs: Inputs, rates: Rates | None = None) -> Plan:
    """Estimates the remaining work of an experiment from its settings, its listed images and measured times.

    On a cluster of unknown size (``cluster.address`` is set), trials are counted as if one ran per domain at once, at
    this machine's speed.

    Args:
        experiment: Experiment to estimate.
        inputs: The result of :func:`~orchestrator.pipeline.preflight.preflight`.
        rates: Rates of an earlier plan of the same images and network; measured here by default.
    """
    slots = _slots(experiment, inputs.resources)
    if rates is None:
        jobs = Jobs(experiment)
        scale = experiment.architecture.scale
        sets = {
            name: SetToTime(files, jobs.least_side(name), jobs.deep(name), scale)
            for name, files in inputs.files.items()
        }
        rates = measure(experiment, sets, slots)
    cores = inputs.resources.cpus if inputs.resources else float(slots)
    known = Known(experiment, rates, remaining(experiment, inputs.files, inputs.images_per_file), slots, cores)
    images = {name: len(files) for name, files in inputs.files.items()}
    stages = [_on_the_cluster(estimate(known), known, inputs.resources) for estimate in _STAGES]
    worth = {domain: _worth(domain, known, inputs) for domain, trials in known.left.trials.items() if trials}
    return Plan(stages, images, slots, rates, experiment.cluster.price_per_hour, inputs.not_used, worth)


def _on_the_cluster(stage: StageEstimate, known: Known, resources: Resources | None) -> StageEstimate:
    """A stage with what it uses of the cluster, and without seconds if they were not measured on its device."""
    left = stage.seconds > 0
    elsewhere = left and stage.stage in known.rates.elsewhere
    uses = use_of_cluster(known.experiment, stage.stage, known.slots, resources) if left else ""
    return replace(stage, seconds=0.0 if elsewhere else stage.seconds, known=not elsewhere, uses=uses)


def use_of_cluster(experiment: Experiment, stage: str, slots: int, resources: Resources | None) -> str:
    """Share of the cluster that a stage uses, in words; empty for stages that the command's own machine does.

    Args:
        experiment: The experiment.
        stage: Name of the stage.
        slots: Trials and trainings at once.
        resources: Resources of this machine where it is the cluster.
    """
    pretraining, search = experiment.pretraining, experiment.search
    if stage == "pretrain":
        gpus, cpus = pretraining.workers * pretraining.gpus_per_worker, float(pretraining.workers)
    elif stage in ("search", "confirm", "finish"):
        gpus, cpus = slots * search.gpus_per_trial, slots * search.cpus_per_trial
    else:
        return ""
    kind, used = ("GPU", gpus) if gpus > 0 else ("CPU", cpus)
    of_all = (resources.gpus if gpus > 0 else resources.cpus) if resources else None
    if of_all is None and gpus > 0 and experiment.cluster.gpus:
        of_all = float(experiment.cluster.gpus)
    if of_all is None:
        return f"{used:g} {kind}{'' if used == 1 else 's'}"
    return f"{min(used, of_all):g} of {of_all:g} {kind}{'' if of_all == 1 else 's'}"


def _worth(domain: str, known: "Known", inputs: Inputs) -> SearchWorth:
    """The predicted worth of a target's search; scenes are split as images are."""
    images = known.left.images[domain]
    share = images["train"] / max(1, images["train"] + images["validation"])
    scenes = len({file.scene for file in inputs.files[domain] if not file.test})
    return predict(Jobs(known.experiment).search_facts(domain, max(1, round(share * scenes)), images["train"]))


def _start(known: Known) -> StageEstimate:
    """The command line itself; Ray, if a stage needs it."""
    needs_ray = known.left.needs_ray
    workers = 1 + _RAY_WORKERS if needs_ray else 1
    return StageEstimate("start", "the command, and Ray" if needs_ray else "the command", workers * known.rates.worker)


def _shards(known: Known) -> StageEstimate:
    unpacked = known.left.unpacked
    # Every image is read, and its copy checked once more.
    seconds = sum(1.5 * count * known.rates.read[name] for name, count in unpacked.items())
    return _stage("shards", f"{sum(unpacked.values())} images", seconds, bool(unpacked))


def _pretrain(known: Known) -> StageEstimate:
    experiment, left, rates = known.experiment, known.left, known.rates
    if found := experiment.source_model:
        return StageEstimate("pretrain", f"source model {found.where}, nothing to train", 0.0)
    section = experiment.pretraining
    images = next(counts for name, counts in left.images.items() if name not in experiment.targets)
    read = next(seconds for name, seconds in rates.read.items() if name not in experiment.targets)
    scored = sum(rates.domains[name].validate for name in experiment.targets) / len(experiment.targets)
    seconds = (
        known.starting(_PRETRAINING_PROCESSES + section.workers, _PRETRAINING_IN_TURN[section.reading])
        + min(images["train"], section.workers * section.pool_images) * read
        + left.pretraining_steps * rates.pretraining_step
        + images["validation"] * 2 * scored
    )
    work = f"{left.pretraining_steps} steps of {section.workers} × {section.batch} patches"
    return _stage("pretrain", work, seconds, left.pretraining_steps > 0)


def _search(known: Known) -> StageEstimate:
    experiment, section = known.experiment, known.experiment.search
    trials = {domain: count for domain, count in known.left.trials.items() if count}
    # A study keeps its place in the cluster from its first trial to its last.
    places = max(1, known.slots // section.concurrent_trials)
    studies = []
    for domain, count in trials.items():
        rates, _ = known.of(domain)
        # The frozen depth is drawn from all between none and the deepest.
        steps = experiment.finetuning.steps * (rates.step + rates.frozen_step) / 2
        trial = steps + known.scoring(domain) + known.further(domain, of_a_trial(experiment)) + _TRIAL_SECONDS
        at_once = min(section.concurrent_trials, count, known.slots)
        first = known.first(domain) + (known.first_source(domain) if section.keep_source is not None else 0)
        studies.append(known.rates.worker + first + count * trial / at_once)
    driving = known.starting(len(trials), 1)
    per_domain = _range_of(trials.values())
    work = f"{len(trials)} domains × {per_domain} trials × {experiment.finetuning.steps} steps"
    return _stage("search", work, driving + _makespan(studies, places), bool(trials))


def _confirm(known: Known) -> StageEstimate:
    experiment, left = known.experiment, known.left
    arms = _arms(experiment)
    runs, scored, seconds = 0, 0, 0.0
    for domain in left.trained:
        rates, images = known.of(domain)
        training = max(0, arms.trained - left.trained[domain])
        scoring = max(0, arms.scored - left.scored[domain]) * images["test"]
        run = experiment.finetuning.steps * rates.step + known.scoring(domain)
        # Every worker comes to hold every domain; the pictures are whole test images once more.
        seconds += training * run + (scoring + arms.pictures) * rates.test + known.holding(domain)
        seconds += known.further(domain, of_a_confirmation(experiment, arms.steps))
        runs, scored = runs + training, scored + scoring
    starting = known.starting(known.slots, 1)
    work = f"{runs} runs with fresh seeds, {scored} test images scored"
    return _stage("confirm", work, starting + seconds / known.slots, bool(left.trained))


def _finish(known: Known) -> StageEstimate:
    """The most that it can take: every doubling is tried, and the longest one chosen."""
    experiment, left, section = known.experiment, known.left, known.experiment.finish
    seeds, longest = min(section.seeds, experiment.confirmation.seeds), 2**section.doublings
    tried = 2 * longest - 2  # 2 + 4 + … + longest
    runs, steps, seconds = seeds * (section.doublings + 1), 0, 0.0
    for domain in left.finishing:
        rates, images = known.of(domain)
        every = max(0, seeds * (tried + longest) * experiment.finetuning.steps - left.finishing[domain])
        seconds += every * rates.step + runs * known.scoring(domain) + images["test"] * rates.test
        seconds += known.further(domain, of_a_finished_model(experiment)) + known.holding(domain)
        steps += every
    if not section.enabled:
        return StageEstimate("finish", "left out", 0.0)
    work = f"at most {steps} steps for {len(left.finishing)} finished models"
    return _stage("finish", work, known.starting(known.slots, 1) + seconds / known.slots, bool(left.finishing))


def _report(known: Known) -> StageEstimate:
    return _stage("report", "figures and tables", _REPORT_WORKERS * known.rates.worker, known.left.report)


_STAGES = (_start, _shards, _pretrain, _search, _confirm, _finish, _report)
"""One estimator for each stage, in order."""


@dataclass(frozen=True, slots=True)
class _Arms:
    """Work of a confirmation for one domain.

    Attributes:
        trained: Runs that are trained.
        scored: Runs that are scored on test.
        pictures: Whole images for its pictures.
        steps: Steps of transfer among the arms.
    """

    trained: int
    scored: int
    pictures: int
    steps: int


def _arms(experiment: Experiment) -> _Arms:
    section = experiment.confirmation
    steps = 2 if section.ablation and experiment.finetuning.transfer == "joint" else 0
    # Trained: the study's best, default and scratch, then feature and model transfer, the former at two rates once.
    front = _front(experiment)
    trained = (section.top + 2 + steps + front) * section.seeds + (1 if steps else 0)
    # Scored: bicubic and zero-shot, then scratch, default, the answer, its average with the source and the best mean,
    # then the steps, and once the average over seeds.
    fitted = len(CLASSICAL) - 1 if section.classical else 0
    scored = 2 + (5 + steps + front) * section.seeds + (section.seeds > 1) + fitted
    return _Arms(trained, scored, 3 * 4, steps)


def _front(experiment: Experiment) -> int:
    """Most points of a front that are trained beside the candidates, the best of which is a point too."""
    low, high = experiment.search.kept_blocks or (1, 1)
    return min(high - low + 1, CONFIRMED) - 1


def _stage(name: str, work: str, seconds: float, left: bool) -> StageEstimate:
    return StageEstimate(name, work, seconds) if left else StageEstimate(name, "finished", 0.0)


def _makespan(studies: Iterable[float], places: int) -> float:
    """Makespan of studies that are begun in order, each as soon as a place is free."""
    free = [0.0] * places
    for seconds in studies:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def _range_of(counts: Iterable[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return str(low) if low == high else f"{low} to {high}"


def _slots(experiment: Experiment, resources: Resources | None) -> int:
    search, targets = experiment.search, len(experiment.targets)
    if resources is None:
        return targets * search.concurrent_trials
    fits = int(resources.cpus / search.cpus_per_trial)
    if search.gpus_per_trial > 0:
        fits = min(fits, int(resources.gpus / search.gpus_per_trial))
    return max(1, min(fits, targets * search.concurrent_trials))
