"""All stages of an experiment, in order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.experiment.settings import Experiment
from orchestrator.image_sets.set_files import SourceFile
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.stages.analyze import AnalyzeStage
from orchestrator.pipeline.stages.confirm import ConfirmStage
from orchestrator.pipeline.stages.finish import FinishStage
from orchestrator.pipeline.stages.pretrain import PretrainStage
from orchestrator.pipeline.stages.report import ReportStage
from orchestrator.pipeline.stages.search import SearchStage
from orchestrator.pipeline.stages.shards import ShardsStage
from orchestrator.pipeline.stages.stage import Stage


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of an experiment; iterates over them in the order in which they run."""

    shards: ShardsStage
    pretrain: PretrainStage
    analyze: AnalyzeStage
    search: SearchStage
    confirm: ConfirmStage
    finish: FinishStage
    report: ReportStage

    def __iter__(self) -> Iterator[Stage]:
        """Iterates over the stages in order."""
        every = (self.shards, self.pretrain, self.analyze, self.search, self.confirm, self.finish, self.report)
        return iter(every)

    def until(self, last: str) -> tuple[Stage, ...]:
        """All stages up to the one of this name."""
        every = tuple(self)
        return every[: [stage.name for stage in every].index(last) + 1]


def stages_of(experiment: Experiment, files: Mapping[str, Sequence[SourceFile]], with_tests: bool = True) -> Stages:
    """The stages of an experiment.

    Args:
        experiment: The experiment.
        files: The listed files of every image set.
        with_tests: Whether the locked test splits are read, see :class:`Stage`.
    """
    jobs = Jobs(experiment)
    return Stages(
        ShardsStage(jobs, with_tests, {name: list(listed) for name, listed in files.items()}),
        PretrainStage(jobs, with_tests),
        AnalyzeStage(jobs, with_tests),
        SearchStage(jobs, with_tests),
        ConfirmStage(jobs, with_tests),
        FinishStage(jobs, with_tests),
        ReportStage(jobs, with_tests),
    )
