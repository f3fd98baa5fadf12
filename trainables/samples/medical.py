"""Medical images: a slice through a chest, a slice through a head, the back of an eye; all gray.

Anatomy is warped ellipses laid over each other. The patient is the scene; the slice, or where the eye looks,
is the frame.
"""

from collections.abc import Callable, Iterable

import numpy as np

from trainables.samples.drawing import Array, Rng, Shot, draw_capsule, grid, mix, noise


class _Scan:
    """A gray picture in the making; ``x`` and ``y`` run from -1 to 1 over its shorter side."""

    def __init__(self, shot: Shot, wobble: float) -> None:
        size = shot.height, shot.width
        self.half = min(size) / 2
        self.centre = shot.width / 2, shot.height / 2
        row, column = grid(*size)
        self.y, self.x = (row - self.centre[1]) / self.half, (column - self.centre[0]) / self.half
        self.body = shot.scene.uniform(0.9, 1.0)
        warp, shift = noise(shot.scene, *size, 2.2), noise(shot.frame, *size, 2.2)
        self.warp = wobble * warp + 0.008 * shift
        self.folds, self.grain = noise(shot.scene, *size, 2.6, 11), noise(shot.frame, *size, 0.6, 20)
        self.slice_at = shot.frame.uniform(-1, 1)
        self.gray = np.zeros((*size, 1), np.float32)

    def inside(self, cx: float, cy: float, a: float, b: float, angle: float = 0.0, soft: float = 2.0) -> Array:
        """Coverage (H, W) of an ellipse whose outline the warp bends; its edge is ``soft`` pixels wide."""
        cos, sin = np.cos(angle), np.sin(angle)
        u, v = (self.x - cx) * cos + (self.y - cy) * sin, (self.y - cy) * cos - (self.x - cx) * sin
        reach = np.hypot(u / a, v / b) + self.warp / min(a, b, 0.5)
        return np.asarray(np.clip((1 - reach) * min(a, b) * self.half / soft + 0.5, 0, 1))

    def put(self, cover: Array, value: float | Array) -> None:
        """Sets the gray ``value`` where ``cover`` says so."""
        mix(self.gray, cover, np.asarray(value)[..., None])

    def vessels(self, rng: Rng, start: tuple[float, float], headings: Iterable[float], thick: float) -> Array:
        """Coverage (H, W) of one tree of vessels per heading, all from one place."""
        cover = np.zeros_like(self.gray)
        x, y = start[0] * self.half + self.centre[0], start[1] * self.half + self.centre[1]
        for heading in headings:
            for x0, y0, x1, y1, radius in _tree(rng, (x, y), heading, thick * self.half / 128, self.half / 28):
                draw_capsule(cover, (x0, y0), (x1, y1), radius, 1.0)
        return cover[..., 0]

    def finish(self) -> Array:
        """The picture (H, W, 3): tissue gets grain, air and bone little."""
        depth = np.interp(self.gray[..., 0], [0.0, 0.1, 0.5, 0.75, 0.9], [0.0, 0.008, 0.03, 0.03, 0.1])
        return np.repeat(self.gray + (depth * (self.grain + 0.4 * self.folds))[..., None], 3, axis=2)


def _tree(rng: Rng, start: tuple[float, float], heading: float, width: float, step: float) -> list[Array]:
    """Segments (x0, y0, x1, y1, half width) of a vessel that curves, thins and forks."""
    segments: list[Array] = []
    tips = [(*start, heading, width)]
    while tips and len(segments) < 150:
        x, y, heading, width = tips.pop(0)
        curl = rng.normal(0, 0.08)
        for _ in range(rng.integers(4, 9)):
            heading += curl + rng.normal(0, 0.12)
            ahead = x + step * np.cos(heading), y + step * np.sin(heading)
            segments.append(np.array([x, y, *ahead, width]))
            x, y, width = *ahead, width * 0.97
        if width > 0.7:
            tips += [(x, y, heading + rng.uniform(0.2, 0.8), width * 0.75)]
            tips += [(x, y, heading - rng.uniform(0.2, 0.8), width * 0.7)]
    return segments


