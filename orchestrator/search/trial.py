"""A trial on a worker: fine-tuning, scoring on validation, and its record."""

import logging
import time
from typing import Any

from orchestrator.foundation.logs import log_context
from orchestrator.foundation.stage_record import now
from orchestrator.runtime.measurements import Measurement, measure
from orchestrator.runtime.progress_updates import reporter
from orchestrator.search.divergence import PENALTY_DB
from orchestrator.search.early_stopping import Stopped, Stopper, Stopping
from orchestrator.search.samplers import DIVERGED, EXCESS
from orchestrator.search.study import StudyJob, excess_of
from orchestrator.search.trial_record import SourceKept, Status, TrialRecord, read_record, read_records, record_place
from orchestrator.training.certificate import Certificate
from orchestrator.training.finetune import Certify, Curve, run_finetuning, source_loss, validation_pairs
from trainables.errors import DivergedError
from trainables.loops.settings import TransferConfiguration
from trainables.metrics.evaluation import bicubic, mean_psnr
from trainables.network.network import SuperResolutionNet

log = logging.getLogger(__name__)


def run_trial(config: dict[str, Any], job: StudyJob) -> dict[str, Any]:
    """Runs the trial of a suggested configuration and its number, unless its record exists.

    Returns:
        Its objectives, whether it ``stopped`` or :data:`DIVERGED`, and its :data:`EXCESS` if the search has a limit, as
        :class:`NumberedSearch` reads them.
    """
    place = record_place(job.records, config["number"])
    record = read_record(place, config["number"])
    if record is None:
        with log_context(stage="search", domain=job.domain.domain, trial=config["number"]):
            record = _new_record(config, job)
            record.write(place)
    if record.status == "stopped":
        return {"psnr": record.curve[-1][1], "stopped": True}
    scores = {"psnr": record.objective, "speed": record.speed}
    ended = {"stopped": False, DIVERGED: record.status == "diverged"}
    excess = excess_of(job, record)
    return {name: scores[name] for name in job.objectives} | ended | ({} if excess is None else {EXCESS: excess})


def _new_record(config: dict[str, Any], job: StudyJob) -> TrialRecord:
    number, sampled = config["number"], {name: config[name] for name in job.distributions()}
    configuration = job.configuration(sampled)
    start, spent = time.monotonic(), time.process_time()
    origin = config.get("origin") or job.origin(number)
    log.info("starts: %s from %s", configuration, origin)
    certificates: list[Certificate] = []
    run = f"search/{job.domain.domain}/trial-{number:04d}"
    measure(job.progress, Measurement(run, 0, settings={**configuration.to_dict(), "origin": origin}))
    status, curve, source = _train(job, number, run, configuration, certificates.append)
    kept_source = {"source_loss": source.loss} if source else {}
    last = curve[-1][0] if curve else 0
    measure(job.progress, Measurement(run, last, kept_source, {"status": status}, ended=True))
    kept = f", {source.loss:.2f} dB of the source lost" if source else ""
    log.info("%s in %.1f s, curve %s%s", status, time.monotonic() - start, curve, kept)
    psnr = curve[-1][1] if status == "finished" else None
    return TrialRecord(
        number=number,
        origin=origin,
        configuration=configuration,
        sampled=sampled,
        status=status,
        psnr=psnr,
        objective=bicubic_psnr(job) - PENALTY_DB if status == "diverged" else psnr,
        speed=None if job.shortening is None else job.shortening.speeds[sampled["kept_blocks"]],
        curve=curve,
        seconds=round(time.monotonic() - start, 2),
        cpu_seconds=round(time.process_time() - spent, 2),
        finished_at=now(),
        source=source,
        certificate=next(iter(certificates), None),
    )


def _train(
    job: StudyJob, number: int, run: str, configuration: TransferConfiguration, certify: Certify
) -> tuple[Status, Curve, SourceKept | None]:
    report = reporter(job.progress, f"search {job.domain.domain}")
    reached: Curve = []

    def report_trial(done: float, total: float, note: str) -> None:
        report(number + done / total, job.trials, f"trial {number}: {note}")

    def watch(step: int, value: float) -> None:
        reached.append((step, value))
        measure(job.progress, Measurement(run, step, {"validation_psnr": value}))
        if _ends(job, reached):
            raise Stopped

    report_trial(0, 1, "started")
    try:
        net, curve = run_finetuning(job.domain, configuration, job.seed, report_trial, watch=watch, certify=certify)
    except DivergedError:
        return "diverged", [], None
    except Stopped:
        return "stopped", reached, None
    return "finished", curve, _source_kept(job, net)


def _source_kept(job: StudyJob, net: SuperResolutionNet) -> SourceKept | None:
    """Source PSNR of a trained network and its loss; None if the search sets no limit."""
    allowed = job.settings.keep_source
    if allowed is None:
        return None
    psnr, loss = source_loss(job.domain, net.to(job.domain.device))
    return SourceKept(psnr=psnr, loss=loss, allowed=allowed)


def _ends(job: StudyJob, reached: Curve) -> bool:
    """True if a trial is to be stopped after its curve so far."""
    settings, evaluations = job.settings, len(job.domain.budget.evaluation_steps())
    stopping = Stopping(settings.reduction_factor, settings.grace)
    if settings.stopping == "none" or len(reached) not in stopping.rungs(evaluations):
        return False
    curves = [[score for _, score in record.curve] for record in read_records(job.records)]
    return Stopper(stopping, evaluations, curves).ends_now([score for _, score in reached])


def bicubic_psnr(job: StudyJob) -> float:
    """Mean PSNR in dB of bicubic interpolation on the study's validation images."""
    return mean_psnr(bicubic(job.domain.scale), validation_pairs(job.domain), job.domain.scale)
