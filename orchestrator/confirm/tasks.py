"""Tasks of a confirmation on workers: training a run, averaging weights, scoring a run.

Each task stores its result and does not run again if that exists. The test split is read here and nowhere else, by
tasks that the confirmation starts after its choice is recorded.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from orchestrator.confirm import classical as classical_arms
from orchestrator.confirm.job import ConfirmJob, facts_of, load_run, net_of, soup_of, test_pairs, upscaler_of
from orchestrator.confirm.record import Candidate
from orchestrator.confirm.run_record import (
    INTERPOLATION,
    RUN,
    FittedBaselines,
    Images,
    Interpolation,
    RunRecord,
    SourceScore,
    mean_of,
    read_interpolation,
    read_run,
    read_scores,
    read_source_psnr,
    write_scores,
)
from orchestrator.foundation.logs import log_context
from orchestrator.foundation.model_store import read_model, write_model
from orchestrator.foundation.stage_record import now
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.vocabulary import INTERPOLATED
from orchestrator.runtime.measurements import Measurement, measure
from orchestrator.runtime.progress_updates import reporter
from orchestrator.training.certificate import Certificate
from orchestrator.training.finetune import (
    load_source,
    run_finetuning,
    source_loss,
    source_psnr,
    validation_images,
    zero_shot,
)
from trainables.errors import DivergedError, RunError, UsageError
from trainables.loops.settings import TransferConfiguration, TransferMethod
from trainables.metrics.evaluation import Score, score
from trainables.network.model_files import WEIGHTS
from trainables.network.network import SuperResolutionNet
from trainables.network.weight_average import FINE_SHARES, SHARES, averaged, interpolated

log = logging.getLogger(__name__)

SOURCE_BANDS = 3
"""Bands of the source's images."""

Start = Literal["source", "features", "nothing"]
"""Initial weights of a run: those that the experiment transfers, F_θ alone, or a fresh network."""


def train_run(
    job: ConfirmJob, name: str, configuration: TransferConfiguration, seed: int, start: Start = "source"
) -> Images | None:
    """Trains a run unless its record exists; returns its validation scores, None if it diverged.

    Raises:
        RunError: If the candidate's trial was trained otherwise.
    """
    run_name = f"{name}-seed{seed}"
    place = job.runs.child(run_name)
    record = None if _is_stale(place, configuration) else _scored_run(job, place)
    if record is None:
        forget_scores(job, run_name)
        record = _trained(job, run_name, configuration, seed, start)
        record.write(place.child(RUN))
    if start == "source":
        _check_certificate(job, name, record.certificate)
    return record.images or None


def _trained(
    job: ConfirmJob, run_name: str, configuration: TransferConfiguration, seed: int, start: Start
) -> RunRecord:
    """Trains a run, writes its weights and gives its record."""
    report = reporter(job.progress, f"{job.stage} {job.domain.domain}: {run_name}")
    domain = replace(job.domain, method=TransferMethod(generator="fresh")) if start == "features" else job.domain
    certificates: list[Certificate] = []
    tracked, steps = f"{job.stage}/{job.domain.domain}/{run_name}", domain.budget.steps
    measure(job.progress, Measurement(tracked, 0, settings={**configuration.to_dict(), "seed": seed, "start": start}))

    def watch(step: int, value: float) -> None:
        measure(job.progress, Measurement(tracked, step, {"validation_psnr": value}, ended=step == steps))

    try:
        with log_context(stage=job.stage, domain=job.domain.domain, run=run_name):
            log.info("trains %s", configuration)
        net, curve = run_finetuning(
            domain,
            configuration,
            seed,
            report,
            from_scratch=start == "nothing",
            watch=watch,
            certify=certificates.append,
        )
        write_model(job.runs.child(run_name), net, facts_of(job, run_name, configuration, seed))
        psnr, images = curve[-1][1], _validated(job, net)
    except DivergedError:
        psnr, curve, images = None, [], []
        measure(job.progress, Measurement(tracked, steps, settings={"status": "diverged"}, ended=True))
    certificate = next(iter(certificates), None)
    return RunRecord(validation_psnr=psnr, curve=curve, finished_at=now(), images=images, certificate=certificate)


