"""Role of each band of a scene: seen by the network together with others, seen alone, or repeated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from orchestrator.archive.scene.band_map import Group, band_groups, named_bands
from orchestrator.archive.scene.class_bands import Values, check_refused, generic_name, known_name, stated_by_companions
from orchestrator.archive.scene.reader import Scene
from orchestrator.archive.scene.samples import Sample, known_values
from orchestrator.archive.scene.types import ModelFacts, SceneError, SceneSettings
from orchestrator.archive.scene.value_range import Normalisation, check_range, limits_of, normalisation
from orchestrator.archive.scene.values.hints import advice

_QUICK, _MOST_QUICK = 7, 40
"""Step between samples: enough to see that a band has more different values than classes have."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """Roles of a scene's image bands.

    Attributes:
        groups: Positions of the bands that the network sees together.
        norm: The values that mean 0 and 1, for every band.
        named: Positions of the bands red, green and nir, where the file or the model's card names them.
    """

    groups: tuple[Group, ...]
    norm: Normalisation
    named: Mapping[str, int] = field(default_factory=dict)


def settle(scene: Scene, model: ModelFacts, settings: SceneSettings) -> Meaning:
    """Decides the roles, and sets which bands the scene has repeated.

    Raises:
        SceneError: ``unsupported``, ``normalisation`` or ``model_mismatch``.
    """
    sampled = SampledScene(scene)
    reasons = _repeated(scene, sampled, settings)
    check_refused(reasons, settings.labels)
    scene.repeat(reasons)
    if scene.palette and not reasons and not settings.expand_palette:
        raise SceneError(
            "unsupported",
            "Its values are indices of a palette, which must not be filtered; expand the palette to treat them as "
            "colours (--expand-palette), or repeat them (--labels repeat).",
        )
    if scene.expanded and scene.facts.dtype != "uint8":
        raise SceneError("unsupported", f"Its palette has {scene.facts.dtype} indices; only uint8 can be expanded.")
    groups = _groups(scene, model, settings)
    if not groups:
        count = len(scene.colours)
        return Meaning((), Normalisation(np.zeros(count), np.ones(count), "none: all bands are repeated"))
    scales, offsets = scene.of_image(scene.dataset.scales), scene.of_image(scene.dataset.offsets)
    seen = sorted(band for group in groups for band in group)
    try:
        path = settings.source_name or str(scene.path)
        norm = normalisation(scene.facts.dtype, scales, offsets, model, settings, path)
    except SceneError as error:
        raise _advised(error, scene, sampled, seen) from None
    if norm.stated and not scene.expanded:
        try:
            check_range(norm, sampled.windows, seen)
        except SceneError as error:
            if scene.facts.dtype != "uint8" or isinstance(settings.normalisation, Mapping):
                raise _advised(error, scene, sampled, seen) from None
            # In an archive of several types, a range is meant for the deeper ones.
            norm = limits_of("uint8", len(norm.low))
    return Meaning(groups, norm, named_bands(scene.colours, scene.of_image(scene.dataset.descriptions), groups, model))


def _advised(error: SceneError, scene: Scene, sampled: "SampledScene", bands: list[int]) -> SceneError:
    """The refusal with what the scene's values are and which option fits them."""
    if scene.expanded:
        return error
    values = known_values(sampled.windows, bands)
    return SceneError(error.kind, f"{error.reason} {advice(scene.facts.dtype, values)}".rstrip())


def class_bands(scene: Scene, sampled: "SampledScene | None" = None) -> dict[int, str]:
    """Positions of image bands that hold classes or flags, with the reason for each, as :func:`settle` finds them.

    Args:
        scene: The scene.
        sampled: A sample of its values, if there is one already.
    """
    return _repeated(scene, sampled or SampledScene(scene), SceneSettings())


