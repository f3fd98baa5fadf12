"""Settings of a fine-tuning: the configuration that a study searches, the transfer method, the budget.

Nothing here imports torch: an experiment is read, planned and reported without it.
"""

import math
from dataclasses import asdict, dataclass
from typing import Literal

from trainables.errors import UsageError
from trainables.network.architecture import FrozenFrom

OptimizerName = Literal["muon", "adam"]
RegularizerName = Literal["l2-sp", "l2", "features", "replay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferConfiguration:
    """Settings that a study searches.

    Attributes:
        learning_rate: Peak learning rate of Adam, above 0.
        lambda_: Weight of the regularizer, 0 or more; 0 is no regularizer at all.
        frozen_depth: Leading blocks that stay as pretrained; 0 trains everything.
        kept_blocks: Number of leading residual blocks of the source model's F_θ to keep; None for all.
    """

    learning_rate: float
    lambda_: float
    frozen_depth: int
    kept_blocks: int | None = None

    def __post_init__(self) -> None:
        if not self.learning_rate > 0 or not math.isfinite(self.learning_rate):
            raise UsageError(f"learning_rate must be above 0, found {self.learning_rate}.")
        if not self.lambda_ >= 0 or not math.isfinite(self.lambda_):
            raise UsageError(f"lambda_ must be 0 or more, found {self.lambda_}.")
        if self.kept_blocks is not None and self.kept_blocks < 1:
            raise UsageError(f"kept_blocks must be at least 1, found {self.kept_blocks}.")

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.to_dict().items())
        return f"TransferConfiguration({settings})"

    def to_dict(self) -> dict[str, float]:
        """The settings as records keep them: a network that keeps all blocks is one that was never shortened."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferMethod:
    """Transfer method: the parts of the source model that are reused, before settings are searched.

    *Feature transfer* reuses F_θ alone, *model transfer* all of the network with λ = 0, and *joint optimisation* all of
    it under L + λR.

    Attributes:
        generator: ``reused``, or ``fresh``: G_φ begins anew, with the network as bicubic interpolation.
        regularizer: R, see :mod:`trainables.loops.regularizers`; it matters only where λ > 0.
        frozen_from: The end of the network that ``frozen_depth`` counts from.
        adapter_rank: Rank of the adapters that train in place of the weights, see :mod:`trainables.network.adapters`;
            None trains the weights. Frozen blocks have no adapters, and R sees the corrected weights.
    """

    generator: Literal["reused", "fresh"] = "reused"
    regularizer: RegularizerName = "l2-sp"
    frozen_from: FrozenFrom = "input"
    adapter_rank: int | None = None

    def __post_init__(self) -> None:
        if self.generator == "fresh" and self.frozen_from == "output":
            raise UsageError(
                "A fresh generator must train, but blocks are frozen from the output, where it is the first: "
                "reuse it, or freeze from the input."
            )
        if self.generator == "fresh" and self.adapter_rank is not None:
            raise UsageError(
                "Adapters correct the source model's weights, and a fresh generator has none: reuse it, or train "
                "without adapters."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Budget of every fine-tuning of an experiment, baselines included.

    Attributes:
        steps: Optimiser steps.
        batch: Patches per step.
        evaluations: Number of scorings on validation images; the last one is at the end.
    """

    steps: int
    batch: int
    evaluations: int

    def evaluation_steps(self) -> list[int]:
        """The steps after which the network is scored, evenly spread, ending with the last."""
        return sorted({round(self.steps * i / self.evaluations) for i in range(1, self.evaluations + 1)} - {0})
