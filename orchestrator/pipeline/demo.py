"""The demo: generated samples and the experiment that runs on them."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml

from orchestrator.experiment.load import make_experiment
from orchestrator.experiment.settings import Experiment
from trainables import samples
from trainables.errors import UsageError, suggestion

SIDE = 256
"""Height and width of a generated image in pixels."""


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a demo: scenes of the source and of each target, images per scene, and settings that differ."""

    source_scenes: int
    target_scenes: int
    per_scene: int
    settings: dict[str, object]


SIZES = {
    "standard": Size(24, 20, 1, {}),
    "smallest": Size(
        8,
        6,
        1,
        {
            "pretraining": {"steps": 60, "report_every": 10, "checkpoint_every": 20},
            "finetuning": {"steps": 12, "evaluations": 2},
            "search": {"trials": 3, "startup_trials": 2, "validation_images": 2},
            "confirmation": {"top": 1, "seeds": 2},
        },
    ),
}


def prepare_demo(storage: str, size: str, log: Callable[[str], None]) -> Experiment:
    """Generates missing samples and returns the experiment on them.

    Args:
        storage: Folder for samples and artefacts.
        size: A key of :data:`SIZES`.
        log: Logs one line.

    Raises:
        UsageError: If the size is unknown or the storage is no folder.
    """
    if size not in SIZES:
        raise UsageError(f"--size must be one of {', '.join(SIZES)}, found '{size}'.{suggestion(size, SIZES)}")
    if "://" in storage:
        raise UsageError(f"The demo's samples are written to a folder, found '{storage}'.")
    wanted, root = SIZES[size], Path(storage).expanduser().absolute() / f"samples-{size}"
    log(f"samples: {wanted.source_scenes + 4 * wanted.target_scenes} generated scenes in {root}")
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_write, [(root, domain, wanted) for domain in samples.DOMAINS]))
    text = resources.files("orchestrator.pipeline").joinpath("demo.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    for section, settings in wanted.settings.items():
        content[section] |= settings
    name = "demo" if size == "standard" else f"demo-{size}"
    return make_experiment(content | {"name": name, "storage": storage, "root": str(root)}, "demo")


def _write(work: tuple[Path, str, Size]) -> None:
    root, domain, size = work
    scenes = size.source_scenes if domain == "natural" else size.target_scenes
    samples.write_samples(root / domain, domain, scenes, size.per_scene, seed=7, size=(SIDE, SIDE))
