"""Checks before any computation: storage, version, images, models, and the resources of this machine."""

from dataclasses import dataclass, field

from orchestrator.data.sample_check import SetSample, check_sample
from orchestrator.experiment.feasibility import Resources, check_resources
from orchestrator.experiment.image_settings import ImageSet, Target
from orchestrator.experiment.load import check_source
from orchestrator.experiment.settings import FORMAT, Experiment
from orchestrator.foundation.file_listing import FileListing, lines_about
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile, list_files
from orchestrator.jobs.stage_jobs import SOURCE
from orchestrator.pipeline.remaining_work import remaining
from orchestrator.pipeline.stages.all_stages import stages_of
from orchestrator.runtime.this_machine import local_resources
from orchestrator.search.starts import searched_domains
from trainables.errors import ImageSetError, UsageError
from trainables.version import __version__


@dataclass(frozen=True, slots=True)
class Inputs:
    """Findings of a preflight.

    Attributes:
        files: The image files of every set.
        resources: Resources of this machine; None if the experiment runs on a cluster.
        not_used: Lines about other files in the folders of the sets, and about oddities of their scenes.
        images_per_file: How many images a file gives, by set of which a sample was decoded.
    """

    files: dict[str, list[SourceFile]]
    resources: Resources | None
    not_used: tuple[str, ...] = ()
    images_per_file: dict[str, float] = field(default_factory=dict)


def preflight(experiment: Experiment) -> Inputs:
    """Checks all that can be checked before any computation.

    Raises:
        UsageError: If storage, images, an earlier experiment or the cluster's size do not allow the run.
    """
    experiment.home.check_writable()
    _check_version(experiment)
    if SOURCE in experiment.targets:
        raise UsageError(f"A target cannot be called '{SOURCE}'; that is the source domain's folder.")
    for folder in experiment.search.starts_from:
        searched_domains(Storage.at(folder))
    files, not_used = _list_all(experiment)
    samples = _check_samples(experiment, files)
    not_used += dict.fromkeys(line for sample in samples.values() for line in sample.lines)
    resources = local_resources(experiment.cluster) if experiment.cluster.address is None else None
    if resources is not None:
        check_resources(experiment, resources)
    return Inputs(files, resources, tuple(not_used), {name: found.images_per_file for name, found in samples.items()})


def needs_ray(experiment: Experiment, inputs: Inputs) -> bool:
    """True if work remains that runs on Ray."""
    try:
        return remaining(experiment, inputs.files).needs_ray
    except Exception:  # the stage whose files cannot be read reports it
        return True


def _list_all(experiment: Experiment) -> tuple[dict[str, list[SourceFile]], list[str]]:
    """Lists every image set and reads the source model, so that one error names all that is missing."""
    root = Storage.at(experiment.root)
    root.check_readable()
    files, problems, not_used = {}, [], []

    def report(folder: str, listing: FileListing) -> None:
        not_used.extend(lines_about(folder, listing))

    def scale() -> int:
        return experiment.architecture.scale  # which may read a source model

    try:
        check_source(experiment)
    except UsageError as problem:
        problems.append(str(problem))
    own = {SOURCE: experiment.source} if isinstance(experiment.source, ImageSet) else {}
    for name, images in {**own, **experiment.targets}.items():
        try:
            test_images = images.test_images if isinstance(images, Target) else None
            files[name] = list_files(images, root, test_images, report, not_used.append, scale=scale)
        except UsageError as problem:
            problems.append(str(problem))
    _raise_all(problems)
    return files, list(dict.fromkeys(not_used))


def _check_samples(experiment: Experiment, files: dict[str, list[SourceFile]]) -> dict[str, SetSample]:
    """Decodes a sample of each set whose shards are still to be built."""
    shards = stages_of(experiment, files).shards
    jobs, problems = shards.jobs, []
    samples: dict[str, SetSample] = {}
    for name, listed in files.items():
        if shards.check(name, most_bytes=0).finished is None:
            try:
                reading = jobs.deep(name), jobs.pairs(name)
                samples[name] = check_sample(listed, jobs.least_side(name), jobs.shares(name), *reading)
            except ImageSetError as problem:
                problems.append(str(problem))
    _raise_all(problems)
    return samples


def _raise_all(problems: list[str]) -> None:
    """Raises one error for all problems, if there are any."""
    if problems:
        distinct = list(dict.fromkeys(problems))
        numbered = (f"({number}) {problem}" for number, problem in enumerate(distinct, 1))
        raise ImageSetError(distinct[0] if len(distinct) == 1 else f"{len(distinct)} problems: {' '.join(numbered)}")


def _check_version(experiment: Experiment) -> None:
    place = experiment.home.child("experiment.json")
    if not place.exists():
        return
    written = place.read_json()
    if not isinstance(written, dict):
        raise UsageError(f"'{place.uri}' is damaged or cut short: restore it, or set another `name`.")
    if written.get("format") != FORMAT:
        raise UsageError(
            f"'{experiment.home.uri}' holds an experiment of another version (rayscale {written.get('rayscale')}, "
            f"format {written.get('format')}; this is {__version__}, format {FORMAT}): finish it with that version, or "
            "set another `name`."
        )
