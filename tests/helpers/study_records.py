"""Records of one study's trials, and the space that they were sampled from."""

import math

from optuna.distributions import FloatDistribution, IntDistribution
from records import trial

from orchestrator.report.range_edges import Axis
from trainables.loops.settings import TransferConfiguration

DISTRIBUTIONS = {
    "learning_rate": FloatDistribution(3e-5, 3e-3, log=True),
    "lambda_": FloatDistribution(1e-6, 1e-1, log=True),
    "frozen_depth": IntDistribution(0, 6),
}
AXES = {
    "learning_rate": Axis("targets.art.learning_rate", 3e-5, 3e-3, True, 0.0, math.inf),
    "lambda_": Axis("targets.art.lambda_", 1e-5, 1e-1, True, 1e-5, math.inf),
    "frozen_depth": Axis("targets.art.frozen_depth", 0, 4, False, 0, 6),
}


def record(number, scores, status="finished", origin="sampler", rate=3e-4, depth=0):
    sampled = {"learning_rate": rate, "lambda_": 1e-6, "frozen_depth": depth}
    last = scores[-1] if status == "finished" else None
    return trial(
        number,
        last,
        status,
        origin=origin,
        configuration=TransferConfiguration(**sampled | {"lambda_": 0.0}),
        sampled=sampled,
        curve=[(10 * i, score) for i, score in enumerate(scores, 1)],
    )