@dataclass
class SampledScene:
    """A sample of a scene's values, read when it is first needed.

    Attributes:
        scene: The open scene.
    """

    scene: Scene

    @cached_property
    def windows(self) -> list[Sample]:
        """Windows of all image bands."""
        return self.scene.samples()

    def values(self, band: int) -> Values:
        """Distribution of one image band's values."""
        return Values.of([(w[band], None if v is None else v[band]) for w, v in self.windows])

    def many(self, band: int, most: int) -> bool:
        """Returns True if a small sample shows more than ``most`` different values."""
        seen = [np.unique(window[band].ravel()[::_QUICK]) for window, _ in self.windows]
        return bool(seen) and len(np.unique(np.concatenate(seen))) > most


def _repeated(scene: Scene, sampled: SampledScene, settings: SceneSettings) -> dict[int, str]:
    """Positions of image bands that hold classes or flags, with the reason for each."""
    bands = range(len(scene.image))
    if settings.labels == "filter":
        return {}
    if settings.labels == "repeat":
        return dict.fromkeys(bands, "--labels repeat")
    if scene.facts.dtype == "float32" or (scene.palette and settings.expand_palette):
        return {}
    stated = _stated(scene)
    if stated is not None:
        return dict.fromkeys(bands, stated)
    reasons, names, colours = {}, scene.dataset.descriptions, scene.colours
    for band in bands:
        described = names[scene.image[band] - 1] or ""
        reason = _reason(scene, sampled, band, described, colours[band] in ("red", "green", "blue"))
        if reason is not None:
            reasons[band] = reason
    return reasons


def _stated(scene: Scene) -> str | None:
    """Meaning of the whole scene as stated by the file and its companions."""
    if scene.bits == 1 and scene.placed:
        return "its values have one bit"
    tags = scene.dataset.tags()
    if any(name.lower().endswith(("class_names", "class_values")) for name in tags):
        return "tags with names of classes"
    if tags.get("LAYER_TYPE", "").lower() == "thematic":
        return "a thematic layer"
    path = str(scene.path)
    return None if path.startswith("/vsimem/") else stated_by_companions(Path(path))


def _reason(scene: Scene, sampled: SampledScene, band: int, described: str, colour: bool) -> str | None:
    """Reason to treat an image band as classes or flags."""
    number = scene.image[band]
    if scene.dataset.tags(number).get("LAYER_TYPE", "").lower() == "thematic":
        return "a thematic layer"
    stem = Path(str(scene.path)).stem
    known = known_name(described) or known_name(stem)
    if known is not None and sampled.values(band).may_be_flags:
        return f"'{known}' in its name"
    if scene.palette or scene.bits is not None or colour:
        return None
    generic = generic_name(described) or generic_name(stem)
    if generic is not None and sampled.values(band).may_be_flags and len(sampled.values(band).distinct) > 1:
        return f"'{generic}' in its name, and its values"
    if sampled.many(band, _MOST_QUICK):
        return None
    values = sampled.values(band)
    return f"it has {len(values.distinct)} values in patches" if values.are_classes(scene.placed) else None


def _groups(scene: Scene, model: ModelFacts, settings: SceneSettings) -> tuple[Group, ...]:
    """Groups of the bands that are not repeated; a stated band map names all bands."""
    colours, descriptions = scene.colours, scene.of_image(scene.dataset.descriptions)
    left = [band for band in range(len(colours)) if band not in scene.repeated]
    if not left:
        return ()
    if len(left) == len(colours):
        return band_groups(colours, model, settings, descriptions)
    if isinstance(settings.band_map, tuple) or (settings.band_map == "auto" and len(colours) in model.band_map):
        groups = band_groups(colours, model, settings, descriptions)
        mixed = [group for group in groups if len(group) > 1 and not set(group) <= set(left)]
        if mixed:
            bands = ", ".join(str(band + 1) for band in sorted(scene.repeated))
            raise SceneError(
                "model_mismatch",
                f"The band map puts bands of classes or flags ({bands}) together with others; name them singly, or "
                "take --labels filter.",
            )
        return tuple(group for group in groups if set(group) <= set(left))
    own = band_groups([colours[band] for band in left], model, settings, [descriptions[band] for band in left])
    return tuple(tuple(left[band] for band in group) for group in own)
