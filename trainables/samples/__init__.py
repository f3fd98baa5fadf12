"""Procedural HR images of the five domains, for demos and tests that may download nothing.

Each domain has a painter, ``paint(shot)``. It draws at twice the wanted size and the result is area-averaged,
so that edges are sharp but not jagged. Two random streams feed a picture: the *scene* stream fixes what the
images of one scene share (palette, camera, anatomy), the *frame* stream what differs between them (movers,
slice position).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.errors import UsageError, suggestion
from trainables.samples import art, medical, natural, satellite, surveillance
from trainables.samples.drawing import Array, Shot

__all__ = ["DOMAINS", "generate", "write_samples"]

_PAINTERS: dict[str, Callable[[Shot], Array]] = {
    "natural": natural.paint,
    "medical": medical.paint,
    "satellite": satellite.paint,
    "surveillance": surveillance.paint,
    "art": art.paint,
}

DOMAINS: tuple[str, ...] = tuple(_PAINTERS)
"""Names of the domains, in the order of the documentation; a domain's place is part of its random seed."""

_LEAST_SIDE = 16
_OVERSAMPLING = 2


def generate(domain: str, seed: int, size: tuple[int, int] = (256, 256)) -> NDArray[np.uint8]:
    """Draws one clean HR image; it is frame 0 of scene 0 of ``write_samples`` with the same seed.

    Args:
        domain: One of ``DOMAINS``.
        seed: Non-negative; each gives another image, the same one every time. Seeds in a row cycle through
            the kinds of a domain that has several.
        size: Height and width in pixels, each at least 16.

    Returns:
        The image, (H, W, 3) in 0-255; ``medical`` has three equal channels.

    Raises:
        UsageError: ``domain`` is unknown, ``seed`` is negative or ``size`` too small.
    """
    _check(domain, seed, size)
    return _draw(domain, seed, 0, 0, size)


def write_samples(
    folder: Path, domain: str, scenes: int, per_scene: int, seed: int, size: tuple[int, int] = (256, 256)
) -> list[Path]:
    """Writes ``scenes`` × ``per_scene`` images as ``<domain>-<scene>-<index>.png`` and returns their paths.

    A file that is already there is left untouched, and an image does not depend on how many others are
    written, so a set can be completed or enlarged later. Where a domain has several kinds of images, scenes
    cycle through them: any three scenes in a row of ``medical`` show a chest, a head and the back of an eye.

    Args:
        folder: Folder for the files; created if missing.
        domain: One of ``DOMAINS``.
        scenes: Number of scenes; each has a random stream of its own.
        per_scene: Images of each scene.
        seed: Non-negative seed of the whole set.
        size: Height and width in pixels, each at least 16.

    Returns:
        All paths of the set, scene by scene, whether written now or before.

    Raises:
        UsageError: ``domain`` is unknown, ``seed`` is negative or ``size`` too small.
    """
    _check(domain, seed, size)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for scene in range(scenes):
        for index in range(per_scene):
            path = folder / f"{domain}-{scene:03d}-{index}.png"
            if not path.exists():
                partial = path.with_suffix(".partial")  # an interrupted write must not look finished
                Image.fromarray(_draw(domain, seed, scene, index, size)).save(partial, format="PNG")
                partial.replace(path)
            paths.append(path)
    return paths


def _check(domain: str, seed: int, size: tuple[int, int]) -> None:
    if domain not in DOMAINS:
        known = ", ".join(DOMAINS)
        raise UsageError(f"No samples for domain '{domain}'; known are {known}.{suggestion(domain, DOMAINS)}")
    if seed < 0:
        raise UsageError(f"A sample seed must be 0 or more, not {seed}.")
    if min(size) < _LEAST_SIDE:
        least = f"{_LEAST_SIDE}x{_LEAST_SIDE}"
        raise UsageError(f"Sample images must be at least {least}, not {size[0]}x{size[1]}.")


def _draw(domain: str, seed: int, scene: int, index: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    def stream(*key: int) -> np.random.Generator:
        # Spawn keys, because SeedSequence pads entropy with zeros: [a, b] and [a, b, 0] would coincide.
        entropy = [DOMAINS.index(domain), seed]
        return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=key))

    (height, width), n = size, _OVERSAMPLING
    shot = Shot(seed + scene, stream(scene), stream(scene, index), n * height, n * width)
    image = _PAINTERS[domain](shot).reshape(height, n, width, n, 3).mean(axis=(1, 3))
    return np.asarray(np.clip(image, 0, 1) * 255 + 0.5, dtype=np.uint8)
