"""Natural images: a dead leaves process with textured leaves.

Shapes of all sizes hide each other, which gives photographs' statistics (Lee, Mumford & Huang, "Occlusion
models for natural images", 2001). Textures follow Achddou et al., "VibrantLeaves" (arXiv 2504.10201), who
find that such images train super-resolution nearly as well as photographs do.
"""

import numpy as np

from trainables.samples.drawing import (
    Array,
    Labels,
    Shot,
    grid,
    look_up,
    noise,
    related_colours,
    stack,
    tint,
)

_SMALLEST = 4.5  # radius of the smallest leaves in pixels
_GROUND = 60  # the first leaves are large and only have to cover the ground


def paint(shot: Shot) -> Array:
    """Paints one picture; those of a scene share a palette and how many leaves are plain."""
    scene, frame, size = shot.scene, shot.frame, (shot.height, shot.width)
    palette = related_colours(scene, 7, (0.1, 0.65), (0.05, 0.95))
    plain = scene.uniform(0.15, 0.4)
    smooth, rough = noise(frame, *size, 1.6, 3), noise(frame, *size, 0.9, 6)
    leaves, shapes = _scatter(shot)
    top = np.zeros(size, np.int32)
    for shape in ("ellipse", "box", "polygon", "blob"):
        which = np.flatnonzero(shapes == shape).astype(np.int32)
        stack(top, which, leaves[which], shape)
    relief = _relief(shot, leaves, top, smooth, rough, plain)
    tone = tint(palette, frame.random(len(leaves))) * frame.uniform(0.75, 1.15, (len(leaves), 1))
    tone += frame.normal(0, 0.03, (len(leaves), 3))
    sun = 1 + 0.12 * noise(frame, *size, 2.5)
    return np.asarray(tone.astype(np.float32)[top] * (relief * sun)[..., None] + 0.01)


def _scatter(shot: Shot) -> tuple[Array, np.ndarray[tuple[int], np.dtype[np.str_]]]:
    """Leaves as ``stack`` takes them, and the shape of each; enough to cover the ground several times."""
    frame, height, width = shot.frame, shot.height, shot.width
    largest = 0.5 * max(height, width)
    count = int(3.5 * height * width / (2 * np.pi * _SMALLEST**2 * np.log(largest / _SMALLEST)))
    # Inverse of the distribution whose density falls as r^-3: natural images look alike at every scale.
    radius = (_SMALLEST**-2 - frame.random(count) * (_SMALLEST**-2 - largest**-2)) ** -0.5
    radius[:_GROUND] = frame.uniform(largest / 5, largest / 2, len(radius[:_GROUND]))
    x, y = frame.uniform(-20, width + 20, count), frame.uniform(-20, height + 20, count)
    ratio, angle = frame.uniform(0.35, 1, count), frame.uniform(0, np.pi, count)
    shapes = np.array(["ellipse", "box", "polygon", "blob", "disk"])[frame.integers(0, 5, count)]
    ratio[shapes == "disk"] = 1
    shapes[shapes == "disk"] = "ellipse"
    return np.stack([x, y, radius, radius * ratio, angle], axis=1), shapes


def _relief(shot: Shot, leaves: Array, top: Labels, smooth: Array, rough: Array, plain: float) -> Array:
    """Brightness (H, W) around 1: each leaf's texture - grain, stripes or checks - and its roundness."""
    row, column = grid(shot.height, shot.width)
    x, y, radius, _, angle = leaves.T
    traits = shot.frame.random((5, len(leaves)))
    values = np.stack([x, y, np.cos(angle) / radius, np.sin(angle) / radius, radius, *traits])
    cx, cy, cos, sin, size, style, strength, pitch, shade, offset = values.astype(np.float32)[:, top]
    u, v = (column - cx) * cos + (row - cy) * sin, (row - cy) * cos - (column - cx) * sin
    is_grain, is_checks = style < 0.55, style >= 0.85

    grain = look_up(rough, row + offset * 977, column + pitch * 977)
    wave = 2 * np.pi / (5 + 40 * pitch**2) * size
    bent = 0.5 * look_up(smooth, row + 311 * offset, column + 173 * pitch) * (style < 0.8)
    stripes = np.sin(wave * u + 3 * bent + 9 * offset)
    checks = np.clip(6 * stripes * np.sin(wave * v), -1, 1)
    texture = np.where(is_grain, grain, np.where(is_checks, checks, stripes + 0.5 * grain))
    depth = 0.02 + np.where(strength < plain, 0.02, 0.16 * strength**2) * np.where(is_grain, 1.3, 1)
    light = 1 + 0.5 * (shade - 0.5) * u + 0.3 * (offset - 0.5) * v - 0.25 * (u * u + v * v) * (strength > 0.4)
    return np.asarray(light + 2 * texture * depth)
