"""A run that ends with the search: of all domains or one, or with more trials than a finished search had."""

from collections.abc import Sequence

from orchestrator.experiment.settings import MOST_TRIALS, Experiment
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.preflight import Inputs
from orchestrator.pipeline.run import run_experiment
from orchestrator.runtime.progress import Display
from trainables.errors import UsageError, suggestion


def run_search(
    experiment: Experiment, inputs: Inputs, display: Display, domain: str | None = None, extend: int | None = None
) -> None:
    """Runs all stages up to the search.

    Args:
        experiment: The experiment.
        inputs: The result of :func:`preflight`.
        display: Display of lines and progress.
        domain: The only target to search; all by default.
        extend: Number of trials to add to finished searches, at least 1.

    Raises:
        UsageError: If there is no such target, or a search that is to be extended has not finished.
    """
    if domain is not None and domain not in experiment.targets:
        known = ", ".join(experiment.targets)
        raise UsageError(
            f"There is no target '{domain}' in this experiment; it has {known}.{suggestion(domain, experiment.targets)}"
        )
    domains = list(experiment.targets) if domain is None else [domain]
    if extend is not None:
        _extend(Jobs(experiment), domains, extend)
    run_experiment(experiment, inputs, display, "search", domains)


def _extend(jobs: Jobs, domains: Sequence[str], more: int) -> None:
    if unfinished := [domain for domain in domains if not jobs.search_finished(domain)]:
        raise UsageError(
            f"There is nothing to extend: the search of {', '.join(unfinished)} has not finished with these settings "
            "and images; run `rayscale search` without --extend first."
        )
    if max(jobs.trials(domain) for domain in domains) + more > MOST_TRIALS:
        raise UsageError(f"A study has at most {MOST_TRIALS} trials; extend by fewer than {more}.")
    for domain in domains:
        jobs.extend(domain, more)
