"""The best configurations of an experiment, ``best.yaml``, as input of `rayscale finetune`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.experiment.image_settings import MOST_CHIP
from orchestrator.foundation.configuration import Configuration
from orchestrator.foundation.record import DamagedRecordError, Record
from orchestrator.foundation.safe_yaml import UnreadableYamlError, parse_yaml
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError, suggestion
from trainables.loops.settings import RegularizerName, TransferMethod
from trainables.network.architecture import FrozenFrom

_Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]


class Recipe(Record):
    """Source model, training and kind of images that apply a configuration to other images of its domain.

    Attributes:
        source: Place of the source model.
        steps: Optimiser steps: those of the finished model, or of a trial where there is none.
        batch: Patches per step.
        lr_patch: Side of a patch in LR pixels.
        transfer: Weights that are carried over, see ``finetuning.transfer``.
        regularizer: Regularizer R.
        frozen_from: End of the network from which frozen depth counts.
        adapter_rank: Rank of low-rank adapters; None where the weights train themselves.
        share: Share of the tuned weights in the result, whose rest is the source's.
        pairs: Whether the domain's images are pairs of HR and LR images.
        value_range: Values that mean 0 and 1, of images of any depth; None for 8-bit gray and RGB.
        bands: Names of the bands that are used; None for all.
        channels: Number of the bands that are used, of images of any depth.
        chip: Side in pixels of the chips into which larger images of any depth are cut.
        slice_axis: Axis of a volume along which its slices lie.
    """

    source: str
    steps: _Count
    batch: _Count
    lr_patch: Annotated[int, Field(strict=True, ge=8, le=4096)]
    transfer: Literal["joint", "model", "feature"] = "joint"
    regularizer: RegularizerName = "l2-sp"
    frozen_from: FrozenFrom = "input"
    adapter_rank: _Count | None = None
    share: Annotated[float, Field(strict=True, ge=0, le=1)] = 1.0
    pairs: bool = False
    value_range: Literal["window", "percentile"] | dict[str, tuple[float, float]] | None = None
    bands: list[str] | None = None
    channels: _Count | None = None
    chip: Annotated[int, Field(strict=True, ge=32, le=MOST_CHIP)] = 256
    slice_axis: Annotated[int, Field(strict=True, ge=0, le=2)] = 2

    def method(self) -> TransferMethod:
        """Transfer method as the training loop takes it."""
        generator: Literal["fresh", "reused"] = "fresh" if self.transfer == "feature" else "reused"
        return TransferMethod(
            generator=generator,
            regularizer=self.regularizer,
            frozen_from=self.frozen_from,
            adapter_rank=self.adapter_rank,
        )


class _Domain(Record):
    fine_tune: bool
    configuration: Configuration | None = None
    space: str
    finetune: Recipe | None = None


class BestConfiguration(Record):
    """The best configuration of one domain, with all that its training needs.

    Attributes:
        where: The file.
        experiment: Name of its experiment.
        scale: Scale factor r.
        domain: The domain.
        space: Id of its search space.
        configuration: The configuration.
        recipe: Source model, training and kind of images.
    """

    where: str
    experiment: str
    scale: int
    domain: str
    space: str
    configuration: Configuration
    recipe: Recipe


def read_best(named: str, domain: str | None = None) -> BestConfiguration:
    """Reads the best configuration of one domain.

    Args:
        named: Path or URI of ``best.yaml``.
        domain: The domain; needed where the file holds several.

    Raises:
        UsageError: If there is no such file or domain, the file is damaged or of an earlier version, or the source
            model is best as it is.
    """
    content = _content(named)
    domains = content["domains"]
    name = _named(domain, [str(key) for key in domains], named)
    try:
        found = _Domain.parse(domains[name])
        if not found.fine_tune:
            raise UsageError(
                f"'{named}' says that the source model as it is is best for '{name}': there is nothing to fine-tune."
            )
        if found.finetune is None:
            raise UsageError(
                f"'{named}' does not state how '{name}' was trained, since rayscale {content.get('rayscale')} wrote "
                "it: delete the folder of this report, and `rayscale run` writes it again."
            )
        return BestConfiguration.parse(
            {
                "where": named,
                "experiment": content.get("experiment"),
                "scale": content.get("scale"),
                "domain": name,
                "space": found.space,
                "configuration": found.configuration,
                "recipe": found.finetune,
            }
        )
    except DamagedRecordError as error:
        raise UsageError(f"'{named}' is damaged: '{name}' {error}.") from None


def _content(named: str) -> dict[str, Any]:
    place = Storage.at(named)
    try:
        content = parse_yaml(place.read_bytes().decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"There is no file '{named}'; the report of an experiment has a best.yaml.") from None
    except IsADirectoryError:
        raise UsageError(f"'{named}' is a folder; name the best.yaml in the report of an experiment.") from None
    except UnicodeDecodeError:
        raise UsageError(f"'{named}' is no best.yaml: it is no text.") from None
    except UnreadableYamlError as error:
        raise UsageError(f"'{named}' is no best.yaml: {error}.") from None
    if not isinstance(content, dict) or not isinstance(content.get("domains"), dict) or not content["domains"]:
        raise UsageError(f"'{named}' is no best.yaml: it has no `domains`; the report of an experiment has one.")
    return content


def _named(domain: str | None, known: list[str], where: str) -> str:
    if domain is None:
        if len(known) > 1:
            raise UsageError(f"'{where}' holds several domains, {', '.join(known)}: choose one with --domain.")
        return known[0]
    if domain not in known:
        raise UsageError(f"'{where}' holds no domain '{domain}', only {', '.join(known)}.{suggestion(domain, known)}")
    return domain
