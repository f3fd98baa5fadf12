"""Limit on the source's loss in a confirmation (``search.keep_source``), checked with fresh seeds before the test."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from orchestrator.confirm.answer import Contender
from orchestrator.confirm.job import ConfirmJob
from orchestrator.confirm.submission import Tasks
from orchestrator.confirm.tasks import score_on_source
from orchestrator.foundation.vocabulary import ZERO_SHOT


def with_source_loss(tasks: Tasks, job: ConfirmJob, contenders: Sequence[Contender]) -> list[Contender]:
    """The contenders with the PSNR in dB that the source has lost, mean over their runs.

    It is measured on held-out source images. Without a limit nothing is measured, and a contender with a diverged run
    has no loss.
    """
    if job.keep_source is None:
        return list(contenders)
    finished = [contender for contender in contenders if contender.finished]
    runs = dict.fromkeys([ZERO_SHOT, *chain(*(contender.runs for contender in finished))])
    found = tasks.collect({run: tasks.submit(score_on_source, run) for run in runs}, "source images")

    def measured(contender: Contender) -> Contender:
        loss = found[ZERO_SHOT] - float(np.mean([found[run] for run in contender.runs]))
        return replace(contender, candidate=contender.candidate.model_copy(update={"source_loss": loss}))

    return [measured(contender) if contender.finished else contender for contender in contenders]


def within_limit(job: ConfirmJob, contenders: Sequence[Contender]) -> list[Contender]:
    """The contenders that can be the answer: all, or those that keep the limit, as the source model as it is does."""
    limit = job.keep_source
    if limit is None:
        return list(contenders)
    return [c for c in contenders if c.candidate.source_loss is not None and c.candidate.source_loss <= limit]
