"""Gathers what the stages left into the report and writes its files."""

import math
import os
import platform
import shlex
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.experiment import Experiment, Finetuning, Search
from orchestrator.pretraining import SOURCE_DEGRADATION
from orchestrator.rendering import best_yaml, markdown_table, render_html
from orchestrator.report import (
    Arm,
    Candidate,
    Comparison,
    CurvePoint,
    Difference,
    DomainReport,
    Panel,
    Report,
    SourceReport,
    SplitCounts,
    Trial,
)
from orchestrator.shards import read_manifest
from orchestrator.stages import RECORD, now
from orchestrator.statistics import FEWEST_SCENES
from orchestrator.storage import Storage
from orchestrator.study_report import study_report
from orchestrator.trial_records import Record
from trainables.errors import UsageError
from trainables.models import CARD
from trainables.version import __version__

REPORT = "report.json"
LABELS = {
    "bicubic": "bicubic",
    "zero_shot": "zero-shot",
    "scratch": "scratch",
    "default": "default fine-tune",
    "best": "best transfer",
}
_PACKAGES = ("ray", "torch", "torchvision", "optuna", "pyarrow", "numpy")


def write_report(experiment: Experiment, records: dict[str, list[Record]], place: Storage) -> dict[str, Any]:
    """Writes ``report.json``, ``best.yaml``, ``table.md``, ``index.html`` and the pictures.

    Args:
        experiment: What was run, to its end.
        records: Each domain's trials.
        place: The report's folder.
    """
    pictures: dict[str, bytes] = {}
    domains = {name: _domain(experiment, name, records[name], pictures) for name in experiment.targets}
    report = Report(
        rayscale=__version__,
        experiment=experiment.name,
        created=now(),
        generated_samples=experiment.generated_samples,
        scale=experiment.architecture.scale,
        seeds=[experiment.seed + 1 + i for i in range(experiment.confirmation.seeds)],
        protocol=_protocol(experiment),
        notes=_notes(experiment),
        environment=_environment(),
        stage_seconds=_stage_seconds(experiment),
        source=_source(experiment),
        domains=domains,
        next_commands=_next_commands(experiment, domains),
    )
    for name, data in pictures.items():
        place.child(name).write_bytes(data)
    place.child(REPORT).write_bytes(report.model_dump_json(indent=2).encode())
    place.child("best.yaml").write_bytes(best_yaml(report).encode())
    place.child("table.md").write_bytes(markdown_table(report).encode())
    with tempfile.TemporaryDirectory() as folder:
        for name, data in pictures.items():
            (Path(folder) / name).write_bytes(data)
        place.child("index.html").write_bytes(render_html(report, Path(folder)).encode())
    return {"files": [REPORT, "best.yaml", "table.md", "index.html"]}


def read_report(experiment: Experiment) -> Report:
    """The report of a finished experiment.

    Raises:
        UsageError: If there is none, or it is damaged or of another version.
    """
    place = experiment.home.child("report", REPORT)
    try:
        return Report.model_validate_json(place.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"'{experiment.home.uri}' has no report yet; `rayscale run` makes one.") from None
    except ValidationError:
        folder = experiment.home.child("report").uri
        raise UsageError(f"'{place.uri}' is damaged or of another version; delete '{folder}' and run again.") from None


def _domain(experiment: Experiment, name: str, records: list[Record], pictures: dict[str, bytes]) -> DomainReport:
    home, space = experiment.home, experiment.space(name)
    told = home.child("confirm", name, RECORD).read_json()["result"]
    candidates = [Candidate(**_without_none(c)) for c in told["candidates"]]
    differences = [Difference(**entry) for entry in told["differences"]]
    winner = next(c for c in candidates if c.name == told["winner"])
    return DomainReport(
        space=space.id,
        degradation=space.degradation.describe(),
        counts=_counts(home.child("shards", name)),
        verdict=_verdict(winner, differences),
        configuration=winner.configuration,
        model=home.child("models", name).uri,
        arms=[_arm(arm, facts) for arm, facts in told["arms"].items()],
        differences=differences,
        candidates=candidates,
        winner=winner.name,
        trials=[_trial(record) for record in records],
        study=study_report(
            experiment, name, records, winner.configuration.model_dump() if winner.configuration else None
        ),
        lambda_floor=space.lambda_[0],
        frozen_depth_limit=experiment.frozen_depths(name)[1],
        steps_per_trial=experiment.finetuning.steps,
        test_opened_at=told["test_opened_at"],
        comparisons=[_comparison(home.child(told["runs"]), name, entry, pictures) for entry in told["pictures"]],
    )