def _scored_run(job: ConfirmJob, place: Storage) -> RunRecord | None:
    """The record of a finished run, with the scores of its images, which earlier versions did not keep."""
    record = read_run(place.child(RUN))
    if record is None or record.validation_psnr is None or record.images:
        return record
    if not place.child(WEIGHTS).exists():
        return None
    record = record.model_copy(update={"images": _validated(job, read_model(place)[0])})
    record.write(place.child(RUN))
    return record


def _validated(job: ConfirmJob, net: SuperResolutionNet) -> Images:
    """Scores of the validation images."""
    torch.set_num_threads(job.domain.threads)
    net, device = net.to(job.domain.device).eval(), job.domain.device
    return validation_images(job.domain, lambda lr: net(lr.to(device)))


def _check_certificate(job: ConfirmJob, name: str, certificate: Certificate | None) -> None:
    """Compares a run's training with that of its candidate's trial; records of earlier versions have no certificate."""
    trial = job.trials.get(name)
    if trial is None or trial.certificate is None or certificate is None:
        return
    if parts := certificate.unlike(trial.certificate):
        record = f"search/{job.domain.domain}/study-{job.lineage['study']}/{trial.number:04d}.json"
        raise RunError(
            f"Trial {trial.number} was trained otherwise than its confirmation ({', '.join(parts)} differ), so that "
            f"its score is of another training: delete '{record}' below the experiment, and run again."
        )


def validate_source(job: ConfirmJob) -> Images:
    """Validation scores of the source model as it is."""
    torch.set_num_threads(job.domain.threads)
    return validation_images(job.domain, zero_shot(job.domain))


def fit_classical(job: ConfirmJob) -> FittedBaselines:
    """Fits the classical baselines, see :mod:`orchestrator.confirm.classical`, unless they are left out."""
    torch.set_num_threads(job.domain.threads)
    return FittedBaselines() if job.classical is None else classical_arms.fit_classical(job.domain, job.classical)


def average_seeds(job: ConfirmJob, candidate: Candidate) -> Images | None:
    """Averages the weights of a candidate's seeds unless that is recorded; returns its validation scores.

    None if a seed diverged, or the average gives no finite score.
    """
    name, place = soup_of(candidate.name), job.runs.child(soup_of(candidate.name))
    configuration = candidate.configuration
    record = None if _is_stale(place, configuration) else _scored_run(job, place)
    if record is None:
        nets = [load_run(job, f"{candidate.name}-seed{seed}") for seed in job.seeds]
        found = [net for net in nets if net is not None]
        if len(found) < len(nets):
            return None
        forget_scores(job, name)
        net = averaged(found)
        facts = facts_of(job, name, configuration, job.seeds[0]) | {"averaged_seeds": list(job.seeds)}
        write_model(place, net, facts)
        images = _validated(job, net)
        psnr = float(np.mean([value for _, _, value in images]))
        finite = math.isfinite(psnr)
        record = RunRecord(
            validation_psnr=psnr if finite else None,
            curve=[(job.domain.budget.steps, psnr)] if finite else [],
            finished_at=now(),
            images=images if finite else [],
        )
        record.write(place.child(RUN))
    return record.images or None


