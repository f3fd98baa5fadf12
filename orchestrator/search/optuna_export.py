"""Export of a study's records as a file for optuna-dashboard; nothing here reads it."""

import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.foundation.storage import Storage
from orchestrator.search.samplers import EXCESS
from orchestrator.search.trial_record import TrialRecord

FILE = "optuna.log"

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
