"""Remaining work of an experiment: counts of images, steps, trials and runs that are not finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.experiment.settings import Experiment
from orchestrator.image_sets.set_files import SourceFile
from orchestrator.jobs.stage_jobs import SOURCE
from orchestrator.pipeline.stages.all_stages import stages_of

Counts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Remaining:
    """Remaining work of an experiment.

    Attributes:
        images: Images of each split, by set: counted in the shards, or estimated from shares if there are none yet.
        unpacked: Images to pack, by set whose shards are to be built.
        pretraining_steps: Steps to train the source model.
        trials: Trials to run, by domain.
        trained: Runs of a confirmation that are trained already, by domain to confirm.
        scored: Runs of a confirmation that are scored on the test split already, by domain to confirm.
        finishing: Steps of the finished model that are trained already, by domain that lacks one.
        report: Whether the report is to be written.
    """

    images: dict[str, Counts]
    unpacked: Counts
    pretraining_steps: int
    trials: Counts
    trained: Counts
    scored: Counts
    finishing: Counts
    report: bool

    @property
    def needs_ray(self) -> bool:
        """True if work remains that runs on Ray."""
        return bool(self.pretraining_steps or any(self.trials.values()) or self.trained or self.finishing)


def remaining(
    experiment: Experiment,
    files: Mapping[str, Sequence[SourceFile]],
    images_per_file: Mapping[str, float] | None = None,
) -> Remaining:
    """Counts the remaining work of every stage; writes nothing.

    Args:
        experiment: The experiment.
        files: The listed files of every image set.
        images_per_file: How many images a file gives, by set; 1 by default.
    """
    per_file = images_per_file or {}
    stages = stages_of(experiment, files)
    packed = {name for name in files if stages.shards.is_packed(name)}
    # The fingerprints of later stages contain the digests of the shards.
    with_source = SOURCE not in files or SOURCE in packed
    trials, trained, scored, finishing = {}, {}, {}, {}
    for domain in experiment.targets:
        has_shards = with_source and domain in packed
        searched = has_shards and stages.search.finished(domain)
        left = stages.search.trials_left(domain) if has_shards else experiment.search.limit
        trials[domain] = 0 if searched else left
        confirmed = searched and stages.confirm.finished(domain)
        if not confirmed:
            trained[domain], scored[domain] = stages.confirm.runs_done(domain) if searched else (0, 0)
        if stages.finish.names((domain,)) and not (confirmed and stages.finish.finished(domain)):
            finishing[domain] = stages.finish.steps_done(domain) if searched else 0
    return Remaining(
        images=stages.shards.images(packed, per_file),
        unpacked={name: round(len(files[name]) * per_file.get(name, 1)) for name in files if name not in packed},
        pretraining_steps=stages.pretrain.steps_left(with_source),
        trials=trials,
        trained=trained,
        scored=scored,
        finishing=finishing,
        report=bool(trained or finishing) or not stages.report.finished(SOURCE),
    )
