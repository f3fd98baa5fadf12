"""A study's records as a file for optuna-dashboard, live and at the end; nothing here reads it."""

import math
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.foundation.storage import Storage
from orchestrator.search.samplers import EXCESS
from orchestrator.search.trial_record import TrialRecord, read_record, record_place

if TYPE_CHECKING:
    from orchestrator.search.study import StudyJob

FILE = "optuna.log"

LIVE_SECONDS = 5.0
"""Least seconds between two writings of a running study's file."""

_STATES = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "diverged": TrialState.FAIL}


def write_optuna_log(
    name: str,
    records: Sequence[TrialRecord],
    distributions: dict[str, BaseDistribution],
    place: Storage,
    objectives: Sequence[str] = ("psnr",),
) -> None:
    """Writes a study's trials as an Optuna journal, atomically.

    A stopped trial is *pruned*, a diverged one *failed*. Curves are intermediate values by training step; number,
    origin and configuration (λ as it was used, 0 below its floor) are user attributes.

    Args:
        name: Name of the study.
        records: Its trials, by number.
        distributions: Its search space.
        place: The file, on any storage.
        objectives: Names of its objectives in a record.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / FILE
        storage = JournalStorage(JournalFileBackend(str(file)))
        study = optuna.create_study(storage=storage, study_name=name, directions=["maximize"] * len(objectives))
        for record in records:
            study.add_trial(_trial(record, distributions, objectives))
        place.write_bytes(file.read_bytes())


class LiveOptunaLog:
    """A study's Optuna journal, written again as trials end.

    Args:
        job: The study.
        journal: The file.
        records: Its trials so far.
    """

    def __init__(self, job: "StudyJob", journal: Storage, records: Sequence[TrialRecord]) -> None:
        self._job, self._journal = job, journal
        self._records = {record.number: record for record in records}
        self._written = -math.inf

    def update(self, number: int) -> None:
        """Adds a trial that has ended; never raises, as nothing depends on this file.

        The whole file is written, at most every few seconds: the stage writes it once more at the end.
        """
        with suppress(Exception):
            record = read_record(record_place(self._job.records, number), number)
            if record is not None:
                self._records[number] = record
            if time.monotonic() - self._written >= LIVE_SECONDS and self._records:
                self._write()

    def _write(self) -> None:
        job, records = self._job, [self._records[number] for number in sorted(self._records)]
        write_optuna_log(study_title(job), records, job.distributions(), self._journal, job.objectives)
        self._written = time.monotonic()


def study_title(job: "StudyJob") -> str:
    """Name of a study in its journal: that of the experiment and the domain."""
    return f"{job.home.uri.rpartition('/')[2]}, {job.domain.domain}"


def _trial(record: TrialRecord, distributions: dict[str, BaseDistribution], objectives: Sequence[str]) -> FrozenTrial:
    scored, scores = record.psnr is not None, {"psnr": record.psnr, "speed": record.speed}
    trial = create_trial(
        state=_STATES[record.status],
        params=record.sampled,
        distributions=distributions,
        values=[score for name in objectives if (score := scores[name]) is not None] if scored else None,
        intermediate_values=dict(record.curve),
        constraints={EXCESS: record.source.excess} if record.source else None,
        user_attrs={"number": record.number, "origin": record.origin, **record.configuration.to_dict()},
    )
    # Optuna keeps local times without a zone.
    trial.datetime_complete = datetime.fromisoformat(record.finished_at).astimezone().replace(tzinfo=None)
    trial.datetime_start = trial.datetime_complete - timedelta(seconds=record.seconds)
    return trial
