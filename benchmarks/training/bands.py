"""Stem and generator adapted to four bands, against fresh ones.

    python -m benchmarks.training.bands    # 1 hour on one core

A source model for red, green and blue is fine-tuned to scenes of red, green, blue and near infrared in four ways: stem
and generator each adapted by the rule of :mod:`trainables.network.bands`, or fresh. A fresh stem is drawn at random; a
fresh generator is zero, so that the network begins as bicubic interpolation. A network from scratch is trained too.
Nothing is frozen and nothing regularised. Each arm has the learning rate that is best for it on validation scenes, on
average over all seeds, and is judged on test scenes. No scene is in two of the three sets.

Scenes are generated: 16-bit reflectance, 0 to 10,000, of the painter that draws satellite samples. Near infrared
follows the cover of each pixel: leaves reflect it strongly, soil and roofs as red and slightly more, water hardly.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common.arguments import add_out, command, make_parser, one_sentence, positive
from benchmarks.common.environment import environment
from benchmarks.common.results import ONE_THREAD, today, write_results
from orchestrator.foundation.model_store import find_rgb_model
from orchestrator.foundation.statistics import paired_interval
from search_spaces import find_space
from trainables.degradation import Degradation
from trainables.images.patch_pool import PatchPool, TrainingImage
from trainables.images.raster import PixelFormat, Raster
from trainables.loops.finetune import finetune
from trainables.loops.seeding import restart
from trainables.loops.settings import Budget, TransferConfiguration
from trainables.metrics.evaluation import NamedImage, Pair, Score, Upscaler, bicubic, make_pairs, mean_psnr, score
from trainables.network.bands import by_band, with_bands
from trainables.network.network import SuperResolutionNet
from trainables.samples import generate
from trainables.version import __version__

FORMAT = PixelFormat("uint16", ("red", "green", "blue", "nir"), 0, 10_000)
ADAPTED = "adapted stem, adapted generator"
ARMS = (
    ADAPTED,
    "fresh stem, adapted generator",
    "adapted stem, fresh generator",
    "fresh stem, fresh generator",
    "from scratch",
)
VALIDATION, TEST = 10_000, 20_000
"""First seeds of validation and test scenes; training scenes start from 0."""


def main() -> None:
    """Trains every arm and writes the table after each budget."""
    arguments = parse()
    torch.set_num_threads(1)
    with one_sentence():
        source = find_rgb_model(arguments.model).net
    scale, degradation = source.architecture.scale, find_space(arguments.space).degradation.for_format(FORMAT)
    validation, test = (
        make_pairs(scenes(first, count, arguments.size), degradation, scale)
        for first, count in ((VALIDATION, arguments.validation), (TEST, arguments.test))
    )
    untrained: dict[str, Upscaler] = {
        "bicubic": bicubic(scale),
        "source model, band by band": by_band(source),
        f"{ADAPTED}, untrained": with_bands(source, FORMAT.bands),
    }
    rows = [{"arm": arm, "steps": 0, "scores": mean_scores(score(net, test, scale))} for arm, net in untrained.items()]
    train = [FORMAT.prepared(raster(seed, arguments.size)) for seed in range(arguments.scenes)]
    comparison = Comparison(source, train, validation, test, degradation, arguments)
    for steps in arguments.steps:
        for arm in ARMS:
            rows.append(comparison.best_rate(arm, steps))
            print(line(rows[-1], rows), flush=True)
        data = {"command": command("training.bands"), "environment": environment(), "rows": rows}
        write_results(arguments.out, f"bands-x{scale}", ONE_THREAD, data=data, page=page(rows, arguments, degradation))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--model", default="base-x4", help="source model, for red, green and blue")
    parser.add_argument("--space", default="satellite", help="search space whose degradation makes LR")
    parser.add_argument("--steps", type=positive, nargs="+", default=[100, 1000], help="budgets in optimiser steps")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3], help="learning rates")
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--batch", type=positive, default=8)
    parser.add_argument("--lr-patch", type=positive, default=24)
    parser.add_argument("--scenes", type=positive, default=24, help="training scenes")
    parser.add_argument("--validation", type=positive, default=6, help="scenes that choose the learning rate")
    parser.add_argument("--test", type=positive, default=16, help="scenes that judge")
    parser.add_argument("--size", type=positive, default=256, help="side of a scene in HR pixels")
    add_out(parser)
    return parser.parse_args()


def raster(seed: int, size: int) -> Raster:
    """A scene of red, green, blue and near infrared in reflectance times 10,000."""
    rng = np.random.default_rng(seed)
    drawn = generate("satellite", seed, (size, size)) + rng.uniform(-0.5, 0.5, (size, size, 3))  # no steps of 8 bits
    colours = 0.5 * drawn.clip(0, 255) / 255
    bands = np.concatenate([colours, near_infrared(colours)[..., None]], -1)
    return Raster(np.rint(FORMAT.values(bands)).clip(0, 65_535).astype(np.uint16), FORMAT.bands)


def near_infrared(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reflectance (H, W) in near infrared of surfaces of a reflectance (H, W, 3) in red, green and blue.

    Green beyond red and blue is taken for leaves, which reflect two to four times as much as green light; blue beyond
    red for water, which absorbs; the rest for soil, whose reflectance grows slowly with the wavelength.
    """
    red, green, blue = np.moveaxis(colours, -1, 0)
    leaves = (2.2 * (green - np.maximum(red, blue)) / np.maximum(green, 1e-3)).clip(0, 1)
    water = (4 * (blue - red) / np.maximum(blue, 1e-3)).clip(0, 1) * (1 - leaves)
    soil = 1 - leaves - water
    return leaves * (0.2 + 1.5 * green) + water * 0.1 * blue + soil * (1.2 * red + 0.02)


