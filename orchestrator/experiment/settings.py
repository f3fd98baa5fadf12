"""An experiment: every setting, its unit and its default."""

import dataclasses
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from orchestrator.experiment.cluster_defaults import filling_the_cluster
from orchestrator.experiment.image_settings import Rate, Section, Source, SourceModel, Target, kind_of_source
from orchestrator.experiment.placement import Placement
from orchestrator.foundation.model_store import FoundModel, find_rgb_model
from orchestrator.foundation.storage import Storage
from search_spaces import PORTFOLIO, TransferSpace, find_space
from trainables.inference.precision import Precision
from trainables.loops.settings import Budget, OptimizerName, RegularizerName, TransferMethod
from trainables.network.architecture import Architecture, FrozenFrom, frozen_depth_limit, preset

SMALLEST_EFFECT = 0.02
"""Default of the smallest difference of PSNR in dB that matters: that of single seeds is as large."""

MOST_TRIALS = 100_000
"""Largest number of trials of a study."""

FORMAT = 2
"""Version of what an experiment's folder holds; a folder of another version is refused, never guessed at."""

_DEFAULTS = {"scale": 4, "network": "base"}
"""Defaults of an experiment that pretrains; a source model has a scale and a shape of its own."""

_LEAST_SHARE = 0.01
"""Smallest share of a CPU or GPU that can be asked for; Ray counts in ten-thousandths."""

Positive = Annotated[int, Field(ge=1, le=10**9)]
Batch = Annotated[int, Field(ge=1, le=65_536)]
Patch = Annotated[int, Field(ge=8, le=4096)]
Few = Annotated[int, Field(ge=1, le=1000)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]


def _whole_above_one(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(
            f"must be a whole number, or a fraction of one GPU, found {gpus:g}: take {int(gpus)} or {int(gpus) + 1}"
        )
    if 0 < gpus < _LEAST_SHARE:
        raise ValueError(f"must be 0, or at least {_LEAST_SHARE:g}, found {gpus:g}")
    return gpus


TRIAL_TAGS = ("trials:number", "trials:auto")

Trials = Annotated[
    Annotated[int, Field(ge=1, le=MOST_TRIALS), Tag(TRIAL_TAGS[0])] | Annotated[Literal["auto"], Tag(TRIAL_TAGS[1])],
    Discriminator(lambda value: TRIAL_TAGS[value == "auto"]),
]

Cpus = Annotated[float, Field(ge=_LEAST_SHARE, le=10_000)]
Gpus = Annotated[float, Field(ge=0, le=1024), AfterValidator(_whole_above_one)]
AcceleratorType = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=63)]
LabelName = Annotated[str, Field(pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=253)]
LabelValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=63)]


class Pretraining(Section):
    """Settings of the source model's pretraining."""

    steps: Positive = Field(4000, description="optimiser steps")
    batch: Batch = Field(8, description="patches per step and worker")
    lr_patch: Patch = Field(32, description="side of a patch in LR pixels")
    learning_rate: Rate = Field(8e-4, description="peak learning rate")
    optimizer: OptimizerName = Field("muon", description="optimiser: `muon` or `adam`")
    precision: Precision = Field(
        "auto", description="`float32`, `bfloat16`, or `auto`: bfloat16 if the hardware has bfloat16 arithmetic"
    )
    workers: Annotated[int, Field(ge=1, le=10_000)] = Field(
        2,
        description="number of distributed training workers; by default as many as `cluster.gpus` holds, if that and "
        "`gpus_per_worker` are set, else 2",
    )
    least_workers: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None,
        description="fewest workers with which pretraining goes on while nodes are lost or have not come; they stand "
        "for the others, so that the training is the same; none: all workers are waited for",
    )
    reading: Literal["direct", "ray_data"] = Field(
        "direct",
        description="`direct`: each worker reads and decodes its share of the images; `ray_data`: CPUs anywhere in the "
        "cluster decode them, for GPU nodes with too few CPUs",
    )
    gpus_per_worker: Gpus = Field(0, description="GPUs per worker; 0 trains on CPU")
    report_every: Positive = Field(50, description="steps between two points of the loss curve")
    checkpoint_every: Positive = Field(500, description="steps between two checkpoints")
    pool_images: Positive = Field(
        2000, description="decoded images held by each worker, for each of the workers that it stands for"
    )

    @model_validator(mode="after")
    def _check_elastic(self) -> "Pretraining":
        if self.least_workers is None:
            return self
        if self.least_workers > self.workers:
            raise ValueError(
                f"cannot go on with fewer workers than least_workers, {self.least_workers}, of {self.workers} workers; "
                "lower least_workers"
            )
        if self.reading == "ray_data":
            raise ValueError(
                "cannot have least_workers with `reading: ray_data`, which divides the images among the workers that "
                "there are; take `reading: direct`"
            )
        return self


