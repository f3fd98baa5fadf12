"""Builds the report from the artefacts of all stages and writes its files."""

import math
import platform
import shlex
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.confirm.answer import MARGIN_DB
from orchestrator.experiment.settings import Experiment, Finetuning, Search
from orchestrator.foundation.quantities import plural
from orchestrator.foundation.record import Record
from orchestrator.foundation.stage_record import now, read_result, read_stage
from orchestrator.foundation.statistics import FEWEST_SCENES, LARGEST_LOSS
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.usable_cpus import usable_cpus
from orchestrator.report.domain_section import domain_report, fresh_seeds, split_counts
from orchestrator.report.finished_section import finish_protocol
from orchestrator.report.schema import CurvePoint, DomainReport, Report, SourceReport
from orchestrator.report.tables import best_yaml, markdown_table
from orchestrator.search.pareto_front import CONFIRMED
from orchestrator.search.trial_record import TrialRecord
from orchestrator.training.pretrain_worker import SOURCE_DEGRADATION
from orchestrator.training.record import PretrainResult
from trainables.errors import UsageError
from trainables.network.model_files import CARD
from trainables.version import __version__

REPORT = "report.json"
_FEW_TRIALS = 6
"""With fewer trials a study has hardly tried anything beyond the portfolio."""

_PACKAGES = ("ray", "torch", "torchvision", "optuna", "pyarrow", "numpy")


class ReportResult(Record):
    """Files of a report, without its pictures."""

    files: list[str]


