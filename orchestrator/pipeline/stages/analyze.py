"""The analyze stage: measures how far each domain lies from the source, for advice that its search starts from."""

import time
from collections.abc import Sequence
from functools import partial

from orchestrator.analysis.record import AdvisedDomain
from orchestrator.foundation.stage_record import Vouched
from orchestrator.pipeline.run_context import RunContext
from orchestrator.pipeline.stages.stage import Stage
from orchestrator.runtime.task_runner import Needs, run_for_all


class AnalyzeStage(Stage):
    """Analyses domains whose searches start from advice."""

    name, noun = "analyze", "analysis"

    def names(self, domains: Sequence[str]) -> tuple[str, ...]:
        """All domains, or none where no search starts from advice."""
        return tuple(domains) if "advice" in self.jobs.experiment.search.starts else ()

    def inputs(self, name: str) -> str:
        """Fingerprint of a domain's analysis."""
        return self.jobs.analysis_inputs(name)

    def vouched(self, name: str) -> Vouched:
        """No files: the result is in the stage's record."""
        del name
        return Vouched(self.home, [])

    def run(self, run: RunContext) -> None:
        """Analyses all domains at once."""
        domains = self.unfinished(run)
        if not domains:
            return
        from orchestrator.analysis.task import analyze_domain  # here: a run without advice needs no scikit-learn

        run.log(f"analysis: how far {', '.join(domains)} lie from the source")
        start, search = time.monotonic(), self.jobs.experiment.search
        jobs = {domain: self.jobs.analysis(domain) for domain in domains}

        def done(domain: str, result: AdvisedDomain) -> None:
            self.finish(domain, start, result)
            advice = result["advice"]
            run.log(f"analysis {domain}: {advice['reason'] if advice else 'no advice, ' + result.get('reason', '')}")

        failed = partial(run.failures.add, stage=self.noun)
        needs = Needs(search.cpus_per_trial)
        run_for_all(run.runner, analyze_domain, jobs, done, failed, needs, self.noun)
