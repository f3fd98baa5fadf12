"""Satellite images: fields with crop rows, hedges, woods, towns, roads and a river, seen straight from above.

``u`` and ``v`` are the coordinates along and across the fields, which lie at an angle to the picture. The
scene fixes that angle, the colours and whether there is a river; each frame is another place of the region.
"""

import numpy as np
from numpy.typing import NDArray

from trainables.samples.drawing import Array, Labels, Rng, Shot, grid, look_up, mix, noise, stack

_CROPS, _WOOD, _TOWN = 0, 1, 2
_SOIL_TONES = np.array([[0.55, 0.45, 0.3], [0.42, 0.31, 0.2], [0.68, 0.6, 0.38], [0.36, 0.42, 0.18]])
_CROP_TONES = np.array([[0.2, 0.34, 0.12], [0.3, 0.45, 0.16], [0.13, 0.25, 0.1], [0.45, 0.5, 0.22]])
_ROOF_TONES = np.array([[0.6, 0.33, 0.25], [0.5, 0.48, 0.47], [0.75, 0.72, 0.68], [0.4, 0.25, 0.2]])
_NO_WATER = 99.0


class _Region:
    """The map of one picture: which field each pixel belongs to and what each field is used for."""

    def __init__(self, shot: Shot) -> None:
        scene, frame, size = shot.scene, shot.frame, (shot.height, shot.width)
        tones = np.concatenate([_SOIL_TONES, _CROP_TONES, _CROP_TONES])
        self.tones = tones * scene.uniform(0.8, 1.15, (12, 1)) + scene.normal(0, 0.02, (12, 3))
        turn, towns = scene.uniform(0, np.pi / 2), scene.uniform(0.05, 0.35)
        self.turn, self.cos, self.sin = turn, np.cos(turn), np.sin(turn)
        self.row, self.column = grid(*size)
        self.smooth, self.rough = noise(frame, *size, 2.2), noise(frame, *size, 0.8, 12)
        self.side = int(1.6 * max(size))
        y = self.row - size[0] / 2 + 5 * self.smooth
        x = self.column - size[1] / 2 + 4 * look_up(self.smooth, self.row + 99, self.column)
        self.u = x * self.cos + y * self.sin + self.side / 2
        self.v = y * self.cos - x * self.sin + self.side / 2
        owner, border, self.boxes = _parcels(frame, self.side, 60)
        self.field, self.edge = look_up(owner, self.v, self.u), look_up(border, self.v, self.u)
        count = len(self.boxes)
        is_town, is_wood = frame.random(count) < towns, frame.random(count) < 0.12
        self.use = np.where(is_town, _TOWN, np.where(is_wood, _WOOD, _CROPS))

    def on_picture(self, u: Array, v: Array) -> tuple[Array, Array]:
        """The x and y of places on the map."""
        (height, width), du, dv = self.row.shape, u - self.side / 2, v - self.side / 2
        return du * self.cos - dv * self.sin + width / 2, du * self.sin + dv * self.cos + height / 2


def paint(shot: Shot) -> Array:
    """Paints one picture, from the ground up."""
    region = _Region(shot)
    ground = _fields(region, shot.frame)
    _add_roads(region, shot.frame, ground)
    water = _add_river(region, shot, ground)
    houses, trees = _houses(region, shot.frame), _trees(region, shot.frame)
    return _raise_objects(region, ground, water <= 0, houses, trees)


def _parcels(rng: Rng, side: int, least: float) -> tuple[Labels, Array, Array]:
    """Splits a square into fields: numbers and distance to the nearest border (side, side), boxes (n, 4)."""
    owner, border = np.zeros((side, side), np.int32), np.zeros((side, side), np.float32)
    boxes, done = [(0, 0, side, side)], list[tuple[int, int, int, int]]()
    while boxes:
        x0, y0, x1, y1 = box = boxes.pop()
        length = max(x1 - x0, y1 - y0)
        if length < least * rng.uniform(1, 2.2):
            y, x = grid(y1 - y0, x1 - x0)
            owner[y0:y1, x0:x1] = len(done)
            border[y0:y1, x0:x1] = np.minimum(np.minimum(y, y1 - y0 - y), np.minimum(x, x1 - x0 - x))
            done.append(box)
            continue
        cut = int(length * rng.uniform(0.35, 0.65))
        if x1 - x0 > y1 - y0:
            boxes += [(x0, y0, x0 + cut, y1), (x0 + cut, y0, x1, y1)]
        else:
            boxes += [(x0, y0, x1, y0 + cut), (x0, y0 + cut, x1, y1)]
    return owner, border, np.array(done, float)


def _fields(region: _Region, frame: Rng) -> Array:
    """The ground (H, W, 3): every field in its colour, with its rows, and hedges between them."""
    use, field, count = region.use, region.field, len(region.boxes)
    colour = region.tones[frame.integers(0, 12, count)] * frame.uniform(0.85, 1.15, (count, 1))
    colour[use == _WOOD], colour[use == _TOWN] = (0.12, 0.2, 0.09), (0.36, 0.38, 0.27)
    along_u, pitch = frame.random(count) < 0.5, frame.uniform(5, 14, count)
    rows = np.sin(np.where(along_u[field], region.u, region.v) * (2 * np.pi / pitch)[field])
    depth = np.where(use == _CROPS, frame.uniform(0.0, 0.14, count), 0.02)[field]
    ground = colour[field] * (1 + depth * rows + 0.07 * region.rough + 0.05 * region.smooth)[..., None]
    mix(ground, 3.0 - region.edge, (0.2, 0.25, 0.12))
    return np.asarray(ground)


