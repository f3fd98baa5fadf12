"""Judging of the benchmark of forgetting: averages with the source at the limit, then the test split once."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.transfer.arms import Candidate
from benchmarks.transfer.judging import images_of
from benchmarks.transfer.keep_arms import FREE, Limits
from benchmarks.transfer.runs import Run, Runs
from orchestrator.data.source_images import LEAST_SIDE, drawn_image
from orchestrator.foundation.stage_record import fingerprint, now
from orchestrator.foundation.statistics import paired_interval
from orchestrator.image_sets.set_files import SourceFile
from orchestrator.training.finetune import DomainJob, load_source, source_degradation, source_loss, validation_psnr
from trainables.loops.settings import TransferConfiguration
from trainables.metrics.evaluation import Pair, make_pairs, mean_psnr, score
from trainables.network.network import SuperResolutionNet
from trainables.network.weight_average import FINE_SHARES, interpolated

Json = dict[str, Any]

WISE_FT = "no limit, averaged"
"""The winner of the unlimited search, averaged with the source's weights up to the limit: WiSE-FT."""

_UNSEEN = 2_000_000
"""Generated source images from this seed on choose nothing here; those that the searches see begin at 1,000,000."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """An arm before the test split is opened.

    Attributes:
        arm: Its name.
        configuration: Its configuration; None for the source model as it is, where no trial was feasible.
        share: Share of tuned weights in the average with the source's.
        keys: Its runs with fresh seeds.
        shares: Validation PSNR and loss of source PSNR in dB, means over the seeds, by share.
    """

    arm: str
    configuration: TransferConfiguration | None
    share: float
    keys: tuple[str, ...]
    shares: dict[float, tuple[float, float]]


def chosen_arms(
    arm: str, job: DomainJob, configuration: TransferConfiguration | None, limits: Limits, seeds: int, runs: Runs
) -> list[Chosen]:
    """Trains a study's winner with fresh seeds and averages it with the source.

    Returns:
        For the unlimited search its winner as it is and averaged. For a limited one the winner as it is if fresh seeds
        keep the limit too, and otherwise averaged as far as needed.
    """
    if configuration is None:
        return [Chosen(arm, None, 1.0, (), {})]
    candidate = Candidate(arm, job.method, configuration)
    rows = [runs.finish(Run(job, candidate, limits.seed + 1 + i)) for i in range(seeds)]
    keys = tuple(str(row["key"]) for row in rows)
    shares = {share: _means(job, [runs.network(key) for key in keys], share) for share in FINE_SHARES}
    feasible = {share: value for share, (value, loss) in shares.items() if loss <= limits.keep_source}
    # The larger of equals: averaging must earn its place.
    averaged = max(feasible, key=lambda share: (feasible[share], share), default=0.0)
    if arm == FREE:
        names = {arm: 1.0, WISE_FT: averaged}
    else:
        names = {arm: 1.0 if 1.0 in feasible else averaged, f"{arm}, averaged": averaged}
    return [Chosen(name, configuration, share, keys, shares) for name, share in names.items()]


def judge(job: DomainJob, chosen: Sequence[Chosen], runs: Runs, test: list[SourceFile], crop: int, out: Path) -> Json:
    """Scores the chosen arms on the test split and on unseen source images, once."""
    digest = fingerprint("keep-source-test-1", job.domain, [[one.arm, one.share, *one.keys] for one in chosen], crop)
    place = out / "test" / f"{digest}.json"
    if place.exists():
        known: Json = json.loads(place.read_text(encoding="utf-8"))
        return known
    pairs, unseen = make_pairs(images_of(test, job), job.degradation, job.scale, crop), unseen_source(job)
    source = load_source(job)
    before, zero = mean_psnr(source, unseen, job.scale), _scores([source], pairs, job.scale)
    facts: Json = {"test_opened_at": now(), "images": len(pairs), "scenes": len({pair.scene for pair in pairs})}
    facts |= {"zero_shot": float(np.mean(zero)), "source_before": before, "arms": {}}
    scores = {}
    for one in chosen:
        nets = [interpolated(load_source(job), runs.network(key), one.share) for key in one.keys] or [source]
        scores[one.arm] = _scores(nets, pairs, job.scale)
        loss = before - float(np.mean([mean_psnr(net, unseen, job.scale) for net in nets]))
        facts["arms"][one.arm] = _described(one) | {
            "source_loss": loss,
            "gain": _interval(scores[one.arm], zero, pairs),
        }
    for name, arm in facts["arms"].items():
        arm["over_wise_ft"] = _interval(scores[name], scores[WISE_FT], pairs)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return facts


def unseen_source(job: DomainJob) -> list[Pair]:
    """Source images that neither a training nor a choice has seen, under the source's own degradation."""
    images = [drawn_image(_UNSEEN + i, LEAST_SIDE) for i in range(job.validation_images)]
    return make_pairs(images, source_degradation(job), job.scale, job.validation_crop)


def _described(one: Chosen) -> Json:
    settings = one.configuration.to_dict() if one.configuration else None
    shares = [[share, *values] for share, values in one.shares.items()]
    return {"configuration": settings, "share": one.share, "by_share": shares}


def _interval(scores: Any, baseline: Any, pairs: Sequence[Pair]) -> Json:
    return asdict(paired_interval(list(scores - baseline), [pair.scene for pair in pairs]))


def _scores(nets: Sequence[SuperResolutionNet], pairs: list[Pair], scale: int) -> Any:
    """PSNR of each image, mean over the networks."""
    return np.mean([[one.psnr for one in score(net, pairs, scale)] for net in nets], axis=0)


def _means(job: DomainJob, nets: Sequence[SuperResolutionNet], share: float) -> tuple[float, float]:
    mixed = [interpolated(load_source(job), net, share) for net in nets]
    values = [(validation_psnr(job, net), source_loss(job, net)[1]) for net in mixed]
    validation, loss = np.mean(values, axis=0)
    return float(validation), float(loss)