def choose_share(job: ConfirmJob, candidate: Candidate) -> Interpolation:
    """Averages a candidate's weights with the source's, with the share of the best mean validation PSNR over all seeds.

    A tie goes to the larger share of tuned weights. The averaged networks are stored unless that share is 1. Where the
    source may lose so much only, more shares are tried, and those that keep the limit come first; if none does, the
    smallest share is taken.
    """
    place, configuration = job.runs.child(INTERPOLATION), candidate.configuration
    runs = {seed: f"{INTERPOLATED}-seed{seed}" for seed in job.seeds}
    record = read_interpolation(place)
    stale = any(_is_stale(job.runs.child(run), configuration) for run in runs.values())
    if record is None or record.of != candidate.name or stale:
        for run in runs.values():
            forget_scores(job, run)
        source = load_source(job.domain, configuration.kept_blocks if configuration else None)
        tuned = {seed: load_run(job, f"{candidate.name}-seed{seed}") for seed in job.seeds}
        nets = {seed: net for seed, net in tuned.items() if net is not None}
        shares = SHARES if job.keep_source is None else FINE_SHARES
        mixed = {share: [interpolated(source, net, share) for net in nets.values()] for share in shares}
        tried = {share: [_validated(job, net) for net in group] for share, group in mixed.items()}
        scores = [(share, float(np.mean([mean_of(images) for images in found]))) for share, found in tried.items()]
        kept = [entry for entry in scores if _keeps_source(job, mixed[entry[0]])] or scores[:1]
        share = max(kept, key=lambda entry: (entry[1], entry[0]))[0]
        for seed, net in nets.items() if share < 1 else ():
            facts = facts_of(job, runs[seed], configuration, seed) | {"share_of_tuned_weights": share}
            write_model(job.runs.child(runs[seed]), interpolated(source, net, share), facts)
        record = Interpolation(share=share, validation=scores, of=candidate.name, images=tried[share])
        record.write(place)
    return record


def _keeps_source(job: ConfirmJob, nets: Sequence[SuperResolutionNet]) -> bool:
    """True if networks lose no more of the source's PSNR, on average, than is allowed."""
    if job.keep_source is None:
        return True
    losses = [source_loss(job.domain, net.to(job.domain.device))[1] for net in nets]
    return float(np.mean(losses)) <= job.keep_source


def score_run(job: ConfirmJob, run_name: str) -> list[Score] | None:
    """Scores a run on the test split unless its scores are recorded; None if the run diverged."""
    place = job.runs.child(f"test-{run_name}.json")
    scores = read_scores(place)
    if scores is None:
        torch.set_num_threads(job.domain.threads)
        upscale = upscaler_of(job, run_name)
        if upscale is None:
            return None
        values = score(upscale, test_pairs(job), job.domain.scale)
        scores = [replace(v, psnr=float(v.psnr), ssim=float(v.ssim)) for v in values]
        write_scores(place, scores)
    return scores


def score_on_source(job: ConfirmJob, run_name: str) -> float | None:
    """Scores a run on held-out source images unless that is recorded; PSNR in dB, None if the run diverged."""
    place = job.runs.child(f"source-{run_name}.json")
    value = read_source_psnr(place)
    if value is None:
        if job.domain.pixel_format.channels != SOURCE_BANDS and not job.domain.pixel_format.plain:
            return None  # the source's images have no such bands
        torch.set_num_threads(job.domain.threads)
        net = net_of(job, run_name)
        if net is None:
            return None
        value = source_psnr(job.domain, net.to(job.domain.device))
        SourceScore(source_psnr=value).write(place)
    return value


def forget_scores(job: ConfirmJob, run_name: str) -> None:
    """Deletes the test and source scores of an earlier network of a run."""
    for scores in (f"test-{run_name}.json", f"source-{run_name}.json"):
        if job.runs.child(scores).exists():
            job.runs.child(scores).delete()


def _is_stale(place: Storage, configuration: TransferConfiguration | None) -> bool:
    """True if a run's weights cannot be read, or were trained with another configuration."""
    if not place.child(WEIGHTS).exists():
        return False
    try:
        wanted = configuration.to_dict() if configuration else None
        return bool(read_model(place)[1].get("configuration") != wanted)
    except UsageError:
        return True
