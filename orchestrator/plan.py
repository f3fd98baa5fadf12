"""What an experiment would do, how long it would take and what it would cost, without a cluster.

The time of a step is measured here, on this machine; the rest is counting.
"""

import time
from dataclasses import dataclass
from typing import Any

import torch

from orchestrator.cluster import Resources
from orchestrator.experiment import Experiment
from orchestrator.pipeline import Inputs
from trainables.degradation import Degradation
from trainables.evaluation import NamedImage, make_pairs, score
from trainables.finetune import Budget, TransferConfiguration, finetune
from trainables.network import SuperResolutionNet
from trainables.patches import PatchPool, smallest_image

_RANGE = (0.7, 1.5)
"""From the estimate to its ends: start-up, shared cores and stragglers make a run longer rather than shorter."""

_TRAIN_START_SECONDS, _STUDY_START_SECONDS = 25.0, 15.0


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """One stage: what it does and its wall-clock seconds."""

    stage: str
    work: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole run."""

    stages: list[StageEstimate]
    images: dict[str, int]
    slots: int
    step_seconds: float
    price_per_hour: float | None

    @property
    def seconds(self) -> float:
        """Estimated wall-clock seconds."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def seconds_range(self) -> tuple[float, float]:
        """Lowest and highest expected wall-clock seconds."""
        return self.seconds * _RANGE[0], self.seconds * _RANGE[1]

    @property
    def cost_range(self) -> tuple[float, float] | None:
        """Lowest and highest expected cost in the price's currency; None without a price."""
        if self.price_per_hour is None:
            return None
        low, high = self.seconds_range
        return low / 3600 * self.price_per_hour, high / 3600 * self.price_per_hour

    def to_dict(self) -> dict[str, Any]:
        """Plain values for scripts."""
        return {
            "images": self.images,
            "parallel_trials": self.slots,
            "step_seconds": self.step_seconds,
            "stages": [{"stage": s.stage, "work": s.work, "seconds": s.seconds} for s in self.stages],
            "seconds": self.seconds,
            "seconds_range": list(self.seconds_range),
            "cost_range": list(self.cost_range) if self.cost_range else None,
        }


def make_plan(experiment: Experiment, inputs: Inputs) -> Plan:
    """Estimates an experiment from its settings, its listed images and a measured step.

    On a cluster of unknown size (``cluster.address`` is set), trials are counted as if one ran per domain at once, at
    this machine's speed.
    """
    step, validation, test_image = _measure(experiment)
    slots = _slots(experiment, inputs.resources)
    images = {name: len(files) for name, files in inputs.files.items()}
    trials, targets = experiment.search.trials, len(experiment.targets)
    run = experiment.finetuning.steps * step + experiment.finetuning.budget().evaluations * validation
    confirmation = experiment.confirmation
    runs = (confirmation.top + 2) * confirmation.seeds
    tested = sum(_test_images(experiment, name, inputs) for name in experiment.targets)
    scored = tested * (2 + 3 * confirmation.seeds)
    pretraining = experiment.pretraining
    per_step = step * pretraining.batch / experiment.finetuning.batch * _crowding(experiment, inputs.resources)
    stages = [
        StageEstimate("shards", f"{sum(images.values())} images", 0.03 * sum(images.values())),
        _pretraining(experiment, per_step),
        StageEstimate(
            "search",
            f"{targets} domains × {trials} trials × {experiment.finetuning.steps} steps",
            _STUDY_START_SECONDS + targets * trials * (run + 1.0) / slots,
        ),
        StageEstimate(
            "confirm",
            f"{targets * runs} runs with fresh seeds, {scored} test images scored",
            (targets * runs * run + scored * test_image) / slots,
        ),
    ]
    return Plan(stages, images, slots, step, experiment.cluster.price_per_hour)


def _pretraining(experiment: Experiment, per_step: float) -> StageEstimate:
    if found := experiment.source_model:
        return StageEstimate("pretrain", f"source model {found.where}, nothing to train", 0.0)
    section = experiment.pretraining
    work = f"{section.steps} steps of {section.workers} × {section.batch} patches"
    return StageEstimate("pretrain", work, _TRAIN_START_SECONDS + section.steps * per_step)


def _slots(experiment: Experiment, resources: Resources | None) -> int:
    search, targets = experiment.search, len(experiment.targets)
    if resources is None:
        return targets * search.concurrent_trials
    fits = int(resources.cpus / search.cpus_per_trial)
    if search.gpus_per_trial > 0:
        fits = min(fits, int(resources.gpus / search.gpus_per_trial))
    return max(1, min(fits, targets * search.concurrent_trials))


def _crowding(experiment: Experiment, resources: Resources | None) -> float:
    if resources is None or experiment.pretraining.gpus_per_worker > 0:
        return 1.0
    return max(1.0, experiment.pretraining.workers / resources.cpus)


def _test_images(experiment: Experiment, name: str, inputs: Inputs) -> int:
    files = inputs.files[name]
    marked = sum(file.test for file in files)
    return marked or round(len(files) * experiment.targets[name].test_share)


def _measure(experiment: Experiment) -> tuple[float, float, float]:
    """Seconds of a training step, of one validation and of one test image, on one thread of this machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure_on_one_thread(experiment)
    finally:
        torch.set_num_threads(threads)


def _measure_on_one_thread(experiment: Experiment) -> tuple[float, float, float]:
    section, scale = experiment.finetuning, experiment.architecture.scale
    net = SuperResolutionNet(experiment.architecture)
    side = max(smallest_image(section.lr_patch, scale) + 16, 320)
    noise = torch.randint(0, 256, (side, side, 3), dtype=torch.uint8).numpy()
    space = experiment.space(next(iter(experiment.targets)))
    pool = PatchPool(
        lambda: iter([noise]), scale=scale, lr_patch=section.lr_patch, degradation=space.degradation, seed=0
    )
    configuration = TransferConfiguration(learning_rate=1e-4, lambda_=0.0, frozen_depth=0)

    def train(steps: int) -> float:
        start = time.monotonic()
        budget = Budget(steps=steps, batch=section.batch, evaluations=1)
        finetune(net, configuration, budget, pool, {}, lambda n: 0.0, lambda s, v: None)
        return (time.monotonic() - start) / steps

    train(3)
    step = train(12)
    crop = experiment.search.validation_crop
    pair = make_pairs([NamedImage("noise", "noise", noise)], Degradation(), scale, crop)
    start = time.monotonic()
    score(net, pair, scale)
    scored = time.monotonic() - start
    return step, scored * experiment.search.validation_images, scored * (400 / min(crop, side)) ** 2
