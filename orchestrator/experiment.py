"""The experiment file: every setting, its unit and its default. Unknown keys are refused with a suggestion."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestrator.storage import Storage
from search_spaces import TransferSpace, find_space
from trainables.errors import UsageError, suggestion
from trainables.finetune import Budget
from trainables.network import Architecture, check_frozen_depth, frozen_depth_limit, preset

FORMAT = 1
"""Version of what an experiment's folder holds; a folder of another version is refused, never guessed at."""

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SceneTable(_Section):
    """A CSV file that names each image's scene."""

    table: str = Field(description="CSV file with a header, relative to `root`")
    file_column: str = Field("file", description="column with the image's file name")
    scene_column: str = Field("scene", description="column with the scene's name")
    pattern: str | None = Field(None, description="regular expression; its first group is the scene")


class ScenePattern(_Section):
    """A regular expression that finds the scene in an image's path."""

    pattern: str = Field(description="regular expression; its first group is the scene")


Scenes = Literal["file", "folder"] | SceneTable | ScenePattern


class ImageSet(_Section):
    """Where images are, and what must not be split between train, validation and test."""

    images: str = Field(description="folder or s3:// prefix, relative to `root`")
    scenes: Scenes = Field("file", description="`file`, `folder`, a CSV table or a pattern")
    validation_share: Fraction = Field(0.2, description="share of scenes set aside for validation")
    licence: str = Field("not stated", description="terms of the images, kept in the model card")


class Target(ImageSet):
    """One target domain."""

    space: str | None = Field(None, description="search space id; the target's own name by default")
    test_images: str | None = Field(None, description="folder or prefix already set aside for test")
    test_share: Fraction = Field(0.2, description="share of scenes for test where `test_images` is absent")
    learning_rate: tuple[float, float] | None = Field(None, description="range instead of the space's")
    lambda_: tuple[float, float] | None = Field(None, description="λ floor and highest λ instead of the space's")
    frozen_depth: tuple[int, int] | None = Field(None, description="range in blocks instead of 0 to the deepest")

    @model_validator(mode="after")
    def _check(self) -> "Target":
        for name in ("learning_rate", "lambda_", "frozen_depth"):
            bounds = getattr(self, name)
            if bounds is None:
                continue
            lowest_ok = bounds[0] >= 0 if name == "frozen_depth" else bounds[0] > 0
            if not lowest_ok or bounds[0] > bounds[1] or (bounds[0] == bounds[1] and name != "frozen_depth"):
                start = "0 <=" if name == "frozen_depth" else "0 <"
                note = " (λ = 0 itself is always reachable: below the floor it means 0)" if name == "lambda_" else ""
                raise ValueError(f"{name} must be a range with {start} low < high, found {list(bounds)}{note}")
        return self


class Pretraining(_Section):
    """How the source model is trained."""

    steps: Positive = Field(4000, description="optimiser steps")
    batch: Positive = Field(8, description="patches per step and worker")
    lr_patch: Annotated[int, Field(ge=8)] = Field(32, description="side of a patch in LR pixels")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="peak learning rate of Adam")
    workers: Positive = Field(2, description="distributed workers")
    gpus_per_worker: Annotated[float, Field(ge=0)] = Field(0, description="GPUs of each worker; 0 trains on CPU")
    report_every: Positive = Field(50, description="steps between two points of the loss curve")
    checkpoint_every: Positive = Field(500, description="steps between two checkpoints")
    pool_images: Positive = Field(2000, description="decoded images that each worker holds")


class Finetuning(_Section):
    """What every fine-tuning may spend: trials, confirmation runs and baselines alike."""

    steps: Positive = Field(200, description="optimiser steps")
    batch: Positive = Field(8, description="patches per step")
    lr_patch: Annotated[int, Field(ge=8)] = Field(32, description="side of a patch in LR pixels")
    evaluations: Positive = Field(4, description="validation scores per run, the last one at the end")
    default_learning_rate: Annotated[float, Field(gt=0)] = Field(
        1e-4, description="learning rate of the default fine-tune (all blocks, λ = 0)"
    )
    scratch_learning_rate: Annotated[float, Field(gt=0)] = Field(
        1e-3, description="learning rate of training from scratch"
    )

    def budget(self) -> Budget:
        """The settings as the training loop takes them."""
        return Budget(steps=self.steps, batch=self.batch, evaluations=min(self.evaluations, self.steps))


class Search(_Section):
    """How each domain's study is run."""

    trials: Positive = Field(24, description="trials per domain")
    sampler: Literal["gp", "tpe", "random"] = Field("gp", description="Optuna sampler")
    startup_trials: Positive = Field(5, description="trials before the sampler's model is used")
    concurrent_trials: Positive = Field(1, description="trials of one domain at once; 1 makes a study repeatable")
    cpus_per_trial: Annotated[float, Field(gt=0)] = Field(1, description="CPUs of each trial")
    gpus_per_trial: Annotated[float, Field(ge=0)] = Field(0, description="GPUs of each trial, may be a fraction")
    validation_images: Positive = Field(16, description="validation images scored, spread over scenes")
    validation_crop: Annotated[int, Field(ge=32)] = Field(256, description="HR pixels of their middle that count")


class Confirmation(_Section):
    """How the winners are confirmed."""

    top: Positive = Field(2, description="best configurations of a study that stand for confirmation")
    seeds: Positive = Field(3, description="fresh seeds of each run")


