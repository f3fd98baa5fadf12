"""What of an experiment is still to be done: counts of images, trials and runs that no stage has left finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.data.image_sets import SourceFile
from orchestrator.experiment.settings import Experiment
from orchestrator.jobs.stage_jobs import SOURCE
from orchestrator.pipeline.stages.all_stages import stages_of

Counts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Remaining:
    """Work that is left.

    Attributes:
        images: Images of each split, by set; counted in the shards, or reckoned from shares where there are none yet.
        unpacked: Images to pack, by set whose shards are to be built.
        pretraining_steps: Steps to train the source model.
        trials: By domain.
        trained: Runs of the confirmation that are trained already, by domain to confirm.
        scored: Runs of it that are scored on the test split already, by domain to confirm.
        report: Whether it is to be written.
    """

    images: dict[str, Counts]
    unpacked: Counts
    pretraining_steps: int
    trials: Counts
    trained: Counts
    scored: Counts
    report: bool

    @property
    def needs_ray(self) -> bool:
        """Whether anything is left that Ray does."""
        return bool(self.pretraining_steps or any(self.trials.values()) or self.trained)


def remaining(experiment: Experiment, files: Mapping[str, Sequence[SourceFile]]) -> Remaining:
    """Asks every stage of an experiment what is left of it; nothing is written."""
    stages = stages_of(experiment, files)
    packed = {name for name in files if stages.shards.is_packed(name)}
    # Fingerprints of later stages are known where the shards stand.
    with_source = SOURCE not in files or SOURCE in packed
    trials, trained, scored = {}, {}, {}
    for domain in experiment.targets:
        has_shards = with_source and domain in packed
        searched = has_shards and stages.search.finished(domain)
        left = stages.search.trials_left(domain) if has_shards else experiment.search.trials
        trials[domain] = 0 if searched else left
        if not (searched and stages.confirm.finished(domain)):
            trained[domain], scored[domain] = stages.confirm.runs_done(domain) if searched else (0, 0)
    return Remaining(
        images=stages.shards.images(packed),
        unpacked={name: len(files[name]) for name in files if name not in packed},
        pretraining_steps=stages.pretrain.steps_left(with_source),
        trials=trials,
        trained=trained,
        scored=scored,
        report=bool(trained) or not stages.report.finished(SOURCE),
    )
