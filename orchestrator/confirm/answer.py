"""Choice of a confirmation's answer on validation: the simplest candidate that is as good as the best mean.

The best of many means is partly luck, and a simple answer is easier to explain, repeat and carry to other images. So
the best mean sets the mark, and the answer is the simplest candidate that lies at most :data:`MARGIN_DB` below it, if
the interval of the paired difference holds zero. The interval alone is not enough: over few scenes it holds zero for
almost anything, and the answer would often be no fine-tuning (``benchmarks/phase_map/answer_rules.py`` measures what
that costs). From simple to complex:

1. no fine-tuning,
2. the default fine-tune,
3. another learning rate, with λ without effect and nothing frozen,
4. a frozen depth,
5. a regularizer, λ > 0,
6. feature transfer.

Within each of them a network of one seed comes first, then the weights averaged over the seeds (a model soup, Wortsman
et al. 2022, arXiv 2203.05482), which ask for no further setting and cost nothing where images are upscaled, then those
averaged with the source's (Wortsman et al. 2022, arXiv 2109.01903), which have a share to choose. Equally simple ones
stand in the order of their means.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.confirm.candidates import NO_EFFECT
from orchestrator.confirm.record import Candidate, Choice, Standing
from orchestrator.confirm.run_record import Images, mean_of
from orchestrator.foundation.statistics import FEWEST_SCENES, paired_interval

MARGIN_DB = 0.02
"""A candidate so close to the best mean is as good: no more than another seed makes."""

_AVERAGED = (None, "seeds", "source")


@dataclass(frozen=True, slots=True)
class Contender:
    """A candidate with its validation scores.

    Attributes:
        candidate: The candidate.
        runs: Names of its runs; of several the first is published.
        images: Scores of the validation images, run by run; None of a run that diverged.
    """

    candidate: Candidate
    runs: tuple[str, ...]
    images: tuple[Images | None, ...]

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.candidate.name

    @property
    def means(self) -> list[float | None]:
        """Mean PSNR in dB of each run; None of a diverged one."""
        return [mean_of(images) if images else None for images in self.images]

    @property
    def finished(self) -> bool:
        """True if no run diverged; otherwise it cannot be the answer."""
        return all(self.images)

    @property
    def scenes(self) -> list[str]:
        """Scene of each validation image."""
        return [scene for _, scene, _ in self.images[0] or []]

    def per_image(self) -> NDArray[np.float64]:
        """PSNR in dB of each image, averaged over the runs."""
        runs = [[psnr for _, _, psnr in images or []] for images in self.images]
        return np.mean(np.asarray(runs, dtype=np.float64), axis=0)  # type: ignore[no-any-return]


def choose(contenders: Sequence[Contender]) -> Choice:
    """Chooses the answer among contenders, of which the source model as it is is one.

    With fewer than :data:`~orchestrator.foundation.statistics.FEWEST_SCENES` validation scenes no interval can be
    trusted, and the margin decides alone.
    """
    finished = [contender for contender in contenders if contender.finished]
    means = {contender.name: float(np.mean(contender.per_image())) for contender in finished}
    ordered = sorted(finished, key=lambda contender: (*_complexity(contender), -means[contender.name]))
    best = max(ordered, key=lambda contender: means[contender.name])  # of equal ones the simplest
    standings = [_standing(best, contender) for contender in ordered]
    trusted = len(set(best.scenes)) >= FEWEST_SCENES
    answer = next(s.name for s in standings if s.mean <= MARGIN_DB and (s.low <= 0 or not trusted))
    return Choice(
        answer=answer,
        best_mean=best.name,
        scenes=len(set(best.scenes)),
        by="interval" if trusted else "margin",
        margin=MARGIN_DB,
        standings=standings,
    )


def _standing(best: Contender, other: Contender) -> Standing:
    if other is best:
        return Standing(name=other.name, mean=0.0, low=0.0, high=0.0)
    interval = paired_interval((best.per_image() - other.per_image()).tolist(), best.scenes)
    return Standing(name=other.name, mean=interval.mean, low=interval.low, high=interval.high)


def _complexity(contender: Contender) -> tuple[int, int]:
    """Place of the configuration in the order of this module, then that of the averaging."""
    return _rank(contender.candidate), _AVERAGED.index(contender.candidate.averaged)


def _rank(candidate: Candidate) -> int:
    configuration = candidate.configuration
    if configuration is None:
        return 1
    if candidate.generator == "fresh":
        return 6
    if "default" in (candidate.name, candidate.of):
        return 2
    if configuration.lambda_ >= NO_EFFECT:
        return 5
    return 4 if configuration.frozen_depth else 3
