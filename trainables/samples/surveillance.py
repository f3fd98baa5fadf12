"""Surveillance images: a fixed camera above a street at dusk, with lamps, cars and people.

Places are in metres: x to the right, y up from the ground, z ahead. The scene is the camera and its street,
each frame another moment.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from trainables.samples.drawing import (
    Array,
    Rng,
    Shot,
    draw_capsule,
    draw_polygon,
    grid,
    look_up,
    noise,
    related_colours,
)

_WALL_TONES = np.array([[0.5, 0.27, 0.2], [0.45, 0.4, 0.33], [0.36, 0.36, 0.38]])
_WARM = np.array([1.1, 1.0, 0.82])
_ONCE = 99.0  # period of a ruling that is to have one line only


class _Street:
    """The camera and what it always sees; ``road`` is half the width of the carriageway."""

    def __init__(self, shot: Shot) -> None:
        scene, height, width = shot.scene, shot.height, shot.width
        self.focal, self.eye = scene.uniform(0.75, 1.0) * width, scene.uniform(3.2, 4.6)
        self.vanish_x, self.vanish_y = scene.uniform(0.3, 0.7) * width, scene.uniform(0.22, 0.34) * height
        self.left, self.right = -scene.uniform(3.5, 5), scene.uniform(8, 10)
        self.road = scene.uniform(2.9, 3.4)
        self.middle = self.left + 1.6 + self.road + scene.uniform(0, 0.8)
        self.storey, self.bay, self.brick = (scene.uniform(*r) for r in ((2.8, 3.4), (2.4, 3.6), (0.3, 0.5)))
        self.grain, self.lit = noise(scene, 512, 512, 0.7, 8), scene.random((64, 64))
        self.far = scene.uniform(45, 70)
        self.wall_tones = _WALL_TONES[scene.integers(3, size=2)]
        lamp_z = scene.uniform(7, 9) + np.arange(4) * scene.uniform(8, 11)
        self.lamps = [(self.middle + self.road + 0.5, z) for z in lamp_z]
        self.pixels = np.zeros((height, width, 3), np.float32)

    def light(self, x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Array:
        """Dusk plus the lamps, at one place or at many."""
        x, y, z = np.asarray(x), np.asarray(y), np.asarray(z)
        total = np.full(np.broadcast(x, y, z).shape, 0.3)
        for lamp_x, lamp_z in self.lamps:
            total = total + 4 / (3 + (x - lamp_x + 1) ** 2 + 0.08 * (y - 5) ** 2 + (z - lamp_z) ** 2)
        return total

    def spot(self, *place: ArrayLike) -> Array:
        """Pixel (x, y) of a place (x, y, z), or of several: (n, 2)."""
        x, y, z = np.broadcast_arrays(*place)
        return np.stack([self.vanish_x + self.focal * x / z, self.vanish_y + self.focal * (self.eye - y) / z], axis=-1)

    def rod(self, start: tuple[float, float], end: tuple[float, float], z: float, r: float, tone: ArrayLike) -> None:
        """Draws a round bar of radius ``r`` between two (x, y) at depth ``z``; a ball where they coincide."""
        draw_capsule(self.pixels, self.spot(*start, z), self.spot(*end, z), r * self.focal / z, tone)

    def face(self, x: ArrayLike, y: ArrayLike, z: ArrayLike, tone: ArrayLike) -> None:
        """Draws a flat convex face given by its corners."""
        draw_polygon(self.pixels, self.spot(x, y, z), tone)


def paint(shot: Shot) -> Array:
    """Paints one picture: the empty street, then posts, cars and people from far to near."""
    street = _Street(shot)
    street.pixels[...] = _backdrop(street)
    for z, draw, x in sorted(_movers(street, shot.frame), key=lambda mover: -mover[0]):
        draw(street, shot.frame, x, z)
    return street.pixels


class _Rays:
    """End point of each pixel's ray: on the ground, on one of the two walls, or at the end of the street."""

    def __init__(self, street: _Street) -> None:
        row, column = grid(*street.pixels.shape[:2])
        dx, dy = (column - street.vanish_x) / street.focal, (street.vanish_y - row) / street.focal
        ground = np.where(dy < 0, street.eye / np.maximum(-dy, 1e-6), np.inf)
        wall = np.where(dx < 0, street.left, street.right) / np.where(np.abs(dx) < 1e-6, 1e-6, dx)
        wall = np.where(street.eye + dy * wall < 2.9 * street.storey, wall, np.inf)
        self.z = np.minimum(np.minimum(ground, wall), street.far)
        self.x, self.y = dx * self.z, street.eye + dy * self.z
        self.on_ground, self.on_wall = self.z == ground, self.z == wall
        self.scale = street.focal / self.z  # pixels of a metre
        self.sharp = np.clip(1.6 - 12 / self.scale, 0, 1)  # what is finer than a pixel fades out
        self.tile = look_up(street.grain, (self.x + self.y) * 60, self.z * 40)

    def ruling(self, value: Array, period: float, thick: float) -> Array:
        """1 where ``value`` is near a multiple of ``period``: lines that fade where too thin to see."""
        off = np.abs((value + period / 2) % period - period / 2)
        seen = thick * self.scale
        return np.asarray(np.clip(seen / 4 - off * self.scale / 2 + 0.5, 0, 1) * np.clip(seen, 0, 1))


