"""Natural images: planes of a dead leaves process, at several distances from a camera.

Shapes of all sizes hide each other, which gives photographs' statistics (Lee, Mumford & Huang, "Occlusion
models for natural images", 2001). Textures, thin lines and depth of field follow Achddou et al., "VibrantLeaves"
(arXiv 2504.10201), who find that such images train super-resolution nearly as well as photographs do. Bending the
picture makes curves of its straight lines. What varies most is how much a picture holds: photographs show smooth
walls as well as gravel, and a network that has seen only gravel draws it everywhere.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from trainables.samples.drawing import Array, Labels, Rng, Shot, colours, grid, look_up, noise, stack, tint

_SMALLEST = 4.0, 60.0  # radius of a plane's smallest leaves in pixels
_GROUND = 60  # the first leaves of the farthest plane are large and only have to leave no gap


def paint(shot: Shot) -> Array:
    """Paints one picture; those of a scene share a palette and how strong their textures are."""
    scene, frame, size = shot.scene, shot.frame, (shot.height, shot.width)
    palette, strength = _palette(scene), scene.uniform(0.2, 1) ** 2
    smooth, rough = noise(frame, *size, 1.6, 3), noise(frame, *size, frame.uniform(0.9, 1.4), 6)
    planes = int(frame.integers(1, 4))
    focus = int(frame.integers(planes))
    pixels: Array = np.zeros((*size, 3), np.float32)
    for plane in range(planes):
        leaves, shapes, radius = _scatter(shot, ground=plane == 0)
        top = _stacked(size, leaves, shapes)
        cover = ((top >= 0) | (plane == 0)).astype(np.float32)[..., None]
        top = np.maximum(top, 0)
        tone = tint(palette, frame.beta(0.8, 0.8, len(leaves))) * frame.uniform(0.7, 1.15, (len(leaves), 1))
        tone += frame.normal(0, 0.03, (len(leaves), 3))
        colour = tone.astype(np.float32)[top] * _relief(shot, leaves, radius, top, smooth, rough, strength)[..., None]
        if frame.random() < 0.6:
            pixels *= _shadow(frame, cover)
        blur = abs(plane - focus) * frame.uniform(0.3, 4)
        pixels = pixels * (1 - _blurred(cover, blur)) + _blurred(colour * cover, blur)
    if frame.random() < 0.6:
        pixels = _bent(frame, pixels)
    sun = 1 + 0.12 * noise(frame, *size, 2.5)
    return np.asarray(_blurred(pixels, frame.exponential(0.5)) * sun[..., None] + 0.01)


def _palette(rng: Rng) -> Array:
    """Eight colours, dark to light, of hues that are close, apart or anything."""
    hue = rng.random() + rng.normal(0, rng.choice([0.03, 0.1, 0.3]), 8)
    saturation = np.clip(rng.beta(1, 2, 8) * rng.uniform(0.3, 1.2), 0, 1)
    value = np.clip(np.linspace(0.03, 0.98, 8) + rng.normal(0, 0.05, 8), 0, 1)
    return colours(hue, saturation, value)


def _scatter(shot: Shot, *, ground: bool) -> tuple[Array, NDArray[np.str_], Array]:
    """Leaves as ``stack`` takes them, and the shape and the radius of each; the ground is covered several times."""
    frame, height, width = shot.frame, shot.height, shot.width
    largest = 0.5 * max(height, width)
    smallest = np.exp(frame.uniform(np.log(_SMALLEST[0]), np.log(min(_SMALLEST[1], largest / 2))))
    cover = frame.uniform(2, 4) if ground else np.exp(frame.uniform(np.log(0.05), np.log(0.7)))
    count = max(4, int(cover * height * width / (2 * np.pi * smallest**2 * np.log(largest / smallest))))
    # Inverse of the distribution whose density falls as r^-3: natural images look alike at every scale.
    radius = (smallest**-2 - frame.random(count) * (smallest**-2 - largest**-2)) ** -0.5
    if ground:
        radius = np.concatenate([frame.uniform(largest / 5, largest / 2, _GROUND), radius])
        count += _GROUND
    x, y = frame.uniform(-20, width + 20, count), frame.uniform(-20, height + 20, count)
    shapes = np.array(["ellipse", "box", "polygon", "blob", "disk", "line"])[
        frame.choice(6, count, p=frame.dirichlet(np.full(6, 1.5)))
    ]
    spread = frame.choice([0.1, np.pi])
    angle = frame.uniform(0, np.pi) + frame.uniform(-spread, spread, count)
    breadth = radius * np.where(shapes == "disk", 1, frame.uniform(0.3, 1, count))
    lines = shapes == "line"
    length = np.where(lines, np.minimum(radius * frame.uniform(2, 6, count), 1.5 * largest), radius)
    breadth = np.where(lines, np.exp(frame.uniform(0, np.log(8), count)), breadth)
    shapes[shapes == "disk"], shapes[lines] = "ellipse", "box"
    return np.stack([x, y, length, breadth, angle], axis=1), shapes, radius


def _stacked(size: tuple[int, int], leaves: Array, shapes: NDArray[np.str_]) -> Labels:
    """(H, W) number of the leaf on top of each pixel, -1 where there is none."""
    top = np.full(size, -1, np.int32)
    for shape in ("ellipse", "box", "polygon", "blob"):
        which = np.flatnonzero(shapes == shape).astype(np.int32)
        if which.size:
            stack(top, which, leaves[which], shape)
    return top


def _relief(
    shot: Shot, leaves: Array, radius: Array, top: Labels, smooth: Array, rough: Array, strength: float
) -> Array:
    """Brightness (H, W) around 1: each leaf's texture, if it has any, and its roundness."""
    row, column = grid(shot.height, shot.width)
    x, y, _, _, angle = leaves.T
    traits = shot.frame.random((7, len(leaves)))
    depth = np.where(traits[0] < 0.5, 0.01 * traits[1], 0.35 * strength * traits[1] ** 1.5)
    values = np.stack([x, y, np.cos(angle) / radius, np.sin(angle) / radius, radius, depth, *traits[2:]])
    cx, cy, cos, sin, size, depth, style, edge, pitch, shade, offset = values.astype(np.float32)[:, top]
    u, v = (column - cx) * cos + (row - cy) * sin, (row - cy) * cos - (column - cx) * sin

    grain = look_up(rough, row + offset * 977, column + pitch * 977)
    cloud = look_up(smooth, row + offset * 733, column + pitch * 511)
    hard = 1 + 6 * shade
    finer = np.where(edge > 0.8, np.float32(3), np.float32(1))
    vein = 1 - 2 * np.clip(
        3 * hard * (np.abs(look_up(smooth, row * finer + offset * 733, column * finer + pitch * 511)) - 0.12), 0, 1
    )
    wave = 2 * np.pi / (5 + 60 * pitch**2) * size
    stripes = np.sin(wave * u + 1.5 * look_up(smooth, row + 311 * offset, column + 173 * pitch) + 9 * offset)
    checks = np.clip(6 * np.sin(wave * u + 9 * offset) * np.sin(wave * v), -1, 1)
    texture = np.select(
        [style < 0.2, style < 0.4, style < 0.55, style < 0.7, style < 0.88],
        [cloud, grain, np.clip(hard * cloud, -1, 1), vein, np.clip(hard * stripes, -1, 1) + 0.3 * grain],
        checks,
    )
    u, v = np.clip(u, -1.5, 1.5), np.clip(v, -1.5, 1.5)
    light = (
        1 + 0.6 * (shade - 0.5) * u + 0.4 * (offset - 0.5) * v - 0.35 * (u * u + v * v) * np.where(edge > 0.5, edge, 0)
    )
    return np.asarray(light + 2 * texture * depth)


def _shadow(frame: Rng, cover: Array) -> Array:
    """Share of light (H, W, 1) that a plane leaves to those behind it."""
    place = tuple(frame.integers(-12, 13, 2))
    dark, edge = frame.uniform(0.2, 0.7), frame.uniform(2, 20)
    return np.asarray(1 - dark * _blurred(np.roll(cover, place, (0, 1)), edge))


def _blurred(pixels: Array, radius: float) -> Array:
    return np.asarray(gaussian_filter(pixels, (radius, radius, 0)) if radius > 0.3 else pixels)


def _bent(frame: Rng, pixels: Array) -> Array:
    """Moves every pixel by a smooth random field."""
    height, width = pixels.shape[:2]
    exponent, far = frame.uniform(2.2, 3.2), np.exp(frame.uniform(np.log(4), np.log(60)))
    field = [noise(frame, height, width, exponent, 1.5) for _ in range(2)]
    at = np.stack(grid(height, width)) + far * np.stack(field)
    bands = [map_coordinates(pixels[..., band], at, order=1, mode="grid-mirror") for band in range(3)]
    return np.stack(bands, axis=-1)
