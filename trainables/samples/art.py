"""Paintings: a sky, hills and a sun, rendered in strokes that follow a flow field, on woven canvas.

Coarse strokes come first and finer ones over them, as in Hertzmann's painterly rendering (SIGGRAPH 1998). The
scene is the painter, with palette, brush and composition; each frame is another of their pictures.
"""

import numpy as np

from trainables.samples.drawing import (
    Array,
    Labels,
    Rng,
    Shot,
    grid,
    look_up,
    noise,
    related_colours,
    stack,
    tint,
)

_LAYERS = ((200, 60, 13), (420, 34, 7), (1000, 17, 3.6))  # strokes, half length, half breadth


def paint(shot: Shot) -> Array:
    """Paints one picture."""
    scene, frame, size = shot.scene, shot.frame, (shot.height, shot.width)
    palette = related_colours(scene, 6, (0.2, 0.7), (0.12, 0.95))
    bristle, thick, horizon = scene.uniform(0.12, 0.3), scene.uniform(0.8, 1.3), scene.uniform(0.4, 0.7)
    motif, flow = noise(frame, *size, 2.4), noise(frame, *size, 2.6)
    subject = _subject(frame, motif, horizon)
    strokes = _strokes(frame, subject, flow, thick * np.sqrt(shot.height * shot.width) / 512)
    top = np.zeros(size, np.int32)
    stack(top, np.arange(1, len(strokes), dtype=np.int32), strokes[1:], "stroke")
    at = subject[strokes[:, 1].astype(int), strokes[:, 0].astype(int)] + frame.normal(0, 0.07, len(strokes))
    tone = tint(palette, at) + frame.normal(0, 0.03, (len(strokes), 3))
    light = _light(noise(frame, 512, 512, 0.5, 8), strokes, top, bristle)
    return np.asarray(tone[top] * np.where(top == 0, 0.8, light)[..., None])


def _subject(frame: Rng, motif: Array, horizon: float) -> Array:
    """Paints the subject: (H, W) positions along the palette."""
    height, width = motif.shape
    row, column = grid(height, width)
    sun = np.hypot(row - frame.uniform(0.15, 0.3) * height, column - frame.uniform(0.2, 0.8) * width)
    hills = horizon * height + 0.08 * height * motif[:1]
    subject = np.where(row < hills, 0.75 + 0.1 * motif, 0.3 + 0.16 * motif)
    return np.where(sun < 0.11 * height, 1.0, subject)


def _strokes(frame: Rng, subject: Array, flow: Array, unit: float) -> Array:
    """(n, 5) as ``stack`` takes them, after one that stands for the bare canvas."""
    height, width = subject.shape
    slope_y, slope_x = np.gradient(flow)
    heading = np.arctan2(slope_x, -slope_y)
    detail = np.hypot(*np.gradient(subject))
    layers = [np.ones((1, 5))]
    for count, length, breadth in _LAYERS:
        place = frame.uniform([0, 0], [width, height], (count, 2))
        at_x, at_y = place.astype(int).T
        scale = frame.uniform(0.6, 1.3, (count, 2)) * np.array([length, breadth]) * unit
        angle = heading[at_y, at_x] + frame.normal(0, 0.15, count)
        layer = np.column_stack([place, scale, angle])
        if breadth < 5:  # the finest brush goes where there is something to define
            layer = layer[frame.random(count) < 0.35 + 40 * detail[at_y, at_x]]
        layers.append(layer)
    return np.concatenate(layers)


def _light(tile: Array, strokes: Array, top: Labels, bristle: float) -> Array:
    """Brightness (H, W) around 1: paint is thickest in mid-stroke and shows the brush's hairs."""
    row, column = grid(*top.shape)
    x, y, _, breadth, angle = strokes.astype(np.float32).T[:, top]
    u = (column - x) * np.cos(angle) + (row - y) * np.sin(angle)
    v = (row - y) * np.cos(angle) - (column - x) * np.sin(angle)
    hairs = look_up(tile, v * 2 + top * 37, u / 24 + top * 101)
    weave = np.sin(row * np.pi / 4) * np.sin(column * np.pi / 4)
    relief = bristle * hairs + 0.8 * np.sqrt(np.clip(1 - (v / breadth) ** 2, 0, 1)) + 0.12 * weave
    slope = relief - np.roll(relief, (2, 2), axis=(0, 1))  # lit from the upper left
    return np.asarray(1 + 0.35 * np.clip(slope, -0.6, 0.6) + 0.35 * bristle * hairs + 0.05 * weave)
