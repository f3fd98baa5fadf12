"""The arms, and the settings that validation may pick among for each."""

from dataclasses import dataclass

from trainables.loops.settings import RegularizerName, TransferConfiguration, TransferMethod

ZERO_SHOT, FEATURE, MODEL = "zero-shot", "feature transfer", "model transfer"
INTERPOLATED, LR_ALONE = "interpolated", "LR images alone"
REGULARIZERS: dict[str, RegularizerName] = {
    "joint, L2-SP": "l2-sp",
    "joint, L2": "l2",
    "joint, features": "features",
    "joint, replay": "replay",
}
FROM_INPUT, FROM_OUTPUT = "frozen from input", "frozen from output"
TRAINED = (FEATURE, MODEL, *REGULARIZERS, FROM_INPUT, FROM_OUTPUT, LR_ALONE)
"""Arms with runs of their own; :data:`INTERPOLATED` takes model transfer's weights."""

COST = {"joint, features": 1.25, "joint, replay": 1.6, LR_ALONE: 1.4}
"""Of a run, in runs of model transfer, measured on one thread at the default size."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Values that are tried; λ = 0 with nothing frozen is model transfer."""

    rates: tuple[float, ...]
    lambdas: tuple[float, ...]
    from_input: tuple[int, ...]
    from_output: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One setting of an arm."""

    arm: str
    method: TransferMethod
    configuration: TransferConfiguration


def first(grid: Grid) -> list[Candidate]:
    """Arms whose learning rate is chosen for themselves."""
    methods = {
        MODEL: TransferMethod(),
        FEATURE: TransferMethod(generator="fresh"),
        LR_ALONE: TransferMethod(),
    }
    return [_candidate(arm, method, rate) for arm, method in methods.items() for rate in grid.rates]


def second(grid: Grid, rate: float) -> list[Candidate]:
    """Arms that take the learning rate chosen for model transfer, so that they differ from it in one thing."""
    joint = [
        _candidate(arm, TransferMethod(regularizer=name), rate, lambda_=lambda_)
        for arm, name in REGULARIZERS.items()
        for lambda_ in grid.lambdas
    ]
    back = TransferMethod(frozen_from="output")
    return [
        *joint,
        *(_candidate(FROM_INPUT, TransferMethod(), rate, depth=depth) for depth in grid.from_input),
        *(_candidate(FROM_OUTPUT, back, rate, depth=depth) for depth in grid.from_output),
    ]


def steps_of_model_transfer(grid: Grid, seeds: int) -> float:
    """What one domain and data budget costs, in runs of model transfer: all settings once, the chosen ones again."""
    candidates = [*first(grid), *second(grid, grid.rates[0])]
    again = (seeds - 1) * sum(COST.get(arm, 1.0) for arm in TRAINED)
    return sum(COST.get(candidate.arm, 1.0) for candidate in candidates) + again


def _candidate(arm: str, method: TransferMethod, rate: float, lambda_: float = 0.0, depth: int = 0) -> Candidate:
    return Candidate(arm, method, TransferConfiguration(learning_rate=rate, lambda_=lambda_, frozen_depth=depth))