def scenes(first: int, count: int, size: int) -> list[NamedImage]:
    """Held-out scenes."""
    return [
        NamedImage(str(seed), str(seed), FORMAT.prepared(raster(seed, size)).pixels)
        for seed in range(first, first + count)
    ]


def begin(arm: str, source: SuperResolutionNet, seed: int) -> SuperResolutionNet:
    """The network that an arm starts from."""
    torch.manual_seed(seed)
    fresh = SuperResolutionNet(replace(source.architecture, channels=FORMAT.channels))
    if arm == "from scratch":
        return fresh
    net = with_bands(source, FORMAT.bands)
    if "fresh stem" in arm:
        net.features.stem = fresh.features.stem
    if "fresh generator" in arm:
        net.renew_generator()
    return net


@dataclass(frozen=True, slots=True)
class Comparison:
    """What all arms have in common.

    Attributes:
        source: Source model.
        train: Training scenes.
        validation: Pairs that choose the learning rate.
        test: Pairs that judge.
        degradation: Degradation that makes LR.
        options: The command line.
    """

    source: SuperResolutionNet
    train: Sequence[TrainingImage]
    validation: Sequence[Pair]
    test: Sequence[Pair]
    degradation: Degradation
    options: argparse.Namespace

    @property
    def scale(self) -> int:
        """Scale factor r."""
        return self.source.architecture.scale

    def best_rate(self, arm: str, steps: int) -> dict[str, Any]:
        """Trains an arm at every rate and seed; the row of the rate that is best on validation."""
        tried: list[tuple[float, float, list[SuperResolutionNet]]] = []
        start = time.process_time()
        for rate in self.options.rates:
            nets = [self.trained(arm, rate, seed, steps) for seed in range(self.options.seeds)]
            psnr = float(np.mean([mean_psnr(net, self.validation, self.scale) for net in nets]))
            tried.append((psnr, rate, nets))
        _, rate, nets = max(tried, key=lambda one: one[0])
        return {
            "arm": arm,
            "steps": steps,
            "rate": rate,
            "validation": {f"{each:g}": round(psnr, 4) for psnr, each, _ in tried},
            "scores": mean_scores(*(score(net, self.test, self.scale) for net in nets)),
            "seconds": round(time.process_time() - start, 1),
        }

    def trained(self, arm: str, rate: float, seed: int, steps: int) -> SuperResolutionNet:
        """One arm after its budget."""
        restart(seed, threads=1)
        net = begin(arm, self.source, seed)
        pool = PatchPool(
            lambda: iter(self.train),
            scale=self.scale,
            lr_patch=self.options.lr_patch,
            degradation=self.degradation,
            seed=seed,
            capacity=len(self.train),
            channels=FORMAT.channels,
        )
        with pool:
            finetune(
                net,
                TransferConfiguration(learning_rate=rate, lambda_=0.0, frozen_depth=0),
                Budget(steps=steps, batch=self.options.batch, evaluations=1),
                pool,
                anchor={},
                validate=lambda _: 0.0,  # held-out scenes are scored once, at the end
                report=lambda *_: None,
            )
        return net


