"""Inputs of every stage's estimator, and the times that several of them need."""

from dataclasses import dataclass

from orchestrator.estimate.further_scores import FurtherScores
from orchestrator.estimate.rates import Rates
from orchestrator.estimate.timed_work import DomainRates
from orchestrator.experiment.settings import Experiment
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.remaining_work import Remaining


@dataclass(frozen=True, slots=True)
class Known:
    """Inputs of every estimator: settings, measured rates, remaining work, trials at once and cores."""

    experiment: Experiment
    rates: Rates
    left: Remaining
    slots: int
    cores: float

    def starting(self, processes: float, in_turn: float) -> float:
        """Seconds until ``processes`` workers are up, of which ``in_turn`` wait for each other."""
        return self.rates.worker * max(in_turn, processes / self.cores)

    def of(self, domain: str) -> tuple[DomainRates, dict[str, int]]:
        """Rates of a domain, and its images by split."""
        return self.rates.domains[domain], self.left.images[domain]

    def scoring(self, domain: str) -> float:
        """Seconds of all validations of one training."""
        return self.experiment.finetuning.budget().evaluations * self._validated(domain) * self._rate(domain).validate

    def further(self, domain: str, scores: FurtherScores) -> float:
        """Seconds of the scores beside those of trainings."""
        images = scores.validation * self._validated(domain) + scores.source * self._source_images(domain)
        return images * self._rate(domain).validate

    def first(self, domain: str) -> float:
        """Seconds until a worker that never trained on a domain holds its images."""
        rates, images = self.of(domain)
        count = self._validated(domain)
        return (images["train"] + images["validation"]) * self.rates.read[domain] + count * rates.make_validation

    def holding(self, domain: str) -> float:
        """Seconds until every worker holds a domain, its test images and the source's included."""
        rates, images = self.of(domain)
        test = images["test"] * (self.rates.read[domain] + rates.make_test)
        return self.slots * (self.first(domain) + self.first_source(domain) + test)

    def first_source(self, domain: str) -> float:
        """Seconds until a worker holds the held-out source images, and has scored the source model on them."""
        rates, limited = self._rate(domain), self.experiment.search.keep_source is not None
        return self._source_images(domain) * (rates.make_validation + limited * rates.validate)

    def _rate(self, domain: str) -> DomainRates:
        return self.rates.domains[domain]

    def _validated(self, domain: str) -> int:
        return min(self.left.images[domain]["validation"], self.experiment.search.validation_images)

    def _source_images(self, domain: str) -> int:
        """Held-out source images, generated ones with a given source model; none where the bands are others."""
        section = self.experiment.search
        if Jobs(self.experiment).deep(domain) is not None and section.keep_source is None:
            return 0
        counts = [images for name, images in self.left.images.items() if name not in self.experiment.targets]
        return min(counts[0]["validation"], section.validation_images) if counts else section.validation_images