class Finetuning(Section):
    """Budget of every fine-tuning: trials, confirmation runs and baselines alike."""

    steps: Positive = Field(200, description="optimiser steps")
    batch: Batch = Field(8, description="patches per step")
    lr_patch: Patch = Field(32, description="side of a patch in LR pixels")
    evaluations: Positive = Field(4, description="validation scores per run; the last is taken after the last step")
    default_learning_rate: Rate = Field(
        PORTFOLIO[0].learning_rate, description="learning rate of the default fine-tune (all blocks, λ = 0)"
    )
    scratch_learning_rate: Rate = Field(1e-3, description="learning rate of training from scratch")
    precision: Precision = Field(
        "auto", description="`float32`, `bfloat16`, or `auto`: bfloat16 on GPUs that have bfloat16 arithmetic"
    )
    transfer: Literal["joint", "model", "feature"] = Field(
        "joint",
        description="`joint`: F_θ and G_φ of the source model, trained under L + λR; `model`: the same with λ = 0; "
        "`feature`: F_θ of the source model and a fresh G_φ, λ = 0",
    )
    regularizer: RegularizerName = Field("l2-sp", description="regularizer R: `l2-sp`, `l2`, `features` or `replay`")
    frozen_from: FrozenFrom = Field(
        "input", description="end of the network from which frozen depth counts: `input` or `output`"
    )
    adapter_rank: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="rank of low-rank adapters: each convolution that trains keeps its weights and learns a correction "
        "of that rank, which is added to them at the end; none: the weights train themselves",
    )

    @model_validator(mode="after")
    def _check_method(self) -> "Finetuning":
        if self.transfer == "feature" and self.frozen_from == "output":
            raise ValueError(
                "cannot freeze from the output with `transfer: feature`, whose fresh generator is the first block "
                "there; take `frozen_from: input`"
            )
        if self.transfer == "feature" and self.adapter_rank is not None:
            raise ValueError(
                "cannot have an `adapter_rank` with `transfer: feature`, whose generator begins anew and has no "
                "weights to correct; take `transfer: joint` or `model`, or remove `adapter_rank`"
            )
        return self

    @property
    def pixels(self) -> int:
        """LR pixels of all patches of one fine-tuning."""
        return self.steps * self.batch * self.lr_patch**2

    @property
    def searches_lambda(self) -> bool:
        """True if λ is searched; otherwise it is 0."""
        return self.transfer == "joint"

    def method(self) -> TransferMethod:
        """Transfer method as the training loop takes it."""
        return TransferMethod(
            generator="fresh" if self.transfer == "feature" else "reused",
            regularizer=self.regularizer,
            frozen_from=self.frozen_from,
            adapter_rank=self.adapter_rank,
        )

    def budget(self) -> Budget:
        """The settings as the training loop takes them."""
        return Budget(steps=self.steps, batch=self.batch, evaluations=min(self.evaluations, self.steps))