def _chest(scan: _Scan, shot: Shot) -> None:
    size, slice_at = scan.body, scan.slice_at
    for scale, value in ((0.97, 0.3), (0.9, 0.22), (0.84, 0.5)):  # skin, fat, muscle
        scan.put(scan.inside(0, 0, scale * size, scale * size * 0.74), value)
    lungs, vessels = np.zeros_like(scan.x), np.zeros_like(scan.x)
    for sign in (-1, 1):
        lungs += scan.inside(sign * 0.4 * size, -0.06, (0.29 + 0.03 * slice_at) * size, 0.45 * size, -0.15 * sign)
        headings = (0.0, 1.2, -1.2) if sign > 0 else (3.1, 2.0, 4.3)
        vessels = np.maximum(vessels, scan.vessels(shot.frame, (sign * 0.2, 0.0), headings, 2.6))
        for angle in np.linspace(-1.1, 1.1, 6) + 0.1 * slice_at:  # ribs around the lungs
            along = np.array([angle - 0.07, angle + 0.07])
            rib = np.stack([sign * 0.78 * np.cos(along), 0.575 * np.sin(along)], axis=1)
            start, end = rib * size * scan.half + scan.centre
            draw_capsule(scan.gray, start, end, 0.028 * scan.half, 0.85)
    scan.put(lungs, 0.07)
    scan.put(lungs * vessels, 0.5)
    scan.put(scan.inside(0.08, -0.1, 0.27 + 0.04 * slice_at, 0.22, 0.5), 0.58)  # heart
    scan.put(scan.inside(0.14, -0.08, 0.11, 0.09, 0.6), 0.72)  # the blood in it
    scan.put(scan.inside(0.1, 0.27, 0.075, 0.07), 0.74)  # aorta
    scan.put(scan.inside(0, 0.44, 0.16, 0.12), 0.85)  # vertebra
    scan.put(scan.inside(0, 0.56, 0.05, 0.1), 0.85)
    scan.put(scan.inside(0, 0.52, 0.055, 0.045), 0.42)  # its canal


def _head(scan: _Scan, shot: Shot) -> None:
    size = scan.body
    for scale, value in ((0.96, 0.72), (0.9, 0.1), (0.82, 0.22), (0.8, 0.5)):  # scalp, skull, fluid, cortex
        scan.put(scan.inside(0, 0, scale * size * 0.8, scale * size), value)
    white_matter = scan.inside(0, 0, 0.6 * size, 0.76 * size, soft=22)
    scan.put(white_matter * np.clip(3 * scan.folds + 1.2, 0, 1), 0.74)
    rim = scan.inside(0, 0, 0.62 * size, 0.78 * size) * (1 - scan.inside(0, 0, 0.44, 0.58, soft=20))
    scan.put(rim * np.clip(1.6 - 8 * np.abs(scan.folds), 0, 1), 0.17)  # furrows
    scan.put(rim * np.clip(2 - np.abs(scan.x + scan.warp) * scan.half, 0, 1), 0.15)  # between the hemispheres
    for sign in (-1, 1):
        scan.put(scan.inside(sign * 0.2, 0.02, 0.12, 0.2, 0.2 * sign), 0.55)
        scan.put(scan.inside(sign * 0.09, -0.17, 0.05 + 0.02 * scan.slice_at, 0.19, -0.25 * sign), 0.12)
        scan.put(scan.inside(sign * 0.12, 0.3, 0.04, 0.17, 0.35 * sign), 0.12)  # ventricles


def _eye(scan: _Scan, shot: Shot) -> None:
    gaze = 0.05 * scan.slice_at
    scan.x = scan.x + gaze
    scan.put(scan.inside(gaze, 0, 0.94, 0.94) * (0.75 - 0.35 * np.hypot(scan.x, scan.y)), 0.9)
    disc = shot.scene.choice([-1, 1]) * shot.scene.uniform(0.3, 0.5)
    scan.put(scan.inside(-0.4 * disc, 0.02, 0.2, 0.2, soft=30), 0.25)  # yellow spot
    scan.put(scan.inside(disc, 0, 0.14, 0.16, soft=6), 0.8)  # optic disc and its cup
    scan.put(scan.inside(disc, 0, 0.06, 0.07, soft=6), 0.92)
    vessels = scan.vessels(shot.scene, (disc - gaze, 0.0), (-2.2, -0.9, 0.9, 2.2), 3.6)
    scan.put(vessels * scan.inside(gaze, 0, 0.92, 0.92), 0.2)


_KINDS: tuple[tuple[Callable[[_Scan, Shot], None], float], ...] = (
    (_chest, 0.025),
    (_head, 0.025),
    (_eye, 0.006),
)


def paint(shot: Shot) -> Array:
    """Paints one picture, of a chest, a head or an eye as the shot's number says."""
    draw, wobble = _KINDS[shot.number % len(_KINDS)]
    scan = _Scan(shot, wobble)
    draw(scan, shot)
    return scan.finish()
