"""The report's section on a domain's study, from its records and its search space."""

import math

from orchestrator.experiment.settings import Experiment
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.jobs.study_starts import study_starts
from orchestrator.report.range_edges import Axis
from orchestrator.report.study_facts import StudyFacts, study_facts
from orchestrator.search.trial_record import TrialRecord
from trainables.loops.settings import TransferConfiguration
from trainables.network.architecture import frozen_depth_limit


def study_report(
    experiment: Experiment, domain: str, records: list[TrialRecord], winner: TransferConfiguration | None
) -> StudyFacts:
    """Statistics of a finished study.

    Args:
        experiment: The finished experiment.
        domain: The target.
        records: Its trials, by number.
        winner: The confirmed configuration; None for the source model as it is.
    """
    jobs = Jobs(experiment)
    starts = study_starts(jobs, domain)
    return study_facts(
        records,
        distributions=jobs.study(domain, starts).distributions(),
        axes=_axes(experiment, domain),
        winner=_settings(winner, experiment.architecture.blocks) if winner else None,
        evaluations=len(experiment.finetuning.budget().evaluation_steps()),
        starts_from=[start.of for start in starts if start.origin == "sibling"],
        concurrent_trials=experiment.search.concurrent_trials,
    )


def _axes(experiment: Experiment, domain: str) -> dict[str, Axis]:
    """Ranges of the settings; λ can only be widened upwards, since below its floor it is 0."""
    space, (low, high) = experiment.space(domain), experiment.frozen_depths(domain)
    limit, key = frozen_depth_limit(experiment.architecture), f"targets.{domain}"
    return {
        "learning_rate": Axis(f"{key}.learning_rate", *space.learning_rate, True, 0.0, math.inf),
        "lambda_": Axis(f"{key}.lambda_", *space.lambda_, True, space.lambda_[0], math.inf),
        "frozen_depth": Axis(f"{key}.frozen_depth", low, high, False, 0, limit),
    } | _kept(experiment)


def _kept(experiment: Experiment) -> dict[str, Axis]:
    kept = experiment.search.kept_blocks
    return {"kept_blocks": Axis("search.kept_blocks", *kept, False, 1, experiment.architecture.blocks)} if kept else {}


def _settings(winner: TransferConfiguration, blocks: int) -> dict[str, float]:
    """Settings of a configuration, with an explicit number of kept blocks."""
    return {**winner.to_dict(), "kept_blocks": winner.kept_blocks or blocks}
