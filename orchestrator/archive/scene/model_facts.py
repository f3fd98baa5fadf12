"""Facts about a model that scenes need, from its card alone."""

from pathlib import Path

from orchestrator.archive.scene.types import ModelFacts
from orchestrator.foundation.model_store import FoundModel, ModelFiles
from trainables.network.model_card import decimation_of


def facts_of(model: ModelFiles | FoundModel, precision: str) -> ModelFacts:
    """Facts about a model that scenes need.

    Args:
        model: The model; its network is not used.
        precision: Number format of its convolutions, resolved.
    """
    card, architecture = model.card, model.architecture
    ranges, maps = card.get("value_range") or {}, card.get("band_map") or {}
    return ModelFacts(
        name=str(card.get("name") or Path(model.where).name),
        digest=str(card["sha256"]),
        scale=architecture.scale,
        channels=architecture.channels,
        radius=architecture.receptive_radius,
        precision=precision,
        value_range={dtype: (float(low), float(high)) for dtype, (low, high) in ranges.items()},
        band_map={int(count): tuple(tuple(group) for group in groups) for count, groups in maps.items()},
        band_names=tuple(card.get("band_names") or ()),
        decimation=decimation_of(card),
    )