def _backdrop(street: _Street) -> Array:
    rays = _Rays(street)
    ground = _ground(street, rays)[..., None] * np.array([0.95, 1.0, 1.05])
    near = np.where(rays.on_ground[..., None], ground, _facades(street, rays))
    near = near * street.light(rays.x, rays.y, rays.z)[..., None] * _WARM
    return np.where((rays.on_ground | rays.on_wall)[..., None], near, _skyline(street))


def _ground(street: _Street, rays: _Rays) -> Array:
    """Brightness (H, W) of asphalt with its markings, kerbs and paved sidewalks."""
    x, z, line = rays.x, rays.z, rays.ruling
    off_middle = np.abs(x - street.middle)
    marking = line(x - street.middle, _ONCE, 0.14) * (z % 6 < 3)
    marking = marking + line(off_middle - street.road + 0.2, _ONCE, 0.12)
    asphalt = 0.3 * (1 + 0.1 * rays.tile * rays.sharp) + 0.5 * marking
    joints = np.maximum(line(x, 0.8, 0.05), line(z, 0.8, 0.06)) * rays.sharp
    paving = 0.42 * (1 + 0.07 * rays.tile) * (1 - 0.45 * joints)
    kerb = line(off_middle - street.road - 0.1, _ONCE, 0.2)
    return np.asarray(np.where(off_middle < street.road, asphalt, paving) * (1 - kerb) + 0.55 * kerb)


def _facades(street: _Street, rays: _Rays) -> Array:
    """Brick walls (H, W, 3) with framed windows, some of them lit."""
    y, z, storey, bay, brick = rays.y, rays.z, street.storey, street.bay, street.brick
    is_right = rays.x > 0
    course = np.floor(y / (brick / 2))
    mortar = rays.ruling(z + brick / 2 * (course % 2), brick, 0.03)
    mortar = np.maximum(rays.ruling(y, brick / 2, 0.03), mortar)
    bricks = 0.12 * np.sin(course * 12.9 + 7.1 * np.floor(z / brick)) * rays.sharp
    bricks = (1 + 0.1 * rays.tile + bricks) * (1 + 0.5 * mortar)
    wall = street.wall_tones[is_right.astype(int)] * bricks[..., None]

    up, along = y % storey / storey, z % bay / bay  # 0-1 within the part of the wall that holds one window
    rim = np.maximum(np.abs(up - 0.55), np.abs(along - 0.5)) / 0.28
    windows = np.floor(y / storey).astype(int) % 64, (np.floor(z / bay) + 31 * is_right).astype(int) % 64
    glass = np.where((street.lit[windows] < 0.2)[..., None], (1.5, 1.2, 0.7), (0.1, 0.12, 0.16))
    bars = np.minimum(np.abs(along - 0.5) / 0.03, np.abs(up - 0.62) / 0.025) < 1
    glass = glass * np.where(bars, 0.4, 1.0)[..., None]
    return np.where((rim < 1)[..., None], glass, np.where((rim < 1.15)[..., None], 0.6, wall))


def _skyline(street: _Street) -> Array:
    """End of the street: dusk (H, W, 3) above dark blocks with a few lit panes."""
    height, width, _ = street.pixels.shape
    row, column = grid(height, width)
    roofs = street.vanish_y - (6 + 40 * street.lit[1, (column / width * 14).astype(int)]) * height / 256
    panes = street.lit[(row / 8).astype(int) % 64, (column / 8).astype(int) % 64] < 0.2
    panes &= (row % 8 < 4) & (column % 8 < 4)
    sky = np.array([0.22, 0.26, 0.36]) * (0.6 + 0.8 * row / street.vanish_y)[..., None]
    return np.where((row > roofs)[..., None], np.where(panes[..., None], (0.8, 0.65, 0.4), 0.08), sky)


_Mover = tuple[float, Callable[[_Street, Rng, float, float], None], float]


