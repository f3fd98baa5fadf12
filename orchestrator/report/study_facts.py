"""Statistics of a search, computed from its trial records for the report.

Rank correlations of early scores with final ones, savings and losses of early stopping, importance of the settings, and
winners on an edge of the search space.
"""

import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState, create_trial
from pydantic import BaseModel, ConfigDict

from orchestrator.report.range_edges import Axis, edge_warnings
from orchestrator.search.divergence import penalised
from orchestrator.search.early_stopping import Stopper, Stopping
from orchestrator.search.trial_record import TrialRecord

FEWEST_FOR_RANKS = 5
"""Fewest fully trained trials for rank correlations."""

FEWEST_FOR_IMPORTANCE = 20
"""Fewest trials for importances."""

REPLAYED = tuple(Stopping(factor, grace) for factor in (2, 4) for grace in (1, 2))


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rung(_Facts):
    """Rank correlation of the score after ``step`` with the final one: 1 if all trials keep their order."""

    step: int
    spearman: float | None
    kendall: float | None


class StoppingReplay(_Facts):
    """Simulated effect of ASHA on a study's trials: saved share of the training, and loss of the best score in dB."""

    reduction_factor: int
    grace: int
    stopped: int
    saved: float
    lost_db: float


class StudyFacts(_Facts):
    """Statistics of one domain's search; all scores are validation PSNR in dB."""

    trials: dict[str, int]
    starts_from: list[str]
    trained_share: float
    rungs: list[Rung]
    replays: list[StoppingReplay]
    importance: dict[str, float]
    importance_note: str
    warnings: list[str]
    not_reproducible: str | None


def rank_correlations(records: Sequence[TrialRecord]) -> list[Rung]:
    """Spearman's ρ and Kendall's τ of each evaluation but the last with the last, over fully trained trials."""
    curves = [record.curve for record in records if record.status == "finished"]
    if len(curves) < FEWEST_FOR_RANKS:
        return []
    from scipy.stats import kendalltau, spearmanr  # here: runs before their report need none of SciPy's statistics

    final = [curve[-1][1] for curve in curves]
    correlations = []
    for position, (step, _) in enumerate(curves[0][:-1]):
        scores = [curve[position][1] for curve in curves]
        constant = len(set(scores)) == 1 or len(set(final)) == 1
        correlations.append(
            Rung(
                step=step,
                spearman=None if constant else float(spearmanr(scores, final).statistic),
                kendall=None if constant else float(kendalltau(scores, final).statistic),
            )
        )
    return correlations


def replay_stopping(records: Sequence[TrialRecord], stopping: Stopping) -> StoppingReplay | None:
    """Simulates ASHA on a study's curves in the order of their numbers.

    The suggestions remain those of the study, although with stopped trials the sampler would have made others. None
    if the study itself stopped trials, whose final scores are unknown, or has no rung for these settings.
    """
    curves = [[score for _, score in record.curve] for record in records if record.status == "finished"]
    evaluations = max((len(curve) for curve in curves), default=0)
    if any(record.status == "stopped" for record in records) or not stopping.rungs(evaluations):
        return None
    stopper = Stopper(stopping, evaluations)
    spent = [stopper.stops_at(curve) for curve in curves]
    kept = [curve[-1] for curve, ended in zip(curves, spent, strict=True) if ended == evaluations]
    return StoppingReplay(
        reduction_factor=stopping.reduction_factor,
        grace=stopping.grace,
        stopped=len(curves) - len(kept),
        saved=1 - sum(spent) / (evaluations * len(curves)),
        lost_db=max(curve[-1] for curve in curves) - max(kept),
    )


def importance(records: Sequence[TrialRecord], distributions: Mapping[str, BaseDistribution]) -> dict[str, float]:
    """Share of the variance of the score that each setting explains (fANOVA, Hutter et al. 2014); sums to 1.

    Not Optuna's default, PED-ANOVA, which looks at the best tenth of the trials: of 24 trials these are two or three,
    too few for a stable result. Empty with fewer than :data:`FEWEST_FOR_IMPORTANCE` trials, or if all score the same.
    """
    scored = [(record, record.objective) for record in records if record.objective is not None]
    values = penalised([[score] for _, score in scored], [record.status == "diverged" for record, _ in scored])
    if len(scored) < FEWEST_FOR_IMPORTANCE or len({value for [value] in values}) == 1:
        return {}
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances  # here: it imports scikit-learn

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for (record, _), [value] in zip(scored, values, strict=True):
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                params=record.sampled,
                distributions=dict(distributions),
                value=value,
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importances = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {name: float(importances[name]) for name in distributions}


def not_reproducible(concurrent_trials: int) -> str | None:
    """A sentence on the parts of a search that its seed does not determine; None with one trial at a time."""
    if concurrent_trials == 1:
        return None
    return (
        f"{concurrent_trials} trials of this domain ran at once: what the sampler suggested, and what was stopped "
        "early, depends on the order in which they ended. The same seed gives the same starts and the same training "
        "of a configuration, but not the same trials."
    )


def study_facts(
    records: Sequence[TrialRecord],
    *,
    distributions: Mapping[str, BaseDistribution],
    axes: Mapping[str, Axis],
    winner: Mapping[str, float] | None,
    evaluations: int,
    starts_from: Sequence[str] = (),
    concurrent_trials: int = 1,
) -> StudyFacts:
    """All statistics of a study for the report.

    Args:
        records: Its trials, by number.
        distributions: Its search space.
        axes: Ranges by name of the setting in a configuration.
        winner: The confirmed configuration; None for the source model as it is.
        evaluations: Evaluations of a whole training.
        starts_from: Names of the other searches that some of its starts come from.
        concurrent_trials: Trials of the domain at once.
    """
    states = [record.status for record in records]
    trained = sum(len(record.curve) if record.status == "stopped" else evaluations for record in records)
    important = importance(records, distributions)
    scored = sum(record.objective is not None for record in records)
    few = f"too few trials: {scored} of {FEWEST_FOR_IMPORTANCE}" if scored < FEWEST_FOR_IMPORTANCE else "all alike"
    replays = (replay_stopping(records, stopping) for stopping in REPLAYED)
    return StudyFacts(
        trials={state: states.count(state) for state in ("finished", "stopped", "diverged")},
        starts_from=list(starts_from),
        trained_share=trained / (evaluations * len(records)),
        rungs=rank_correlations(records),
        replays=[replay for replay in replays if replay is not None],
        importance=important,
        importance_note=f"fANOVA over {scored} trials; with so few, shares are rough" if important else few,
        warnings=edge_warnings(winner, axes) if winner else [],
        not_reproducible=not_reproducible(concurrent_trials),
    )
