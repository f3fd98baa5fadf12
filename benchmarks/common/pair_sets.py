"""Sets of LR-HR pairs for a benchmark: the hidden camera's, and ones that are wrong in a known way."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common.hidden_camera import photograph
from orchestrator.data.sample_check import check_sample
from orchestrator.experiment.image_settings import PairReading, Target
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile, list_files
from trainables.errors import ImageSetError
from trainables.images.codec import decode, encode_png
from trainables.images.patch_pool import Pixels

PAIRS = {"hr": "hr", "lr": "lr"}
MOST_SIDE = 768
"""Longer sides are cut, to their middle."""

Camera = Callable[[Pixels, int], Pixels]


def _displaced(hr: Pixels, scale: int) -> Pixels:
    """Two LR pixels down."""
    return np.roll(photograph(hr, scale), 2, 0)


def _of_double_scale(hr: Pixels, scale: int) -> Pixels:
    """An image of twice the scale factor, enlarged to the size that is expected."""
    small = photograph(hr, 2 * scale)
    size = (hr.shape[1] // scale, hr.shape[0] // scale)
    enlarged = Image.fromarray(small.squeeze()).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(enlarged).reshape(*size[::-1], -1)


def _brighter(hr: Pixels, scale: int) -> Pixels:
    """A tenth of the range brighter."""
    return np.minimum(photograph(hr, scale).astype(int) + 26, 255).astype(np.uint8)


WRONG: Mapping[str, Camera] = {
    "misregistered by 2 LR pixels": _displaced,
    "of twice the scale factor, enlarged": _of_double_scale,
    "brighter by a tenth of the range": _brighter,
}
"""Cameras whose pairs must be refused."""


def write_set(files: Sequence[SourceFile], folder: Path, scale: int, camera: Camera = photograph) -> None:
    """Writes ``hr/SCENE/NAME.png`` and ``lr/SCENE/NAME.png`` for each image, unless they exist.

    Args:
        files: HR images.
        folder: Folder of the set.
        scale: Scale factor r; images are cut to a multiple of 2r.
        camera: Makes an LR image.
    """
    scenes = {scene: f"{number:03d}" for number, scene in enumerate(sorted({file.scene for file in files}))}
    for file in files:
        name = f"{scenes[file.scene]}/{Path(file.facts.path).stem}.png"
        hr_path, lr_path = folder / "hr" / name, folder / "lr" / name
        if lr_path.exists():
            continue
        pixels = _middle(decode(file.place.child(file.facts.path).read_bytes()).pixels, 2 * scale)
        for path, image in ((hr_path, pixels), (lr_path, camera(pixels, scale))):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(image))


def _middle(pixels: Pixels, unit: int) -> Pixels:
    height, width = (min(side, MOST_SIDE) // unit * unit for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def list_set(folder: Path, scale: int) -> list[SourceFile]:
    """Files of a set that was written."""
    target = Target.model_validate({"images": PAIRS, "scenes": "folder"})
    return list_files(target, Storage.at(str(folder)), scale=lambda: scale)


def checked(folder: Path, scale: int, least_side: int) -> tuple[list[str], str | None]:
    """Lines that ``plan`` prints of a set, and the sentence with which it refuses it; None if it does not."""
    try:
        found = check_sample(list_set(folder, scale), least_side, {"validation": 0.2}, None, PairReading(scale))
    except ImageSetError as error:
        return [], str(error)
    return found.lines, None