def _movers(street: _Street, frame: Rng) -> list[_Mover]:
    """Depth, how to draw it and x, of all that stands or moves on the street."""
    movers: list[_Mover] = [(z, _draw_lamp, x) for x, z in street.lamps]
    for lane in (-0.5, 0.5):
        z = frame.uniform(6, 14)
        while z < 40:
            movers.append((z, _draw_car, street.middle + lane * street.road))
            z += frame.uniform(7, 22)
    for _ in range(frame.integers(3, 8)):
        on_left = frame.random() < 0.5
        x = street.left + 0.8 if on_left else frame.uniform(street.middle + street.road + 1, street.right - 0.7)
        movers.append((frame.uniform(6, 22), _draw_person, x))
    return movers


def _draw_lamp(street: _Street, frame: Rng, x: float, z: float) -> None:
    street.rod((x, 0), (x, 5.2), z, 0.07, 0.07)
    street.rod((x, 5.2), (x - 1.1, 5.3), z, 0.05, 0.07)
    street.rod((x - 0.8, 5.2), (x - 1.2, 5.2), z, 0.1, (1.0, 0.95, 0.75))


def _draw_car(street: _Street, frame: Rng, x: float, z: float) -> None:
    length, flank = frame.uniform(3.6, 4.4), np.sign(-x)  # flank: the side that shows
    paint = related_colours(frame, 3, (0.0, 0.6), (0.1, 0.8))[frame.integers(3)] * street.light(x, 1, z)
    wide, up = (
        np.array([-1, 1, 1, -1]),
        np.array([0, 0, 1, 1]),
    )  # corners of a face seen from the front, in turn
    back = np.array([0, 1, 1, 0])  # and of one seen from the side
    street.face(x + 1.1 * wide, 0.02, z - 0.3 + up * (length + 0.3), 0.04)  # shadow
    for wheel in (z + 0.7, z + length - 0.8):
        street.rod((x + 0.75 * flank, 0.3), (x + 0.75 * flank, 0.3), wheel, 0.3, 0.03)

    cabin_z = z + 0.7 + back * (length - 1.1) + up * 0.6 * (1 - 2 * back)
    street.face(x + 0.9 * flank, 0.3 + 0.6 * up, z + length * back, paint * 0.6)  # flank, bonnet
    street.face(x + 0.9 * wide, 0.9, z + up * length, paint * 1.1)
    street.face(x + flank * (0.85 - 0.15 * up), 0.9 + 0.55 * up, cabin_z, (0.07, 0.09, 0.12))  # glass, roof
    street.face(x + (0.85 - 0.15 * up) * wide, 0.9 + 0.55 * up, z + 0.7 + up * 0.6, (0.12, 0.15, 0.19))
    street.face(x + 0.7 * wide, 1.45, z + 1.3 + up * (length - 2.3), paint)
    street.face(x + 0.9 * wide, 0.3 + 0.6 * up, z, paint * 0.85)  # front, grille
    street.face(x + 0.85 * wide, 0.25 + 0.17 * up, z, paint * 0.3)
    street.face(x + 0.27 * wide, 0.45 + 0.13 * up, z, (0.75, 0.75, 0.68))  # plate and its characters
    for k in range(5):
        street.face(x + 0.025 * wide - 0.17 + 0.085 * k, 0.475 + 0.08 * up, z, 0.1)
    for lamp_x in (x - 0.7, x + 0.7):
        tone = (1.0, 0.97, 0.85) if x < street.middle else (0.85, 0.08, 0.06)
        street.rod((lamp_x, 0.68), (lamp_x, 0.68), z, 0.1, tone)


def _draw_person(street: _Street, frame: Rng, x: float, z: float) -> None:
    glow, sway, tall = street.light(x, 1, z), frame.uniform(-0.22, 0.22), frame.uniform(0.92, 1.08)
    coat, skin = frame.uniform(0.05, 0.6, 3) * glow, np.array([0.6, 0.45, 0.36]) * glow
    street.rod((x - 0.3, 0), (x + 0.4, 0), z, 0.06, 0.06)  # shadow
    for sign in (-1, 1):
        foot, hip = (x + sign * (0.06 + sway), 0.05), (x + sign * 0.08, 0.85 * tall)
        shoulder, hand = (x + sign * 0.2, 1.35 * tall), (x + sign * (0.25 - sway), 0.85 * tall)
        street.rod(foot, hip, z, 0.08, 0.1 * glow)
        street.rod(shoulder, hand, z, 0.06, coat * 0.8)
    street.rod((x, 0.9 * tall), (x, 1.3 * tall), z, 0.19, coat)
    street.rod((x, 1.62 * tall), (x, 1.67 * tall), z, 0.11, skin)
    street.rod((x, 1.71 * tall), (x, 1.73 * tall), z, 0.1, 0.06)  # hair
