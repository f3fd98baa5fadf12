"""Guide of a running study: it passes on the finds of siblings, and ends a search that more trials do not pay for.

Both depend on when other work finishes, or on a model's fit. Each decision is therefore written beside the trial
records before it is acted on, and a resumed study repeats it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna
from pydantic import Field

from orchestrator.foundation.configuration import Configuration
from orchestrator.foundation.record import Count, Number, Record
from orchestrator.foundation.storage import Storage
from orchestrator.search.expected_gain import expected_gain
from orchestrator.search.starts import found_best
from orchestrator.search.trial_record import read_records
from trainables.loops.finetune import TransferConfiguration

if TYPE_CHECKING:
    from orchestrator.search.study import StudyJob

_END = "ended.json"

FEWEST_TRIALS = 6
"""Trials before a study may end: a model of fewer says little about the rest of the space."""


class StudyEnd(Record):
    """End of a study before its largest number of trials, with the reason.

    Attributes:
        trials: Number of its trials.
        expected_gain: Gain in dB that its model expected of the next trial.
        noise: Standard deviation in dB of a training's score over seeds.
    """

    trials: Count
    expected_gain: Number
    noise: Number

    def __str__(self) -> str:
        gain = f"{self.expected_gain:.3f} dB, less than the {self.noise:g} dB of a seed's noise"
        return f"another was expected to gain {gain}"


class Given(Record):
    """A trial that another domain's search gave.

    Attributes:
        of: The other domain.
        configuration: Its best configuration, moved into this study's space.
    """

    of: str = Field(min_length=1)
    configuration: Configuration


def read_end(records: Storage) -> StudyEnd | None:
    """The recorded end of a study; None if it has none, or a damaged one."""
    return StudyEnd.read(records.child(_END))


def _place(records: Storage, number: int) -> Storage:
    return records.child(f"given-{number:04d}.json")


@dataclass(frozen=True)
class StudyGuide:
    """Guide of one study.

    Attributes:
        job: The study.
    """

    job: "StudyJob"

    def ends(self, study: optuna.Study, number: int) -> bool:
        """True if the next trial is expected to gain less than the noise of a training's score."""
        job = self.job
        if not job.ends_early or number < max(FEWEST_TRIALS, len(job.starts)):
            return False
        noise = job.settings.seed_noise
        gain = expected_gain(study, job.near(study), noise)
        if gain is None or gain >= noise:
            return False
        StudyEnd(trials=number, expected_gain=gain, noise=noise).write(job.records.child(_END))
        return True

    def given(self, number: int) -> tuple[str, Mapping[str, float]] | None:
        """The best configuration of a sibling whose search has finished, if it was not tried yet."""
        job = self.job
        if number < len(job.starts) or number in job.known:
            return None
        place = _place(job.records, number)
        found = Given.read(place)
        if found is None:
            found = self._new(number)
            if found is None:
                return None
            found.write(place)
        return "sibling", job.point(found.configuration)

    def _new(self, number: int) -> Given | None:
        job = self.job
        if not job.siblings:
            return None
        earlier = [given for other in range(number) if (given := Given.read(_place(job.records, other)))]
        heard = {given.of for given in earlier}
        tried = {start.configuration for start in job.starts}
        tried |= {record.configuration for record in read_records(job.records)}
        tried |= {given.configuration for given in earlier}
        for other in job.siblings:
            best = found_best(job.home, other) if other not in heard else None
            moved = self._moved(best) if best else None
            if moved is not None and moved not in tried:
                return Given(of=other, configuration=moved)
        return None

    def _moved(self, configuration: TransferConfiguration) -> TransferConfiguration:
        return self.job.configuration(self.job.point(configuration))
