"""What of an experiment is still to be done: counts of images, trials and runs that no stage has left finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.data.image_sets import SourceFile
from orchestrator.data.shards import SPLITS, read_manifest
from orchestrator.experiment.image_settings import Target
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.stage_record import finished
from orchestrator.jobs.stage_jobs import SOURCE, Jobs
from trainables.errors import RayScaleError

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


def remaining(experiment: Experiment, files: Mapping[str, Sequence[SourceFile]]) -> Remaining:
    """Compares an experiment with what its folder holds; nothing is written."""
    jobs = Jobs(experiment)
    packed = {name for name in files if _is_packed(jobs, name, files[name])}
    images = {
        name: _packed(jobs, name) if name in packed else _shares(jobs, name, listed) for name, listed in files.items()
    }
    # Digests that later stages depend on are known where the shards stand.
    source_stands = SOURCE not in files or SOURCE in packed
    trials, trained, scored = {}, {}, {}
    for domain in experiment.targets:
        stands = source_stands and domain in packed
        searched = stands and finished(jobs.place("search", domain), jobs.search_inputs(domain)) is not None
        done = len(jobs.records(domain)) if stands else 0
        trials[domain] = 0 if searched else jobs.trials(domain) - done if stands else experiment.search.trials
        if searched and finished(jobs.place("confirm", domain), jobs.confirm_inputs(domain)):
            continue
        left = _runs_left_by(jobs, domain) if searched else []
        trained[domain] = sum(path.endswith("/run.json") for path in left)
        scored[domain] = sum(path.startswith("test-") for path in left)
    steps = 0
    if experiment.source_model is None:
        trained_source = source_stands and finished(jobs.place("source"), jobs.source_inputs())
        steps = 0 if trained_source else experiment.pretraining.steps - (_checkpoint(jobs) if source_stands else 0)
    told = not trained and finished(jobs.place("report"), jobs.report_inputs()) is not None
    return Remaining(
        images,
        {name: len(files[name]) for name in files if name not in packed},
        steps,
        trials,
        trained,
        scored,
        not told,
    )


def _is_packed(jobs: Jobs, name: str, files: Sequence[SourceFile]) -> bool:
    """Whether a set's shards are built, and say what they hold; those that do not are built again."""
    if finished(jobs.place("shards", name), jobs.shard_inputs(name, list(files))) is None:
        return False
    try:
        _packed(jobs, name)
    except RayScaleError:
        return False
    return True


def _packed(jobs: Jobs, name: str) -> Counts:
    places = [jobs.place("shards", name)]
    if isinstance(jobs.image_set(name), Target):
        places.append(jobs.locked_test(name))
    return {split: count for place in places for split, count in read_manifest(place)["images"].items()}


def _shares(jobs: Jobs, name: str, files: Sequence[SourceFile]) -> Counts:
    """Images of each split if scenes were equally large; an image set's own test folder is counted as it is."""
    own = [file for file in files if not file.test]
    scenes = len({file.scene for file in own})
    shares = jobs.shares(name)
    counts = {split: round(len(own) * max(1, round(share * scenes)) / scenes) for split, share in shares.items()}
    counts["train"] = max(1, len(own) - sum(counts.values()))
    if isinstance(jobs.image_set(name), Target):
        counts.setdefault("test", len(files) - len(own))
    return {split: counts[split] for split in SPLITS if split in counts}


def _runs_left_by(jobs: Jobs, domain: str) -> list[str]:
    return [facts.path for facts in jobs.place("confirm", domain, f"runs-{jobs.confirm_inputs(domain)}").files()]


def _checkpoint(jobs: Jobs) -> int:
    """The step that an interrupted pretraining goes on from."""
    place = jobs.place("source", "ray", f"run-{jobs.source_inputs()}")
    kept = [place.child(facts.path).read_json() for facts in place.files() if facts.path.endswith("/history.json")]
    return max((int(history["step"]) for history in kept if history), default=0)