class Search(Section):
    """Settings of each domain's study."""

    trials: Trials = Field(
        24,
        description="trials per domain; `auto` ends a study when the next trial is expected to gain less than "
        "`seed_noise`",
    )
    most_trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] = Field(
        24, description="largest number of trials per domain with `trials: auto`"
    )
    seed_noise: Annotated[float, Field(gt=0, le=10)] = Field(
        0.02, description="standard deviation in dB of a training's validation PSNR over seeds, for `trials: auto`"
    )
    sampler: Literal["gp", "tpe", "random"] = Field("gp", description="Optuna sampler: `gp`, `tpe` or `random`")
    startup_trials: Positive = Field(5, description="trials before the sampler uses its model")
    starts: tuple[Literal["default", "portfolio", "advice", "space", "siblings"], ...] = Field(
        ("default", "portfolio"),
        description="starting points, tried first and in this order: `default`, the default fine-tune; `portfolio`, "
        "configurations that were good in every measured domain; `siblings`, the best configurations of other domains' "
        "searches, also of those that finish meanwhile; `space`, the starting points of the search space; `advice`, "
        "the points that the domain analysis advises",
    )
    starts_from: tuple[str, ...] = Field(
        (),
        description="folders or s3:// prefixes of other experiments; the best configurations of their searches are "
        "starting points too",
    )
    analysis_images: Annotated[int, Field(ge=8, le=10**9)] = Field(
        96, description="images of the source and of each domain that the analysis uses for `advice`"
    )
    kept_blocks: tuple[int, int] | None = Field(
        None,
        description="range for how many of F_θ's residual blocks, from the first, a trial keeps, such as [2, 8]; the "
        "search then has two objectives, quality and speed, and a Pareto front; none: quality alone, all blocks",
    )
    keep_source: Annotated[float, Field(ge=0, le=100)] | None = Field(
        None,
        description="most PSNR on held-out source images, in dB, that a fine-tuned model may lose; configurations that "
        "lose more can neither lead a search nor win; none: no limit, and no source PSNR is measured in trials",
    )
    stopping: Literal["none", "asha"] = Field("none", description="early stopping of trials: `none` or `asha`")
    reduction_factor: Annotated[int, Field(ge=2, le=10**9)] = Field(
        4, description="ASHA: a trial passes a rung if it is among the best 1 / reduction_factor so far"
    )
    grace: Positive = Field(1, description="ASHA: validation scores before the first rung")
    concurrent_trials: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1,
        description="concurrent trials per domain; 1 makes a study repeatable; by default as many as fill "
        "`cluster.gpus`, if that and `gpus_per_trial` are set, else 1",
    )
    cpus_per_trial: Cpus = Field(1, description="CPUs per trial")
    gpus_per_trial: Gpus = Field(
        0,
        description="GPUs per trial: a fraction of one for small networks, or so many of one node that share each "
        "batch for large ones; 0 trains on CPU",
    )
    validation_images: Positive = Field(16, description="validation images that are scored, spread over the scenes")
    validation_crop: Annotated[int, Field(ge=32, le=10**9)] = Field(
        256, description="side, in HR pixels, of the central crop that is scored"
    )

    @property
    def devices_per_trial(self) -> int:
        """Devices that share each batch of a trial: its GPUs, or its CPU."""
        return max(1, int(self.gpus_per_trial))

    @property
    def limit(self) -> int:
        """Largest number of trials of a domain's study."""
        return self.most_trials if self.trials == "auto" else self.trials

    @field_validator("starts")
    @classmethod
    def _check_starts(cls, starts: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(starts)) < len(starts):
            raise ValueError(f"must name each kind once, found {list(starts)}")
        return starts

    @field_validator("kept_blocks")
    @classmethod
    def _check_kept(cls, bounds: tuple[int, int] | None) -> tuple[int, int] | None:
        if bounds is not None and not 1 <= bounds[0] <= bounds[1]:
            raise ValueError(f"must be a range with 1 <= low <= high, found {list(bounds)}")
        return bounds

    @model_validator(mode="after")
    def _check_objectives(self) -> "Search":
        if self.trials == "auto" and self.kept_blocks is not None:
            raise ValueError(
                "cannot tell when a search by quality and speed stops improving (`trials: auto` with `kept_blocks`): "
                "give a number of trials"
            )
        if self.kept_blocks is not None and self.stopping != "none":
            raise ValueError(
                f"cannot stop trials early by quality alone (`stopping: {self.stopping}`) while `kept_blocks` searches "
                "quality and speed: take `stopping: none`, or leave `kept_blocks` out"
            )
        return self


