"""The report's front of quality and speed: points of the search, and test scores of their fresh seeds."""

from statistics import fmean

from orchestrator.confirm.publish import front_model
from orchestrator.confirm.record import ConfirmationRecord, Difference, FrontResult
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.storage import Storage
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.report.schema import Front, FrontPoint
from orchestrator.search.network_speed import device_sentence
from orchestrator.search.pareto_front import pareto_front
from orchestrator.search.trial_record import TrialRecord
from trainables.network.model_files import WEIGHTS


def front_report(
    experiment: Experiment, domain: str, records: list[TrialRecord], found: ConfirmationRecord
) -> Front | None:
    """Builds the front of one domain.

    Args:
        experiment: The finished experiment.
        domain: The target.
        records: Its trials.
        found: Its confirmation.

    Returns:
        The front; None if quality was the only objective.
    """
    if experiment.search.kept_blocks is None:
        return None
    blocks, confirmed = experiment.architecture.blocks, {point.trial: point for point in found.front}
    model = Jobs(experiment).confirmed_model(domain)
    smallest = experiment.confirmation.smallest_effect
    points = [
        _point(record, confirmed.get(record.number), found.winner, model, blocks, smallest)
        for record in pareto_front(records)
    ]
    speeds = Jobs(experiment).speeds_place().read_json()
    device = device_sentence(speeds) if speeds else "a device whose record is gone"
    return Front(device=device, blocks=blocks, points=points)


def _point(
    record: TrialRecord, found: FrontResult | None, winner: str, model: Storage, blocks: int, smallest_effect: float
) -> FrontPoint:
    kept = record.configuration.kept_blocks or blocks
    assert record.speed is not None, "a point of a front has a speed"
    assert record.psnr is not None, "a point of a front has finished"
    place, test = front_model(model, kept), found and found.test
    return FrontPoint(
        kept_blocks=kept,
        trial=record.number,
        configuration=record.configuration,
        megapixels_per_second=record.speed,
        search_psnr=record.psnr,
        confirmed=found is not None,
        is_best=found is not None and found.run == winner,
        validation_psnr=fmean(found.validation_psnr) if found and found.validation_psnr else None,
        test_psnr=test.psnr if test else None,
        test_ssim=test.ssim if test else None,
        difference=_to_front(found.difference, smallest_effect) if found and found.difference else None,
        model=place.uri if place.child(WEIGHTS).exists() else None,
    )


def _to_front(difference: Difference, smallest_effect: float) -> Difference:
    return difference.judged(smallest_effect).model_copy(update={"baseline": "front"})