def mean_scores(*by_seed: Sequence[Score]) -> dict[str, Any]:
    """Means over scenes and seeds, PSNR of each scene, and the standard deviation of PSNR over seeds."""
    every = [one for scores in by_seed for one in scores]
    psnrs = np.array([[one.psnr for one in scores] for scores in by_seed])
    return {
        "psnr": float(psnrs.mean()),
        "bands": np.mean([one.bands for one in every], 0).tolist(),
        "sam": float(np.mean([one.sam for one in every if one.sam is not None])),
        "ergas": float(np.mean([one.ergas for one in every if one.ergas is not None])),
        "by_scene": psnrs.mean(0).tolist(),
        "over_seeds": float(psnrs.mean(1).std(ddof=1)) if len(psnrs) > 1 else None,
    }


def line(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """One arm's line of the table."""
    scores = row["scores"]
    first = next((one for one in rows if (one["arm"], one["steps"]) == (ADAPTED, row["steps"])), None)
    gain = ""
    if first is not None and first is not row:
        differences = np.subtract(first["scores"]["by_scene"], scores["by_scene"]).tolist()
        interval = paired_interval(differences, [str(scene) for scene in range(len(differences))])
        gain = f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
    spread = "" if scores.get("over_seeds") is None else f" ± {scores['over_seeds']:.2f}"
    bands = " | ".join(f"{band:.2f}" for band in scores["bands"])
    rate = f"{row['rate']:g}" if "rate" in row else ""
    return (
        f"| {row['steps']} | {row['arm']} | {rate} | {scores['psnr']:.2f}{spread} | {gain} | {bands} | "
        f"{scores['sam']:.2f} | {scores['ergas']:.2f} |"
    )


def page(rows: Sequence[dict[str, Any]], arguments: argparse.Namespace, degradation: Degradation) -> str:
    """The table, with what is needed to repeat it."""
    found = environment()
    table = "\n".join(line(row, rows) for row in rows)
    return f"""# Networks for four bands, {today()}

Command: `{command("training.bands")}`

- source model: {arguments.model}; degradation: {degradation.describe()}
- {arguments.scenes} training, {arguments.validation} validation and {arguments.test} test scenes, generated, of
  {arguments.size}×{arguments.size} pixels of {", ".join(FORMAT.bands)}, 16 bits, 0 to {FORMAT.high:g}
- {arguments.batch} patches of LR {arguments.lr_patch}² a step; seeds 0 to {arguments.seeds - 1}; each arm's rate was
  chosen from {", ".join(f"{rate:g}" for rate in arguments.rates)} on the validation scenes
- hardware: one thread of {found["hardware"]}
- versions: rayscale {__version__}, {found["versions"]}
- commit: {found["commit"]}

PSNR in dB over the value range, mean of the bands, over test scenes and seeds (± standard deviation over seeds). The
difference is that of the adapted network to the arm in its row, with a 95 % interval over scenes. SAM in degrees, ERGAS
in per cent.

| steps | arm | rate | PSNR | adapted − arm | {" | ".join(FORMAT.bands)} | SAM | ERGAS |
|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
{table}
"""


if __name__ == "__main__":
    main()