class Cluster(_Section):
    """Where it runs."""

    address: str | None = Field(None, description="none: a Ray of its own; `auto` or ray://… : that cluster")
    cpus: Positive | None = Field(None, description="CPUs of the own Ray; all by default")
    gpus: Annotated[int, Field(ge=0)] | None = Field(
        None, description="GPUs that an autoscaled cluster can grow to; those it has now by default"
    )
    price_per_hour: Annotated[float, Field(ge=0)] | None = Field(None, description="price of the cluster, any currency")


class Experiment(_Section):
    """A whole experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(description="folder of artefacts")
    storage: str = Field("runs", description="folder or s3:// prefix that holds experiments")
    root: str = Field(".", description="folder or s3:// prefix that relative image paths start from")
    scale: int = Field(4, description="scale factor: 2, 3 or 4")
    network: str = Field("base", description="preset of the network")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="start of all randomness")
    generated_samples: bool = Field(False, description="whether the images are generated, for the report")
    source: ImageSet
    targets: Annotated[dict[str, Target], Field(min_length=1)]
    pretraining: Pretraining = Pretraining()
    finetuning: Finetuning = Finetuning()
    search: Search = Search()
    confirmation: Confirmation = Confirmation()
    cluster: Cluster = Cluster()

    @property
    def home(self) -> Storage:
        """Where all artefacts of the experiment live."""
        return Storage.at(self.storage).child(self.name)

    @property
    def architecture(self) -> Architecture:
        """The network's shape."""
        return preset(self.network, self.scale)

    def space(self, domain: str) -> TransferSpace:
        """The search space of a target, with the ranges that the file sets instead."""
        target, space = self.targets[domain], find_space(self.targets[domain].space or domain)
        changes = {name: getattr(target, name) for name in ("learning_rate", "lambda_") if getattr(target, name)}
        return dataclasses.replace(space, **changes)

    def frozen_depths(self, domain: str) -> tuple[int, int]:
        """Lowest and highest frozen depth of a target's study."""
        limit, deepest = frozen_depth_limit(self.architecture), self.space(domain).deepest
        return self.targets[domain].frozen_depth or (0, limit if deepest is None else min(deepest, limit))

    def dump(self) -> dict[str, Any]:
        """Plain values of every setting, defaults included."""
        return self.model_dump(mode="json")


def load_experiment(path: Path, overrides: list[str]) -> Experiment:
    """Reads an experiment file.

    Args:
        path: A YAML file.
        overrides: ``dotted.key=value`` settings that replace the file's, values written as in YAML.

    Raises:
        UsageError: If the file or a setting is wrong, in one sentence each.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"There is no experiment file '{path}'.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"'{path}' cannot be read as YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict):
        raise UsageError(f"'{path}' must hold settings such as `name: ...`, found {type(content).__name__}.")
    for override in overrides:
        _override(content, override)
    return make_experiment(content, str(path))


def make_experiment(content: dict[str, Any], where: str) -> Experiment:
    """Checks plain settings and what they mean together.

    Raises:
        UsageError: If any setting is wrong.
    """
    try:
        experiment = Experiment.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{where}: " + " ".join(_sentences(error))) from None
    _check_meaning(experiment)
    return experiment


def _check_meaning(experiment: Experiment) -> None:
    architecture = experiment.architecture
    for domain, target in experiment.targets.items():
        experiment.space(domain)
        if target.frozen_depth is not None:
            check_frozen_depth(target.frozen_depth[1], architecture)
        for start in experiment.space(domain).starts:
            check_frozen_depth(start.frozen_depth, architecture)
    pretraining = experiment.pretraining
    if pretraining.checkpoint_every % pretraining.report_every:
        raise UsageError(
            f"pretraining.checkpoint_every ({pretraining.checkpoint_every}) must be a multiple of "
            f"pretraining.report_every ({pretraining.report_every})."
        )


def _override(content: dict[str, Any], override: str) -> None:
    key, found, value = override.partition("=")
    if not found or not key.strip():
        raise UsageError(f"--set takes KEY=VALUE such as search.trials=12, found '{override}'.")
    *sections, last = key.strip().split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise UsageError(f"--set {override}: '{section}' is a single value, it has no settings below it.")
    try:
        content[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(f"--set {override}: the value cannot be read as YAML.") from None


def _sentences(error: ValidationError) -> list[str]:
    problems = [_sentence(problem) for problem in error.errors()]
    return list(dict.fromkeys(problem for problem in problems if problem))


def _sentence(problem: Any) -> str:
    place = [str(part) for part in problem["loc"]]
    # pydantic adds the name of each tried alternative of a union to the path.
    path = ".".join(part for part in place if part.isidentifier() or part.replace("-", "").isalnum())
    path = path.replace(".SceneTable", "").replace(".ScenePattern", "")
    if problem["type"] == "extra_forbidden":
        known = _keys_at(place[:-1])
        return f"Unknown key '{path}'.{suggestion(place[-1], known) or _listing(known)}"
    if problem["type"] == "missing":
        return f"'{path}' is missing."
    message = problem["msg"].removeprefix("Value error, ")
    found = "" if problem["type"] == "value_error" else f", found {problem['input']!r}"
    return f"'{path}': {message[0].lower()}{message[1:]}{found}."


def _keys_at(place: list[str]) -> list[str]:
    section: Any = Experiment
    for part in place:
        if section is None:
            break
        if part in ("SceneTable", "ScenePattern"):
            section = {"SceneTable": SceneTable, "ScenePattern": ScenePattern}[part]
        elif part in section.model_fields:
            annotation = section.model_fields[part].annotation
            section = Target if part == "targets" else annotation
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            section = None
    return list(section.model_fields) if section is not None else []


def _listing(known: list[str]) -> str:
    return f" Known here: {', '.join(known)}." if known else ""
