"""Tasks of a confirmation on workers: training a run, averaging weights, scoring a run.

Each task stores its result and does not run again if that exists. The test split is read here and nowhere else, by
tasks that the confirmation starts after its choice is recorded.
"""

import logging
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from orchestrator.confirm import classical as classical_arms
from orchestrator.confirm.job import (
    ConfirmJob,
    configuration_of,
    facts_of,
    load_run,
    net_of,
    test_pairs,
    upscaler_of,
)
from orchestrator.confirm.run_record import (
    INTERPOLATION,
    RUN,
    FittedBaselines,
    Interpolation,
    RunRecord,
    SourceScore,
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
from orchestrator.runtime.progress_updates import reporter
from orchestrator.training.finetune import load_source, run_finetuning, source_psnr, validation_psnr, zero_shot_psnr
from trainables.errors import DivergedError, UsageError
from trainables.loops.finetune import TransferConfiguration, TransferMethod
from trainables.metrics.evaluation import Score, score
from trainables.network.model_files import WEIGHTS
from trainables.network.weight_average import SHARES, interpolated

log = logging.getLogger(__name__)

SOURCE_BANDS = 3
"""Bands of the source's images."""

Start = Literal["source", "features", "nothing"]
"""Initial weights of a run: those that the experiment transfers, F_θ alone, or a fresh network."""


def train_run(
    job: ConfirmJob, name: str, configuration: TransferConfiguration, seed: int, start: Start = "source"
) -> float | None:
    """Trains a run unless its record exists; returns its validation PSNR in dB, None if it diverged."""
    run_name = f"{name}-seed{seed}"
    place = job.runs.child(run_name)
    record = read_run(place.child(RUN))
    if record is None or _is_stale(place, configuration):
        for scores in (f"test-{run_name}.json", f"source-{run_name}.json"):  # of an earlier training
            if job.runs.child(scores).exists():
                job.runs.child(scores).delete()
        report = reporter(job.progress, f"confirm {job.domain.domain}: {run_name}")
        domain = replace(job.domain, method=TransferMethod(generator="fresh")) if start == "features" else job.domain
        try:
            with log_context(stage="confirm", domain=job.domain.domain, run=run_name):
                log.info("trains %s", configuration)
            net, curve = run_finetuning(domain, configuration, seed, report, from_scratch=start == "nothing")
            write_model(place, net, facts_of(job, run_name, configuration, seed))
            record = RunRecord(validation_psnr=curve[-1][1], curve=curve, finished_at=now())
        except DivergedError:
            record = RunRecord(validation_psnr=None, curve=[], finished_at=now())
        record.write(place.child(RUN))
    return record.validation_psnr


def validate_source(job: ConfirmJob) -> float:
    """Validation PSNR of the source model as it is, in dB."""
    torch.set_num_threads(job.domain.threads)
    return zero_shot_psnr(job.domain)


def fit_classical(job: ConfirmJob) -> FittedBaselines:
    """Fits the classical baselines, see :mod:`orchestrator.confirm.classical`, unless they are left out."""
    torch.set_num_threads(job.domain.threads)
    return FittedBaselines() if job.classical is None else classical_arms.fit_classical(job.domain, job.classical)


def choose_share(job: ConfirmJob, winner: str) -> Interpolation:
    """Averages the winner's weights with the source's, with the share of the best mean validation PSNR over all seeds.

    A tie goes to the larger share of tuned weights. The averaged networks are stored unless that share is 1.
    """
    place = job.runs.child(INTERPOLATION)
    record = read_interpolation(place)
    if record is None:
        torch.set_num_threads(job.domain.threads)
        configuration = configuration_of(job, winner)
        source = load_source(job.domain, configuration.kept_blocks if configuration else None)
        tuned = {seed: load_run(job, f"{winner}-seed{seed}") for seed in job.seeds}
        nets = {seed: net for seed, net in tuned.items() if net is not None}

        def validated(share: float) -> float:
            mixed = (interpolated(source, net, share).to(job.domain.device) for net in nets.values())
            return float(np.mean([validation_psnr(job.domain, net) for net in mixed]))

        scores = [(share, validated(share)) for share in SHARES]
        share = max(scores, key=lambda entry: (entry[1], entry[0]))[0]
        for seed, net in nets.items() if share < 1 else ():
            name = f"{INTERPOLATED}-seed{seed}"
            facts = facts_of(job, name, configuration, seed) | {"share_of_tuned_weights": share}
            write_model(job.runs.child(name), interpolated(source, net, share), facts)
        record = Interpolation(share=share, validation=scores)
        record.write(place)
    return record


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


def _is_stale(place: Storage, configuration: TransferConfiguration) -> bool:
    """True if a run's weights cannot be read, or were trained with another configuration."""
    if not place.child(WEIGHTS).exists():
        return False
    try:
        return bool(read_model(place)[1].get("configuration") != configuration.to_dict())
    except UsageError:
        return True