def _add_roads(region: _Region, frame: Rng, ground: Array) -> None:
    """Two long roads along the borders of some field, and one around every town."""
    u, v = region.u, region.v
    crossing = frame.choice(region.boxes)
    around_towns = np.where(region.use[region.field] == _TOWN, region.edge + 3, 99)
    asphalt = np.array([0.33, 0.33, 0.34]) * (1 + 0.05 * region.rough[..., None])
    for distance in (np.abs(u - crossing[0]), np.abs(v - crossing[1]), around_towns):
        mix(ground, 9 - distance, (0.5, 0.47, 0.4))
        mix(ground, 7 - distance, asphalt)
        mix(ground, (1 - distance) * (np.sin(0.3 * (u + v)) > 0), (0.8, 0.8, 0.75))


def _add_river(region: _Region, shot: Shot, ground: Array) -> Array:
    """Paints the river, if the scene has one; returns the distance (H, W) to its bank, negative in water."""
    if shot.scene.random() >= 0.5:
        return np.full((shot.height, shot.width), _NO_WATER)
    frame, smooth = shot.frame, region.smooth
    bend = frame.uniform(0.2, 0.8) * shot.width + 30 * np.sin(region.row / frame.uniform(40, 90))
    middle = bend + 60 * smooth[:, :1] - 8 * smooth
    distance = np.abs(region.column - middle) - frame.uniform(14, 26)
    mix(ground, 7 - distance, (0.42, 0.38, 0.27))
    mix(ground, -distance, np.array([0.13, 0.22, 0.25]) * (1 + 0.04 * region.rough[..., None]))
    return np.asarray(distance)


def _houses(region: _Region, frame: Rng) -> Array:
    """(n, 5) as ``stack`` takes them: houses on a lattice in every town."""
    places = [
        (u, v, frame.uniform(8, 14), frame.uniform(6, 10))
        for x0, y0, x1, y1 in region.boxes[region.use == _TOWN]
        for v in np.arange(y0 + 24, y1 - 20, 34)
        for u in np.arange(x0 + 24, x1 - 20, 34)
    ]
    u, v, length, breadth = np.array(places, float).reshape(-1, 4).T
    return np.stack([*region.on_picture(u, v), length, breadth, np.full(len(u), region.turn)], axis=1)


def _trees(region: _Region, frame: Rng) -> Array:
    """(n, 5) as ``stack`` takes them: trees all over the woods, elsewhere a few in the hedges."""
    places = []
    for wood, (x0, y0, x1, y1) in zip(region.use == _WOOD, region.boxes, strict=True):
        for _ in range(int((x1 - x0) * (y1 - y0) / 60) if wood else frame.integers(0, 14)):
            at_u = frame.uniform(x0, x1) if wood else x0 + frame.normal(0, 2)
            size = frame.gamma(9, 0.7) + 1
            places.append((at_u, frame.uniform(y0, y1), size))
    u, v, radius = np.array(places, float).reshape(-1, 3).T
    return np.stack([*region.on_picture(u, v), radius, radius, np.zeros(len(u))], axis=1)


def _raise_objects(region: _Region, ground: Array, wet: NDArray[np.bool_], houses: Array, trees: Array) -> Array:
    """Sets houses and trees on dry ground, with their shadows."""
    shade, top = np.zeros(wet.shape, np.int32), np.zeros(wet.shape, np.int32)
    items = np.concatenate([np.ones((1, 5)), houses, trees])  # number 0 is the ground
    numbers = np.arange(len(items), dtype=np.int32)
    first_tree = 1 + len(houses)
    for labels, shift in ((shade, 5.0), (top, 0.0)):
        moved = items + np.array([shift, shift, 0.0, 0.0, 0.0])
        stack(labels, numbers[1:first_tree], moved[1:first_tree], "box")
        stack(labels, numbers[first_tree:], moved[first_tree:], "ellipse")
    ground = ground * np.where((shade > 0) & ~wet, 0.5, 1.0)[..., None]

    x, y, length, breadth, _ = items.T[:, top]
    near_x, near_y = (region.column - x) / length, (region.row - y) / breadth  # -1 to 1 over an object
    lit = np.where(near_y * region.cos - near_x * region.sin > 0, 0.8, 1.1)  # the two sides of a roof
    roofs = _ROOF_TONES[top * 7 % 4] * lit[..., None]
    leafy = 1 - 0.45 * (near_x + near_y) + 0.15 * region.rough + 0.3 * np.sin(top)
    crowns = np.array([0.17, 0.27, 0.1]) * leafy[..., None]
    objects = np.where((top < first_tree)[..., None], roofs, crowns)
    return np.asarray(np.where(((top > 0) & ~wet)[..., None], objects, ground))
