"""Reads an experiment file; any fault becomes one sentence, with a suggestion for misspelt words."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.experiment.changed_defaults import with_earlier_defaults
from orchestrator.experiment.image_settings import IMAGES, SCENES, SOURCES, ImagePairs, ImageSet, SourceModel, Target
from orchestrator.experiment.settings import TRIAL_TAGS, Experiment
from orchestrator.foundation.safe_yaml import UnreadableYamlError, parse_yaml, read_yaml
from trainables.errors import UsageError, suggestion
from trainables.images.raster import RGB
from trainables.network.architecture import check_frozen_depth, preset, shortened


def load_experiment(path: Path, overrides: Sequence[str]) -> Experiment:
    """Reads an experiment file.

    Args:
        path: A YAML file.
        overrides: ``dotted.key=value`` settings that replace the file's, values written as in YAML.

    Raises:
        UsageError: If the file or a setting is wrong, in one sentence each.
    """
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        raise UsageError(f"There is no experiment file '{path}'.") from None
    except (OSError, ValueError, UnreadableYamlError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"'{path}' cannot be read as YAML: {reason}.") from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else "a list" if isinstance(content, list) else "a single value"
        raise UsageError(f"'{path}' must hold settings such as `name: ...`, found {found}.")
    return make_experiment(content, str(path), overrides)


def make_experiment(content: dict[str, object], where: str, overrides: Sequence[str] = ()) -> Experiment:
    """Checks plain settings, and that they are consistent.

    Args:
        content: The settings; overrides are written into it.
        where: Name of their source, for errors.
        overrides: As of :func:`load_experiment`.

    Raises:
        UsageError: If any setting is wrong.
    """
    for override in overrides:
        _override(content, override)
    try:
        experiment = Experiment.model_validate(content)
        kept = with_earlier_defaults(content, experiment.home)
        experiment = experiment if kept == content else Experiment.model_validate(kept)
    except ValidationError as error:
        raise UsageError(f"{where}: {' '.join(_sentences(error))}") from None
    with _naming(where):
        _check_meaning(experiment)
    return experiment


@contextmanager
def _naming(place: str) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from None


def check_source(experiment: Experiment) -> None:
    """Checks the settings that depend on the source model; the model is read here.

    Raises:
        UsageError: If there is no such model, or a setting contradicts it.
    """
    found, architecture = experiment.source_model, experiment.architecture
    if found is not None:
        if experiment.scale not in (None, architecture.scale):
            raise UsageError(
                f"scale is {experiment.scale}, but source model '{found.where}' has {architecture.scale}: remove "
                "`scale`, or name a model of that scale factor."
            )
        if experiment.network is not None and preset(experiment.network, architecture.scale) != architecture:
            raise UsageError(
                f"network is '{experiment.network}', but source model '{found.where}' has another shape: remove "
                "`network`, whose place the model takes."
            )
    if experiment.finetuning.adapter_rank is not None:
        from trainables.network.adapters import check_rank  # with torch, for this setting alone

        with _naming("finetuning"):
            check_rank(experiment.finetuning.adapter_rank, architecture)
    gpus = experiment.search.devices_per_trial
    if gpus > 1 and architecture.normalised:
        raise UsageError(
            f"search.gpus_per_trial is {gpus}, but the network {architecture.family} has batch normalisation, whose "
            "statistics are those of a whole batch on one GPU: set gpus_per_trial to 1, or take a network without it, "
            "such as `large`."
        )
    for kept in experiment.search.kept_blocks or ():
        with _naming("search"):
            shortened(architecture, kept)
    for domain, target in experiment.targets.items():
        with _naming(f"targets.{domain}"):
            for depth in [*(target.frozen_depth or ()), *(s.frozen_depth for s in experiment.space(domain).starts)]:
                check_frozen_depth(depth, architecture)


def _check_deep(experiment: Experiment, domain: str) -> None:
    """Refuses what images of other depths and bands cannot have: a codec of 8-bit images, and replay of the source."""
    degradation = experiment.space(domain).degradation
    if degradation.jpeg is not None or degradation.h264 is not None:
        raise UsageError(
            f"the degradation of space '{experiment.space(domain).id}' compresses 8-bit images, and `value_range` says "
            "that these are not: name another `space`, or remove `value_range`."
        )
    if experiment.finetuning.regularizer == "replay":
        raise UsageError(
            "`value_range` is not for `finetuning.regularizer: replay`, which shows the network the source's 8-bit RGB "
            "images: take another regularizer."
        )
    bands = experiment.targets[domain].bands
    if experiment.search.keep_source is not None and bands is not None and bands != RGB:
        raise UsageError(
            f"`bands` are {', '.join(bands)}, and `search.keep_source` measures networks on the source's images, which "
            f"have {', '.join(RGB)}: remove `keep_source`, or take these bands."
        )


def _check_meaning(experiment: Experiment) -> None:
    for domain, target in experiment.targets.items():
        if domain.endswith(".json"):
            raise UsageError(f"A target cannot be called '{domain}', for a folder beside JSON files bears its name.")
        with _naming(f"targets.{domain}.space"):
            experiment.space(domain)
        with _naming(f"targets.{domain}"):
            if target.deep is not None:
                _check_deep(experiment, domain)
            if target.test_images is None and target.validation_share + target.test_share >= 1:
                raise UsageError(
                    "validation_share and test_share together must be below 1, to leave scenes to train on."
                )
    if isinstance(experiment.source, ImageSet) and isinstance(experiment.source.images, ImagePairs):
        raise UsageError("'source.images' must be a folder of HR images: pairs are for targets.")
    if not isinstance(experiment.source, SourceModel):
        check_source(experiment)
    search, evaluations = experiment.search, experiment.finetuning.budget().evaluations
    if search.stopping != "none" and search.grace >= evaluations:
        raise UsageError(
            f"search.grace ({search.grace}) must be below finetuning.evaluations ({evaluations}): no trial can be "
            "stopped at its last validation score."
        )
    batch = experiment.finetuning.batch
    if batch < search.devices_per_trial:
        raise UsageError(
            f"search.gpus_per_trial ({search.gpus_per_trial:g}) must be at most finetuning.batch ({batch}), since "
            "these GPUs share each batch: lower gpus_per_trial, or raise the batch."
        )
    pretraining = experiment.pretraining
    if pretraining.checkpoint_every % pretraining.report_every:
        raise UsageError(
            f"pretraining.checkpoint_every ({pretraining.checkpoint_every}) must be a multiple of "
            f"pretraining.report_every ({pretraining.report_every})."
        )


def _override(content: dict[str, object], override: str) -> None:
    key, found, value = override.partition("=")
    *sections, last = key.strip().split(".")
    if not found or not all([*sections, last]):
        raise UsageError(f"--set takes KEY=VALUE such as search.trials=12, found '{override:.80}'.")
    for section in sections:
        inner = content[section] = {} if content.get(section) is None else content[section]
        if not isinstance(inner, dict):
            raise UsageError(f"--set {override:.80}: '{section}' is a single value, it has no settings below it.")
        content = inner
    try:
        content[last] = parse_yaml(value)
    except UnreadableYamlError as error:
        raise UsageError(f"--set {override:.80}: the value cannot be read as YAML: {error}.") from None


def _sentences(error: ValidationError) -> list[str]:
    return list(dict.fromkeys(_sentence(problem) for problem in error.errors()))


def _sentence(problem: Any) -> str:
    place, kind = [str(part) for part in problem["loc"]], problem["type"]
    path = ".".join(part for part in place if part not in (*IMAGES, *SCENES, *SOURCES, *TRIAL_TAGS, "[key]"))
    if kind == "extra_forbidden":
        known = _keys_at(place[:-1])
        return f"Unknown key '{path}'." + (suggestion(place[-1], known) or f" Known here: {', '.join(known)}.")
    if kind == "missing" and not place[-1].isdigit():
        return f"'{path}' is missing."
    if kind == "value_error":
        return f"'{path}' {problem['ctx']['error']}."
    expected = _EXPECTED[kind].format(**problem.get("ctx", {})) if kind in _EXPECTED else problem["msg"]
    if kind == "tuple_type":
        expected = _RANGES.get(place[-1], expected)
    if kind == "string_pattern_mismatch" and "labels" in place:
        expected = "must hold letters, digits and . _ - alone, and begin and end with a letter or digit"
    if TRIAL_TAGS[0] in place:
        expected += " or `auto`"
    found = "nothing" if problem["input"] is None else f"{problem['input']!r:.80}"
    return f"'{path}' {expected}, found {found}."


_RANGES = {
    "starts": "must be a list such as [default, space]",
    "starts_from": "must be a list such as [runs/before, s3://bucket/runs/other]",
    "kept_blocks": "must be a range such as [2, 8]",
    "frozen_depth": "must be a range such as [0, 4]",
}
"""Expected form where a list is expected, if not a range of any numbers."""


_EXPECTED = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must have settings below it",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "invalid_key": "must be text",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "missing": "is missing: a range has two ends",
    "model_type": "must have settings below it",
    "int_parsing_size": "must be a number of fewer digits",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must hold letters, digits and . _ - alone and begin with a letter or digit",
    "string_type": "must be text",
    "too_long": "must be a range with two ends",
    "too_short": "must not be empty",
    "tuple_type": "must be a range such as [0.001, 0.1]",
}
"""Sentences for pydantic's kinds of errors, for the author of a file."""


def _keys_at(place: list[str]) -> list[str]:
    section: Any = Experiment
    further: list[str] = []
    parts = iter(place)
    for part in parts:
        if part == "targets":
            section = Target
            next(parts, None)
        elif part == "source":
            section = SOURCES[next(parts)]
            further = ["model"] if section is ImageSet else []
        elif part == "scenes":
            section, further = SCENES[next(parts)], []
        elif part in ("images", "test_images"):
            section, further = IMAGES[next(parts)], []
        else:
            section = section.model_fields[part].annotation
    return [*section.model_fields, *further]