class Confirmation(Section):
    """Settings of the winners' confirmation."""

    top: Few = Field(2, description="best trials of a study, of distinct effect, that become candidates")
    seeds: Few = Field(3, description="fresh seeds per candidate and baseline")
    ablation: bool = Field(
        True, description="run feature transfer and model transfer too, to measure what each step adds"
    )
    classical: bool = Field(
        True, description="compare with bilinear and Lanczos interpolation, total variation and anchored regression"
    )
    smallest_effect: Annotated[float, Field(ge=0, lt=100)] = Field(
        SMALLEST_EFFECT, description="smallest difference of PSNR in dB that matters; verdicts on SSIM know none"
    )


class Finish(Section):
    """Settings of the finished models: the winners trained for longer, on training and validation images."""

    enabled: bool = Field(
        True, description="train a finished model per domain, `models/DOMAIN`; without it that is the confirmed model"
    )
    doublings: Annotated[int, Field(ge=0, le=16)] = Field(
        3, description="longest training: `finetuning.steps`, doubled so often; lengths are compared on validation"
    )
    least_gain: Annotated[float, Field(ge=0, le=100)] = Field(
        0.02, description="gain in dB on validation below which a doubling of the steps is not worth it"
    )
    seeds: Few = Field(
        2, description="seeds of each length, at most `confirmation.seeds`; their weights are averaged if that helps"
    )


class Cluster(Section):
    """Settings of the cluster that runs the experiment, and of the budget."""

    address: str | None = Field(None, description="Ray cluster to join, `auto` or ray://…; none starts a local Ray")
    cpus: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="CPUs of the local Ray; all by default"
    )
    gpus: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        None, description="GPUs of an autoscaled cluster at its largest; by default those it has now"
    )
    accelerator_type: AcceleratorType | None = Field(
        None,
        description="type of the GPUs that workers and trials run on, by Ray's names such as `A100`",
    )
    labels: dict[LabelName, LabelValue] = Field(
        {}, description="labels that a node must have for this work, {pool: spot}, as `ray start --labels` sets them"
    )
    price_per_hour: Annotated[float, Field(ge=0)] | None = Field(
        None, description="price of the whole cluster per hour, in any currency"
    )
    budget_hours: Annotated[float, Field(gt=0)] | None = Field(
        None, description="limit on the hours that the remaining work may take; `run` and `plan` refuse more"
    )
    budget_cost: Annotated[float, Field(gt=0)] | None = Field(
        None, description="limit on the cost of the remaining work, in the currency of `price_per_hour`"
    )
    budget_action: Literal["refuse", "trim"] = Field(
        "refuse", description="above the budget: `refuse` the run, or `trim` the trials per domain until it fits"
    )
    budget_trials: Positive = Field(8, description="lower limit of trials per domain for trimming")

    @model_validator(mode="after")
    def _check_budget(self) -> "Cluster":
        if self.budget_cost is not None and not self.price_per_hour:
            raise ValueError(f"has a budget_cost of {self.budget_cost:g}, which needs a price_per_hour above 0")
        return self

    @property
    def placement(self) -> Placement:
        """Kind of node that the work runs on."""
        return Placement(self.accelerator_type or "", self.labels)


class Tracking(Section):
    """Trackers that show a run's trainings live, each given by one setting."""

    tensorboard: str | None = Field(None, description="folder for TensorBoard")
    mlflow: str | None = Field(None, description="tracking URI of MLflow; needs the package mlflow or mlflow-skinny")
    wandb: str | None = Field(None, description="project of Weights & Biases; needs the package wandb")


