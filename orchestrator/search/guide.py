"""Guide of a running study: it passes on the finds of siblings, and ends a search that more trials do not pay for.

Both depend on when other work finishes, or on a model's fit. Each decision is therefore written beside the trial
records before it is acted on, and a resumed study repeats it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna
from pydantic import Field

from orchestrator.foundation.configuration import Configuration
from orchestrator.foundation.record import Count, Number, Record
from orchestrator.foundation.storage import Storage
from orchestrator.search.samplers import near
from orchestrator.search.starts import found_best
from trainables.loops.settings import TransferConfiguration

if TYPE_CHECKING:
    from orchestrator.search.study import StudyJob

_END, _NAME = "ended.json", re.compile(r"given-(\d{4,9})\.json")

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


def _name(number: int) -> str:
    return f"given-{number:04d}.json"


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
        from orchestrator.search.expected_gain import expected_gain  # slow to import, and for `trials: auto` alone

        noise = job.settings.seed_noise
        gain = expected_gain(study, near(study, job.distributions(), job.region), noise)
        if gain is None or gain >= noise:
            return False
        StudyEnd(trials=number, expected_gain=gain, noise=noise).write(job.records.child(_END))
        return True

    def given(self, study: optuna.Study, number: int) -> tuple[str, Mapping[str, float]] | None:
        """The best configuration of a sibling whose search has finished, if it was not tried yet."""
        job = self.job
        if not job.siblings or number < len(job.starts) or number in job.known:
            return None
        earlier = self._earlier()
        found = earlier.get(number) or self._new(study, list(earlier.values()))
        if found is None:
            return None
        if number not in earlier:
            found.write(job.records.child(_name(number)))
        return "sibling", job.point(found.configuration)

    def _earlier(self) -> dict[int, Given]:
        """Trials that siblings gave before, by number."""
        records = self.job.records
        numbers = [int(match[1]) for facts in records.files() if (match := _NAME.fullmatch(facts.path))]
        return {number: given for number in numbers if (given := Given.read(records.child(_name(number))))}

    def _new(self, study: optuna.Study, earlier: Sequence[Given]) -> Given | None:
        job, heard = self.job, {given.of for given in earlier}
        tried = {start.configuration for start in job.starts} | {given.configuration for given in earlier}
        tried |= {job.configuration(trial.params) for trial in study.get_trials(deepcopy=False) if trial.params}
        for other in job.siblings:
            best = found_best(job.home, other) if other not in heard else None
            moved = self._moved(best) if best else None
            if moved is not None and moved not in tried:
                return Given(of=other, configuration=moved)
        return None

    def _moved(self, configuration: TransferConfiguration) -> TransferConfiguration:
        return self.job.configuration(self.job.point(configuration))
