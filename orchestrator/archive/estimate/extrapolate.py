"""From sampled scenes to the whole archive."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import PurePosixPath

from orchestrator.archive.estimate.sampling_worker import Sample
from orchestrator.archive.places.listing import Scene

_PART = 16 * 2**20
"""LR pixels of a part of a scene that several workers share."""

_JOINED = 2.35 / 1.35
"""Work in progress of a scene of several parts, whose parts are joined, against that of a scene of one."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Work of a whole archive.

    Attributes:
        work_seconds: Seconds of all workers together.
        busy_seconds: Seconds until the last worker has ended, without the start.
        output_bytes: Bytes of all outputs.
        scratch_bytes: Most bytes of work in progress at once.
        area_km2: Area of all scenes; None unless the place of all sampled ones is known.
        lr_megapixels: LR megapixels of a band.
    """

    work_seconds: float
    busy_seconds: float
    output_bytes: float
    scratch_bytes: float
    area_km2: float | None
    lr_megapixels: float


def strata_of(scenes: Iterable[Scene], samples_of: Mapping[str, tuple[int, int, str]]) -> dict[str, list[Scene]]:
    """Scenes by what their work depends on: number of bands and data type, or the ending of the name where unknown."""
    strata: dict[str, list[Scene]] = {}
    for scene in scenes:
        header = samples_of.get(scene.name)
        kind = PurePosixPath(scene.name).suffix.lower() if header is None else f"{header[1]} × {header[2]}"
        strata.setdefault(kind, []).append(scene)
    return strata


def choose(strata: Mapping[str, Sequence[Scene]], weight_of: Callable[[Scene], float], count: int) -> list[Scene]:
    """Chooses scenes to sample: of each stratum by its share of the weight, at least one, evenly spread by weight."""
    weights = {kind: sum(map(weight_of, scenes)) for kind, scenes in strata.items()}
    whole = sum(weights.values()) or 1.0
    chosen: list[Scene] = []
    for kind, scenes in strata.items():
        wanted = min(len(scenes), max(1, round(count * weights[kind] / whole)))
        by_weight = sorted(scenes, key=lambda scene: (weight_of(scene), scene.name))
        chosen += [by_weight[(2 * i + 1) * len(by_weight) // (2 * wanted)] for i in range(wanted)]
    return chosen


def extrapolate(
    strata: Mapping[str, Sequence[Scene]],
    weight_of: Callable[[Scene], float],
    samples: Mapping[str, Sample],
    slots: int,
) -> Totals:
    """Totals of an archive; each stratum by the ratio of its sampled scenes.

    A stratum none of whose sampled scenes could be upscaled takes nothing, as its scenes will fail.

    Args:
        strata: Scenes to upscale, by kind.
        weight_of: Weight of a scene, to which its work is proportional within its stratum.
        samples: Sampled scenes by name.
        slots: Workers at a time.
    """
    pieces: list[float] = []
    scratch: list[float] = []
    work = output = pixels = 0.0
    area: float | None = 0.0
    few = sum(map(len, strata.values())) < slots
    for scenes in strata.values():
        found = [(weight_of(scene), samples[scene.name]) for scene in scenes if scene.name in samples]
        known = sum(weight for weight, _ in found)
        if not known:
            continue
        weights = [weight_of(scene) for scene in scenes]
        seconds, lr = (sum(getattr(s, field) for _, s in found) / known for field in ("seconds", "pixels"))
        room = sum(sample.scratch_bytes for _, sample in found) / known
        total = sum(weights)
        work += seconds * total
        pixels += lr * total
        output += sum(sample.output_bytes for _, sample in found) / known * total
        areas = [sample.area_km2 for _, sample in found]
        placed = [known_area for known_area in areas if known_area is not None]
        area = None if area is None or len(placed) < len(areas) else area + sum(placed) / known * total
        for weight in weights:
            parts = max(ceil(lr * weight / _PART), slots if few and lr * weight > 2**20 else 1)
            pieces += [seconds * weight / parts] * parts
            scratch.append(room * weight * (_JOINED if parts > 1 else 1))
    return Totals(
        work_seconds=work,
        busy_seconds=makespan(pieces, slots),
        output_bytes=output,
        scratch_bytes=sum(heapq.nlargest(slots, scratch)),
        area_km2=area or None,
        lr_megapixels=pixels / 1e6,
    )


def makespan(pieces: Iterable[float], slots: int) -> float:
    """Seconds until all pieces are done, the longest first, each by the worker that is free first (Graham 1969)."""
    free = [0.0] * slots
    for piece in sorted(pieces, reverse=True):
        heapq.heapreplace(free, free[0] + piece)
    return max(free)