def write_report(
    experiment: Experiment,
    records: dict[str, list[TrialRecord]],
    place: Storage,
    missing: Mapping[str, str] | None = None,
) -> ReportResult:
    """Writes ``report.json``, ``best.yaml``, ``table.md``, ``index.html`` and the pictures.

    Args:
        experiment: The finished experiment.
        records: Trials by domain.
        place: The report's folder.
        missing: Stage and reason by failed domain; these domains are not in the report.
    """
    from orchestrator.report.html import render_html  # here, so that stages before the report need no Matplotlib

    pictures: dict[str, bytes] = {}
    domains = {name: domain_report(experiment, name, records[name], pictures) for name in experiment.targets}
    report = Report(
        rayscale=__version__,
        experiment=experiment.name,
        created=now(),
        generated_samples=experiment.generated_samples,
        scale=experiment.architecture.scale,
        seeds=fresh_seeds(experiment),
        protocol=[*_protocol(experiment), *_earlier(domains), *_deep_protocol(domains, experiment.architecture.scale)],
        notes=[f"Without {domain}, which failed in {reason}." for domain, reason in (missing or {}).items()]
        + _notes(experiment),
        missing=dict(missing or {}),
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
    return ReportResult(files=[REPORT, "best.yaml", "table.md", "index.html"])


def read_report(experiment: Experiment) -> Report:
    """The report of a finished experiment.

    Raises:
        UsageError: If there is none, or it is damaged or of another version.
    """
    if experiment.home.remote:
        experiment.home.check_readable()
    place = experiment.home.child("report", REPORT)
    try:
        return Report.model_validate_json(place.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"'{experiment.home.uri}' has no report yet; `rayscale run` makes one.") from None
    except ValidationError:
        folder = experiment.home.child("report").uri
        raise UsageError(f"'{place.uri}' is damaged or of another version; delete '{folder}' and run again.") from None


def _source(experiment: Experiment) -> SourceReport:
    place = experiment.home.child("source")
    card = place.child(CARD).read_json()
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
    trained = read_result(place, PretrainResult)
    return SourceReport(
        name=experiment.network or "",
        degradation=SOURCE_DEGRADATION.describe(),
        steps=trained.steps,
        counts=split_counts(experiment.home.child("shards", "source")),
        loss=[CurvePoint(step=step, value=value) for step, value in trained.loss],
        validation_psnr=trained.validation_psnr,
        validation_psnr_bicubic=trained.validation_psnr_bicubic,
        **size,
    )


def _numbers(metrics: Any, path: str = "") -> dict[str, float]:
    """Numbers of nested metrics by dotted path."""
    if isinstance(metrics, dict):
        parts = (_numbers(value, f"{path}.{key}".lstrip(".")) for key, value in metrics.items())
        return {key: value for part in parts for key, value in part.items()}
    is_number = isinstance(metrics, int | float) and not isinstance(metrics, bool)
    return {path: round(float(metrics), 4)} if is_number and math.isfinite(metrics) else {}


def _deep_protocol(domains: Mapping[str, DomainReport], scale: int) -> list[str]:
    """Lines on domains of other than 8-bit gray and RGB images."""
    lines = [f"{name}: {domain.pixel_format}." for name, domain in domains.items() if domain.pixel_format]
    if lines:
        lines.append(
            "There PSNR and SSIM are those of each band over its value range, and their means over the bands; outputs "
            f"are rounded as the files' values are, a border of {scale} pixels and pixels without a value are left "
            "out. SAM is the mean angle between spectra in degrees (Yuhas et al. 1992), ERGAS the relative error over "
            "all bands (Wald 2000); lower is better for both. Zero-shot runs the source model band by band."
        )
    return lines


def _earlier(domains: Mapping[str, DomainReport]) -> list[str]:
    """Lines on confirmations of earlier versions, whose intervals and choice of the answer are others."""
    intervals = [name for name, domain in domains.items() if any(d.seed_sd is None for d in domain.differences)]
    choices = [name for name, domain in domains.items() if domain.choice is None or domain.choice.margin is None]
    lines = {
        "the intervals are of the bootstrap over scenes alone": intervals,
        f"the answer need not lie within {MARGIN_DB:g} dB of the best mean on validation": choices,
    }
    return [f"{', '.join(old)}: confirmed by an earlier version, so {line}." for line, old in lines.items() if old]


def _protocol(experiment: Experiment) -> list[str]:
    confirmation, finetuning = experiment.confirmation, experiment.finetuning
    lines = [
        "Splits are by scene. Search and choice read train and validation only; the test split lies apart from them "
        "and is opened by the confirmation, once all is trained, fitted and tuned, and the winner is on record.",
        f"PSNR and SSIM on luma (BT.601, studio range) for colour and on the single channel for gray images, 8-bit "
        f"output, border of {experiment.architecture.scale} pixels left out; whole test images.",
        "Bicubic has MATLAB's kernel (a = -0.5). LR images are made once per test image, with randomness that depends "
        "on its pixels alone.",
        f"Every trained arm has the same budget: {finetuning.steps} steps of {finetuning.batch} patches, Adam, cosine "
        f"schedule, and {confirmation.seeds} fresh seeds. Default fine-tune: learning rate "
        f"{finetuning.default_learning_rate:g}, λ = 0, nothing frozen. Scratch: learning rate "
        f"{finetuning.scratch_learning_rate:g}.",
        f"Candidates: the {confirmation.top} best trials of distinct effect, the default fine-tune, the source model "
        "as it is, feature and model transfer, and weights averaged over the seeds and with the source's. The answer "
        f"is the simplest one within {MARGIN_DB:g} dB of the best mean on validation and, from {FEWEST_SCENES} "
        "validation scenes on, for which the interval of the paired difference to it holds zero.",
        *_verdicts(confirmation.smallest_effect),
        _carried_over(finetuning),
    ]
    if confirmation.classical:
        lines.append(
            "Total variation and the anchored regression are tuned on validation images, the latter learnt from "
            "training images, before the test split is opened."
        )
    if confirmation.ablation:
        lines.append(
            "Steps of transfer: each has the same budget and seeds and a learning rate of its own. Model transfer has "
            "that of the study's best trial without a regularizer; feature transfer that one or the rate of scratch, "
            "whichever does better on validation with the first seed."
        )
    if experiment.search.kept_blocks:
        lines.append(
            "The front of quality and speed holds the trials that no other one beat in both validation PSNR and MP/s. "
            f"At most {CONFIRMED} of its points are trained with the fresh seeds before the test split is opened; they "
            "cannot be the answer. MP/s of output was measured once, before the search, on the networks prepared as "
            "`rayscale upscale` prepares them."
        )
    if experiment.finish.enabled:
        lines.append(finish_protocol(experiment))
    lines.append(
        "Forgetting is PSNR on held-out source images under the source's degradation, beside the source model's own. "
        "The share of averaged weights is one for all seeds, the best on validation by their mean"
        + (" of those that keep the limit." if experiment.search.keep_source is not None else ".")
    )
    return lines


def _verdicts(smallest: float) -> list[str]:
    """Definitions of intervals and verdicts."""
    within = f"that the interval lies within ±{smallest:g} dB, or excludes zero and the mean is smaller than that"
    return [
        "Differences are per image, averaged over seeds. Intervals are of the mean over scenes and seeds, 95 %: "
        "Student's, corrected for skewness (Hall 1992), half an unseen scene as far out as the outermost one at each "
        "end, plus the variance of the seeds' means.",
        *([f"'no difference that matters' means {within} (PSNR only)."] if smallest else []),
        "'tie' means that the interval holds zero otherwise: neither is shown to be ahead. "
        f"With fewer than {FEWEST_SCENES} test scenes no interval can be trusted.",
        "'too few scenes to exclude rare harm' stands in place of 'better' where a kind of scene that the test split "
        f"would miss in one case of ten could cancel the gain by losing {LARGEST_LOSS:g} dB or less. From 22 scenes on "
        "such a kind makes less than a tenth of all. For SSIM any loss counts as plausible.",
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
    search, settings = experiment.search, "four" if experiment.search.kept_blocks else "three"
    notes = [
        f"{_trials(search)} per domain with Optuna's {search.sampler} sampler, {_stopping(search)}."
        + " λ is sampled log-uniformly; below the floor it means exactly 0." * experiment.finetuning.searches_lambda,
    ]
    if search.limit < _FEW_TRIALS:
        notes.append(
            f"{search.limit} trials are few for {settings} settings: a better configuration may well exist. "
            f"{_FEW_TRIALS} or more are advised."
        )
    if experiment.generated_samples:
        notes.append("All images are generated; the numbers show that the tool works, not how it does on real images.")
    return notes


def _trials(search: Search) -> str:
    if search.trials == "auto":
        return (
            f"Up to {search.most_trials} trials, until another was expected to gain less than {search.seed_noise:g} dB,"
        )
    return f"{search.trials} trials or more"


def _stopping(search: Search) -> str:
    if search.stopping == "none":
        return "no early stopping"
    return f"stopped early by ASHA (reduction factor {search.reduction_factor}, first rung {search.grace})"


def _environment() -> dict[str, str]:
    versions = {name: version(name) for name in _PACKAGES}
    cpus = f"{plural(usable_cpus(), 'CPU')}, {platform.machine()}"
    return {"rayscale": __version__, "python": platform.python_version(), **versions, "driver": cpus}


def _stage_seconds(experiment: Experiment) -> dict[str, float]:
    home = experiment.home
    places = {"pretrain": home.child("source")}
    for stage in ("search", "confirm", *(["finish"] if experiment.finish.enabled else [])):
        places |= {f"{stage} {domain}": home.child(stage, domain) for domain in experiment.targets}
    return {name: read_stage(place).seconds for name, place in places.items()}


def _next_commands(experiment: Experiment, domains: dict[str, DomainReport]) -> list[str]:
    if experiment.generated_samples:
        return [
            "rayscale init",
            "rayscale plan experiments/four-domains.yaml --set root=FOLDER_WITH_YOUR_IMAGES",
            "rayscale run experiments/four-domains.yaml --set root=FOLDER_WITH_YOUR_IMAGES",
        ]
    return [
        f"rayscale upscale YOUR_IMAGES UPSCALED --model {shlex.quote(section.model)}" for section in domains.values()
    ]
