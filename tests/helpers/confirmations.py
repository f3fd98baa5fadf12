"""A confirmation's record, as small as it can be."""

from orchestrator.confirm.job import ConfirmJob
from orchestrator.confirm.record import ConfirmationRecord, Steps
from orchestrator.confirm.run_record import FittedBaselines
from orchestrator.data.locked_test import Opening


def confirmed(job: ConfirmJob) -> ConfirmationRecord:
    """The default won, and nothing else was scored."""
    return ConfirmationRecord(
        winner="default",
        validation={candidate.name: [1.0] for candidate in job.candidates},
        opened=Opening(at="now", by="me", after_choosing="default", test="digest"),
        arms={},
        differences=[],
        classical=FittedBaselines(),
        steps=Steps(feature=None, model=None),
        source_psnr={},
        interpolation=None,
        front=[],
        pictures=[],
        candidates=list(job.candidates),
        runs=f"confirm/{job.domain.domain}/runs",
    )