def _without_none(candidate: dict[str, Any]) -> dict[str, Any]:
    return {
        **candidate,
        "validation_psnr": [value for value in candidate["validation_psnr"] if value is not None],
    }


def _comparison(runs: Storage, domain: str, entry: dict[str, Any], pictures: dict[str, bytes]) -> Comparison:
    panels = []
    for panel in entry["panels"]:
        file = f"{domain}-{panel['file']}"
        pictures[file] = runs.child("pictures", panel["file"]).read_bytes()
        panels.append(Panel(label=panel["label"], file=file, psnr=panel.get("psnr")))
    return Comparison(image=entry["image"], panels=panels)


def _arm(name: str, facts: dict[str, Any]) -> Arm:
    kept = {key: facts[key] for key in ("psnr", "ssim", "psnr_by_seed")}
    return Arm(name=name, label=LABELS[name], **kept)


def _trial(record: dict[str, Any]) -> Trial:
    return Trial(
        number=record["number"],
        origin=record["origin"],
        configuration=record["configuration"],
        sampled_lambda=record["sampled"].get("lambda_", 0.0),
        status=record["status"],
        psnr=record["psnr"],
        seconds=record["seconds"],
        curve=[CurvePoint(step=step, value=value) for step, value in record["curve"]],
    )


def _counts(shards: Storage) -> SplitCounts:
    manifest = read_manifest(shards)
    scenes = {split: len(names) for split, names in manifest["scenes"].items()}
    return SplitCounts(images=manifest["images"], scenes=scenes, skipped=len(manifest["skipped"]))


def _verdict(winner: Candidate, differences: list[Difference]) -> str:
    gain = {d.baseline: d for d in differences if d.metric == "psnr"}
    zero, default, bicubic = gain["zero_shot"], gain.get("default"), gain["bicubic"]
    below = " It is worse than bicubic." if bicubic.verdict == "worse" else ""
    if winner.configuration is None:
        return (
            "no fine-tuning tried did better on validation than the source model as it is: use that "
            f"({_said(bicubic)} over bicubic on test).{below}"
        )
    said = {
        "better": f"fine-tuning wins over zero-shot on test, {_said(zero)}",
        "tie": f"fine-tuning ties with zero-shot on test, {_said(zero)}",
        "worse": f"negative transfer: fine-tuning harms on test, {_said(zero)} against zero-shot",
        "too few scenes": f"{_said(zero)} against zero-shot, but {zero.scenes} test scenes are too few to say more",
    }[zero.verdict]
    if default is None:
        return f"{said}.{below}"
    if winner.name == "default":
        return f"{said}; the default fine-tune was the best configuration found.{below}"
    tuned = {
        "better": "tuning wins over the default fine-tune",
        "tie": "tuning ties with the default fine-tune",
        "worse": "tuning loses to the default fine-tune",
        "too few scenes": "against the default fine-tune",
    }[default.verdict]
    return f"{said}; {tuned}, {_said(default)}.{below}"


def _said(d: Difference) -> str:
    return f"{d.mean:+.2f} dB [{d.low:+.2f}, {d.high:+.2f}]"


def _source(experiment: Experiment) -> SourceReport:
    place = experiment.home.child("source")
    card, told = place.child(CARD).read_json(), place.child(RECORD).read_json()["result"]
    size = {key: card[key] for key in ("parameters", "macs_per_lr_pixel", "blocks")}
    if found := experiment.source_model:
        return SourceReport(
            name=str(card.get("name", found.where)),
            degradation=found.degradation.describe() if found.degradation else "not stated",
            model=found.where,
            licence=found.licence,
            metrics=_numbers(card.get("metrics")),
            **size,
        )
    return SourceReport(
        name=experiment.network or "",
        degradation=SOURCE_DEGRADATION.describe(),
        steps=told["steps"],
        counts=_counts(experiment.home.child("shards", "source")),
        loss=[CurvePoint(step=step, value=value) for step, value in told["loss"]],
        validation_psnr=told["validation_psnr"],
        validation_psnr_bicubic=told["validation_psnr_bicubic"],
        **size,
    )


def _numbers(metrics: Any, path: str = "") -> dict[str, float]:
    """The single numbers of nested metrics, each under its dotted path."""
    if isinstance(metrics, dict):
        parts = (_numbers(value, f"{path}.{key}".lstrip(".")) for key, value in metrics.items())
        return {key: value for part in parts for key, value in part.items()}
    is_number = isinstance(metrics, int | float) and not isinstance(metrics, bool)
    return {path: round(float(metrics), 4)} if is_number and math.isfinite(metrics) else {}


