"""The measured range of an archive: taken once from a sample of its scenes, recorded beside its ledgers, and kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.archive.ledger.ledger import FOLDER
from orchestrator.archive.places.listing import Scene
from orchestrator.archive.products.find import is_packed
from orchestrator.archive.products.read import assemble_product
from orchestrator.archive.products.types import ModelBands
from orchestrator.archive.scene.types import DTYPES, Range, SceneError, SceneSettings
from orchestrator.archive.scene.values.measured import PERCENTILES, MeasuredRange, measure_ranges, sample_values
from orchestrator.foundation.buckets.local_copy import local_copy
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError, reason_of

RECORD = "measured-range.json"
"""Name of the record in the folder of ledgers."""
MOST_SCENES = 16
"""Most scenes of a sample."""
_MEASURED = "measured"


def with_measured_range(
    settings: SceneSettings,
    scenes: Sequence[Scene],
    out: Storage,
    model: ModelBands,
    report_note: Callable[[str], None],
    record: bool = True,
) -> SceneSettings:
    """Settings with the archive's measured range, if they ask for one; others as they are.

    The range of the first run is recorded and taken by all later ones, so that an archive has one range however often
    it is resumed or extended.

    Args:
        settings: Settings of the run.
        scenes: The archive, sorted by name; every n-th of those that can be opened is sampled.
        out: Place of the outputs.
        model: Bands that the model takes, by which bands of products are chosen.
        report_note: Called with the range in words.
        record: False to leave a range that is measured now unrecorded.

    Raises:
        UsageError: If nothing can be measured, or the record is damaged.
    """
    if settings.normalisation != _MEASURED:
        return settings
    place = out.child(FOLDER, RECORD)
    if place.exists():
        ranges, origin = _recorded(place), f"recorded in {place.uri}"
    else:
        ranges, origin = _measured(scenes, settings.bands, model), "not recorded"
        if record:
            place.write_json({"percentiles": list(PERCENTILES), "ranges": ranges})
            origin = f"recorded in {place.uri} now"
    for dtype, found in ranges.items():
        counted = "1 scene" if found["scenes"] == 1 else f"{found['scenes']} scenes"
        report_note(
            f"Range of {dtype}: {found['low']:g} to {found['high']:g}, the {PERCENTILES[0]} and {PERCENTILES[1]} "
            f"percentiles of {found['values']:,} values of {counted}, {origin}"
        )
    by_type: dict[str, Range] = {dtype: (found["low"], found["high"]) for dtype, found in ranges.items()}
    return replace(settings, normalisation=by_type or "auto", range_from=_MEASURED)


def _recorded(place: Storage) -> dict[str, MeasuredRange]:
    try:
        ranges = place.read_json()["ranges"]
        return {dtype: _range(dtype, found) for dtype, found in ranges.items()}
    except (TypeError, KeyError, ValueError, AttributeError):
        raise UsageError(
            f"The measured range '{place.uri}' cannot be read: restore it, state its range by --normalisation, or "
            "delete it to measure again, which upscales all scenes again."
        ) from None


def _range(dtype: str, found: Mapping[str, Any]) -> MeasuredRange:
    low, high = float(found["low"]), float(found["high"])
    if dtype not in DTYPES or not -inf < low < high < inf:
        raise ValueError(dtype)
    return MeasuredRange(low=low, high=high, scenes=int(found["scenes"]), values=int(found["values"]))


def _measured(scenes: Sequence[Scene], bands: tuple[str, ...], model: ModelBands) -> dict[str, MeasuredRange]:
    usable = [scene for scene in scenes if scene.problem is None and scene.normalisation is None]
    step = max(1, -(-len(usable) // MOST_SCENES))
    samples, reasons = [], []
    for scene in usable[::step]:
        try:
            with _as_file(scene, bands, model) as path:
                samples.append(sample_values(path))
        except Exception as error:  # a scene that cannot be read fails when its turn comes
            reasons.append(f"{scene.name}: {reason_of(error)}")
    if not samples:
        reason = f" ({reasons[0]})" if reasons else ""
        raise UsageError(f"No range can be measured, since none of the sampled scenes can be read{reason}.")
    try:
        return measure_ranges(samples)
    except SceneError as error:
        raise UsageError(error.reason) from None


@contextmanager
def _as_file(scene: Scene, bands: tuple[str, ...], model: ModelBands) -> Iterator[Path]:
    """The scene as a local file; what is fetched or assembled for it is removed in the end."""
    if scene.product is None:
        with local_copy(Storage(scene.source)) as path:
            yield path
        return
    with ExitStack() as held:
        folder = Path(held.enter_context(TemporaryDirectory(prefix="rayscale-")))
        local = held.enter_context(local_copy(Storage(scene.source))) if is_packed(scene.product) else None
        yield assemble_product(scene.product, local, bands, model, folder, scene.modified).path
