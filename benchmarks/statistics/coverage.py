"""How often 95 % intervals of a mean difference hold it, and how often they claim too much, by simulation.

    python -m benchmarks.statistics.coverage

Differences are normal, exponential, lognormal (σ = 1), or normal with one scene in ten an outlier of 50 standard
deviations. They are skewed towards harm: a few scenes lose much, and the mean is exactly 0. A miss on the side of harm
is an interval above 0. Some methods are then given three seeds: each shifts all scenes by N(0, 0.3²) and every scene by
N(0, 0.3²), beside a standard deviation of 1 over scenes.
"""

import sys
from collections.abc import Iterator
from math import exp

import numpy as np

from benchmarks.common.arguments import add_out, command, make_parser, positive
from benchmarks.common.environment import Json, environment
from benchmarks.common.results import write_results
from benchmarks.statistics.methods import METHODS, OURS, RESAMPLES, WITH_SEEDS, Ends, Samples, in_parts
from orchestrator.foundation.statistics import Interval

KINDS = ("normal", "exponential", "lognormal", "rare outlier")
SCENES = (6, 8, 12, 20, 40)
SEEDS = 3
_SPREAD = 0.3
_OUTLIER = 50.0


def main() -> None:
    """Runs the simulation and writes its tables."""
    parser = make_parser(__doc__)
    parser.add_argument("--sets", type=positive, default=3000, help="simulated test splits of each kind and size")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation")
    add_out(parser)
    options = parser.parse_args()
    rows = []
    for row in simulate(options.sets, np.random.default_rng(options.seed)):
        rows.append(row)
        print(row, file=sys.stderr)
    facts = {"command": command("statistics.coverage"), "environment": environment("numpy", "scipy")}
    facts |= {"sets": options.sets, "seed": options.seed, "resamples": RESAMPLES}
    print(write_results(options.out, "coverage", None, data={**facts, "rows": rows}, page=page(facts, rows)))


def simulate(sets: int, rng: np.random.Generator) -> Iterator[Json]:
    """A row for each kind of difference, number of scenes and method, without seeds and with them."""
    for kind in KINDS:
        for scenes in SCENES:
            samples = draw(kind, (sets, scenes), rng)
            claims = None
            for name, method in METHODS.items():
                low, high = in_parts(method, samples, rng)
                if name == OURS:
                    claims = float(
                        np.mean([better(*ends, scenes) for ends in zip(low, high, samples.mean(1), strict=True)])
                    )
                yield _row(kind, scenes, 1, name, (low, high), samples) | {"better": claims}
            runs = samples / samples.std() if kind == "rare outlier" else samples
            shared, own = rng.normal(size=(sets, SEEDS, 1)), rng.normal(size=(sets, SEEDS, scenes))
            runs = runs[:, None, :] + _SPREAD * (shared + own)
            for name, method in WITH_SEEDS.items():
                yield _row(kind, scenes, SEEDS, name, in_parts(method, runs, rng), samples) | {"better": None}


def draw(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> Samples:
    """Differences of mean 0 whose long tail is harm."""
    if kind == "exponential":
        return 1 - rng.exponential(size=shape)
    if kind == "lognormal":
        return exp(0.5) - rng.lognormal(size=shape)
    normal = rng.normal(size=shape)
    if kind == "normal":
        return normal
    return normal + _OUTLIER * (0.1 - (rng.random(shape) < 0.1))


def better(low: float, high: float, mean: float, scenes: int) -> bool:
    """True if the verdict on differences in units of 0.1 dB is ``better``."""
    return Interval(mean / 10, low / 10, high / 10, scenes).verdict == "better"


def _row(kind: str, scenes: int, seeds: int, name: str, ends: Ends, samples: Samples) -> Json:
    low, high = ends
    return {
        "differences": kind,
        "scenes": scenes,
        "seeds": seeds,
        "method": name,
        "covered": float(np.mean((low <= 0) & (high >= 0))),
        "harm_missed": float(np.mean(low > 0)),
        "width": float(np.median(high - low) / np.median(samples.std(1, ddof=1))),
    }


def page(facts: Json, rows: list[Json]) -> str:
    """The tables as Markdown."""
    lines = ["# Coverage of intervals by simulation", "", f"`{facts['command']}`", ""]
    lines += [f"{name}: {value}." for name, value in facts["environment"].items()]
    lines += [
        "",
        f"{facts['sets']} simulated test splits a row, {facts['resamples']} resamples for bootstraps. A cell:",
    ]
    lines += ["coverage in %, misses on the side of harm in %, median width in standard deviations over scenes.", ""]
    lines += ["## Scenes alone", "", *_table([row for row in rows if row["seeds"] == 1])]
    lines += ["", f"## {SEEDS} seeds", "", *_table([row for row in rows if row["seeds"] == SEEDS])]
    claims = [row for row in rows if row["better"] is not None]
    lines += ["", "## Verdict 'better' though the mean is 0", ""]
    lines += [
        "Share in %; differences in units of 0.1 dB.",
        "",
        "| differences | " + " | ".join(map(str, SCENES)) + " |",
    ]
    lines += ["|:--|" + "--:|" * len(SCENES)]
    for kind in KINDS:
        shares = [f"{100 * row['better']:.1f}" for row in claims if row["differences"] == kind]
        lines.append(f"| {kind} | " + " | ".join(shares) + " |")
    return "\n".join(lines) + "\n"


def _table(rows: list[Json]) -> Iterator[str]:
    methods = list(dict.fromkeys(row["method"] for row in rows))
    yield "| differences | scenes | " + " | ".join(methods) + " |"
    yield "|:--|--:|" + "--:|" * len(methods)
    for kind in KINDS:
        for scenes in SCENES:
            found = [row for row in rows if (row["differences"], row["scenes"]) == (kind, scenes)]
            yield f"| {kind} | {scenes} | " + " | ".join(_cell(row) for row in found) + " |"


def _cell(row: Json) -> str:
    return f"{100 * row['covered']:.1f} / {100 * row['harm_missed']:.1f} / {row['width']:.2f}"


if __name__ == "__main__":
    main()