def _protocol(experiment: Experiment) -> list[str]:
    confirmation, finetuning = experiment.confirmation, experiment.finetuning
    return [
        "Splits are by scene. Search and choice read train and validation only; the test split is read by the "
        "confirmation, once the winner is chosen.",
        f"PSNR and SSIM on luma (BT.601, studio range) for colour and on the single channel for gray images, 8-bit "
        f"output, border of {experiment.architecture.scale} pixels left out; whole test images.",
        "Bicubic has MATLAB's kernel (a = -0.5). LR images are made once per test image, with randomness that depends "
        "on its pixels alone.",
        f"Every trained arm has the same budget: {finetuning.steps} steps of {finetuning.batch} patches, Adam, cosine "
        f"schedule, and {confirmation.seeds} fresh seeds. Default fine-tune: learning rate "
        f"{finetuning.default_learning_rate:g}, λ = 0, nothing frozen. Scratch: learning rate "
        f"{finetuning.scratch_learning_rate:g}.",
        f"Candidates: the {confirmation.top} best trials by validation, the default fine-tune and the source model as "
        "it is; the best mean validation PSNR over fresh seeds wins.",
        "Differences are per image, averaged over seeds; intervals are 95 % bootstrap intervals over scenes. "
        f"'tie' means that the interval holds zero; with fewer than {FEWEST_SCENES} test scenes none can be trusted.",
        _carried_over(finetuning),
    ]


_REGULARIZERS = {
    "l2-sp": "L2-SP, half the squared distance of trainable weights from the source",
    "l2": "L2, a tenth of half the squared trainable weights",
    "features": "five times the relative squared distance of the features from the source model's",
    "replay": "a hundred times the loss on as many patches of the source",
}


def _carried_over(finetuning: Finetuning) -> str:
    """The transfer method in a sentence."""
    end = "" if finetuning.frozen_from == "input" else " Frozen depth counts from the output."
    if not finetuning.searches_lambda:
        fresh = "F_θ is reused with a fresh G_φ" if finetuning.transfer == "feature" else "F_θ and G_φ are reused"
        return f"{finetuning.transfer.capitalize()} transfer: {fresh}, λ = 0.{end}"
    regularizer = _REGULARIZERS[finetuning.regularizer]
    return f"R is {regularizer}, added to the loss (so it passes through Adam's preconditioner).{end}"


def _notes(experiment: Experiment) -> list[str]:
    search = experiment.search
    notes = [
        f"{search.trials} trials or more per domain with Optuna's {search.sampler} sampler, {_stopping(search)}."
        + " λ is sampled log-uniformly; below the floor it means exactly 0." * experiment.finetuning.searches_lambda,
    ]
    if search.trials < 24:
        notes.append(
            f"{search.trials} trials are few for three settings: a better configuration may well exist. 24 or more "
            "are advised."
        )
    if experiment.generated_samples:
        notes.append("All images are generated; the numbers show that the tool works, not how it does on real images.")
    return notes


def _stopping(search: Search) -> str:
    if search.stopping == "none":
        return "no early stopping"
    return f"stopped early by ASHA (reduction factor {search.reduction_factor}, first rung {search.grace})"


def _environment() -> dict[str, str]:
    versions = {name: version(name) for name in _PACKAGES}
    cpus = f"{len(os.sched_getaffinity(0))} CPUs, {platform.machine()}"
    return {"rayscale": __version__, "python": platform.python_version(), **versions, "driver": cpus}


def _stage_seconds(experiment: Experiment) -> dict[str, float]:
    home = experiment.home
    places = {"pretrain": home.child("source")}
    for stage in ("search", "confirm"):
        places |= {f"{stage} {domain}": home.child(stage, domain) for domain in experiment.targets}
    return {name: place.child(RECORD).read_json()["seconds"] for name, place in places.items()}


def _next_commands(experiment: Experiment, domains: dict[str, DomainReport]) -> list[str]:
    if experiment.generated_samples:
        return [
            "rayscale plan experiments/four-domains.yaml --set root=FOLDER_WITH_YOUR_IMAGES",
            "rayscale run experiments/four-domains.yaml --set root=FOLDER_WITH_YOUR_IMAGES",
        ]
    return [f"rayscale upscale YOUR_IMAGES UPSCALED --model {shlex.quote(told.model)}" for told in domains.values()]