class Experiment(Section):
    """A whole experiment."""

    name: Name = Field(description="name of the experiment and of its folder below `storage`")
    storage: str = Field("runs", description="folder or s3:// prefix that holds experiments")
    root: str = Field(".", description="folder or s3:// prefix; relative image paths start here")
    scale: int | None = Field(None, description="scale factor: 2, 3 or 4; by default that of the source model, else 4")
    network: str | None = Field(
        None, description="preset of the network; by default that of the source model, else `base`"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="seed of all random numbers")
    generated_samples: bool = Field(False, description="whether the images are generated; the report says so")
    source: Source
    targets: Annotated[dict[Name, Target], Field(min_length=1)]
    pretraining: Pretraining = Pretraining()
    finetuning: Finetuning = Finetuning()
    search: Search = Search()
    confirmation: Confirmation = Confirmation()
    finish: Finish = Finish()
    cluster: Cluster = Cluster()
    tracking: Tracking = Tracking()

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, content: Any) -> Any:
        """Fills in defaults that depend on the source model, and those that depend on the cluster's GPUs."""
        if not isinstance(content, dict):
            return content
        content = filling_the_cluster(content)
        if kind_of_source(content.get("source")) == "source model":
            return content
        given = {key: value for key, value in content.items() if value is not None or key not in _DEFAULTS}
        return _DEFAULTS | given

    @model_validator(mode="after")
    def _check_accelerator(self) -> "Experiment":
        named = self.cluster.accelerator_type
        if named and not (self.pretraining.gpus_per_worker or self.search.gpus_per_trial):
            raise ValueError(
                f"names the accelerator type {named} (`cluster.accelerator_type`), but nothing runs on GPUs: set "
                "`pretraining.gpus_per_worker` or `search.gpus_per_trial`, or leave it out"
            )
        return self

    @field_validator("source", mode="before")
    @classmethod
    def _check_source(cls, source: Any) -> Any:
        if not isinstance(source, dict):
            return source
        source = {key: value for key, value in source.items() if value is not None or key not in ("images", "model")}
        if {"images", "model"} <= set(source):
            raise ValueError(
                "must name images to pretrain on or a model to start from, found both `images` and `model`"
            )
        if not source:
            raise ValueError("must name `images` to pretrain on or a `model` to start from, found neither")
        return source

    @property
    def home(self) -> Storage:
        """Place of all artefacts of the experiment."""
        return Storage.at(self.storage).child(self.name)

    @cached_property
    def source_model(self) -> FoundModel | None:
        """The model that the search starts from, read once; None where it is pretrained here.

        Raises:
            UsageError: If there is none of that name, it is damaged, or it takes other bands than red, green and blue.
        """
        return find_rgb_model(self.source.model) if isinstance(self.source, SourceModel) else None

    @property
    def architecture(self) -> Architecture:
        """The network's shape: the source model's, or the preset's."""
        found = self.source_model
        return found.net.architecture if found else preset(self.network or "base", self.scale or 4)

    def space(self, domain: str) -> TransferSpace:
        """The search space of a target, with the ranges that the file sets instead."""
        target, space = self.targets[domain], find_space(self.targets[domain].space or domain)
        changes = {name: getattr(target, name) for name in ("learning_rate", "lambda_") if getattr(target, name)}
        return dataclasses.replace(space, **changes)

    def frozen_depths(self, domain: str) -> tuple[int, int]:
        """Lowest and highest frozen depth of a target's study."""
        limit, deepest = frozen_depth_limit(self.architecture), self.space(domain).deepest
        return self.targets[domain].frozen_depth or (0, limit if deepest is None else min(deepest, limit))

    def dump(self) -> dict[str, object]:
        """Plain values of every setting, defaults included."""
        return self.model_dump(mode="json") | {"scale": self.architecture.scale}
