"""From an operator's own four-band scenes to an upscaled archive, judged against known HR.

    python -m benchmarks.archive.own_archive --work FOLDER [--storage s3://BUCKET]

Draws uint16 reflectance scenes (blue, green, red, near infrared) of several sites and seasons, some ending at a swath:
HR scenes to learn from, and an archive of other sites, whose LR scenes come from a sensor model of its own, written in
this script: a Gaussian point spread, the detectors' aperture, photon and read-out noise in stored values, rounding.
`rayscale run` searches and confirms on the first, `rayscale upscale` upscales the second with the winner, with two
default fine-tunes and with the source model band by band. Pixels under cloud and without a value are not scored. The
default fine-tunes have the learning rate that `finetuning.default_learning_rate` has by default, and ten times that.
Differences are paired by scene, with 95 % bootstrap intervals over sites.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
import yaml
from numpy.typing import NDArray
from rasterio.transform import from_origin
from scipy import ndimage

from benchmarks.common.arguments import add_out, command, make_parser, one_sentence, positive
from benchmarks.common.environment import environment
from benchmarks.common.results import CPUS, write_results
from orchestrator.foundation.statistics import paired_interval
from orchestrator.foundation.storage import Storage
from trainables.metrics.psnr_ssim import psnr
from trainables.network.network import interpolate
from trainables.samples.multispectral import BANDS, QUANTIFICATION, SEASONS, Season, scene

SCALE = 4
BORDER = 2 * SCALE
_ARCHIVE_SEED = 1000
"""Sites of the archive; the scenes to learn from are drawn from seed 0."""

WEAK_RATE, STRONG_RATE = 1e-4, 1e-3
"""Learning rates of the default fine-tunes."""

_MTF = 0.25
"""Of the point spread alone, at the LR grid's Nyquist frequency."""

_READ_NOISE, _PHOTONS = 12.0, 0.5
"""Standard deviation in stored values, and electrons for each of them."""

Values = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Truth:
    """An archive scene: its name, its site, its HR values and the HR pixels that are scored."""

    name: str
    site: str
    hr: Values
    scored: NDArray[np.bool_]


def main() -> None:
    """Runs the benchmark and writes its result."""
    parser = make_parser(__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes and outputs")
    parser.add_argument("--storage", help="folder or s3:// prefix of scenes, runs and archive; by default in --work")
    parser.add_argument("--sites", type=positive, default=12)
    parser.add_argument("--archive-sites", type=positive, default=8)
    parser.add_argument("--side", type=positive, default=384, help="side of an HR scene in pixels")
    parser.add_argument("--steps", type=positive, default=600)
    parser.add_argument("--trials", type=positive, default=8)
    parser.add_argument("--seeds", type=positive, default=3)
    add_out(parser)
    options = parser.parse_args()
    with one_sentence():
        started = time.monotonic()
        place = Storage.at(options.storage or str(options.work / "storage"))
        draw_hr(options, place.child("scenes"))
        truths = draw_archive(options, place.child("archive"))
        content = settings(options, place)
        weak = content | {"name": "weak-default", "search": {"trials": 1}}
        weak["finetuning"] = content["finetuning"] | {"default_learning_rate": WEAK_RATE}
        for experiment in (content, weak):
            file = options.work / f"{experiment['name']}.yaml"
            file.write_text(yaml.safe_dump(experiment))
            rayscale("run", str(file))
        results = place.child("runs", content["name"])
        report = json.loads(results.child("report", "report.json").read_bytes())
        models = dict(arms(results, place.child("runs", weak["name"])))
        scores = {"bicubic": score_bicubic(truths, place.child("archive"))}
        for arm, (model, further) in models.items():
            out = place.child("upscaled", arm.replace(" ", "-").replace(",", ""))
            rayscale("upscale", place.child("archive").uri, out.uri, "--model", model, *further)
            scores[arm] = score_outputs(truths, out)
        page = table(report, truths, scores, time.monotonic() - started)
        data = {"scores": {arm: [list(map(float, row)) for row in rows] for arm, rows in scores.items()}}
        print(write_results(options.out, "own-archive", CPUS, data=data, page=page))
        print(page)


def settings(options: argparse.Namespace, place: Storage) -> dict[str, Any]:
    """The experiment, as docs/own-scenes.md has it."""
    return {
        "name": "own-archive",
        "storage": place.child("runs").uri,
        "source": {"model": "base-x4"},
        "targets": {
            "satellite": {
                "images": place.child("scenes").uri,
                "scenes": "folder",
                "value_range": {"uint16": [0, QUANTIFICATION]},
                "bands": list(BANDS),
                "chip": 192,
                "learning_rate": [1e-4, 1e-2],
            }
        },
        "finetuning": {"steps": options.steps, "evaluations": 3, "default_learning_rate": STRONG_RATE},
        "search": {"trials": options.trials, "startup_trials": 4},
        "confirmation": {"seeds": options.seeds, "top": 2, "ablation": False, "classical": False},
    }


def draw_hr(options: argparse.Namespace, place: Storage) -> None:
    """Writes the scenes to learn from: two seasons of each site, every third site with the end of a swath."""
    for site in range(options.sites):
        for season in _seasons(site):
            drawn = scene(site, season, (options.side, options.side), edge=site % 3 == 2)
            store(place.child(f"site{site:02d}", f"{season}.tif"), drawn.raster.values, pixel=2.5)


def draw_archive(options: argparse.Namespace, place: Storage) -> list[Truth]:
    """Writes the LR scenes of other sites; returns what they truly show."""
    truths = []
    for site in range(options.archive_sites):
        for season in _seasons(site):
            number = _ARCHIVE_SEED + site
            drawn = scene(number, season, (options.side, options.side), clouds=0.15 * (site % 2), edge=site % 3 == 2)
            hr, name = drawn.raster.values, f"site{site:02d}-{season}.tif"
            store(place.child(name), sensed(hr, np.random.default_rng([number, SEASONS.index(season)])), pixel=10)
            lost = ndimage.binary_dilation(drawn.clouds | (hr == 0).any(axis=2), iterations=2 * SCALE)
            scored = ~lost
            scored[:BORDER], scored[-BORDER:], scored[:, :BORDER], scored[:, -BORDER:] = False, False, False, False
            truths.append(Truth(name, f"site{site:02d}", hr, scored))
    return truths


def sensed(hr: Values, rng: np.random.Generator) -> Values:
    """The LR scene that a sensor makes of an HR scene; a pixel without a value in its footprint has none."""
    sigma = SCALE / np.pi * np.sqrt(-2 * np.log(_MTF))
    lost = (hr == 0).any(axis=2)
    spread = ndimage.gaussian_filter(hr.astype(np.float64), (sigma, sigma, 0), mode="nearest")
    height, width = (side // SCALE for side in hr.shape[:2])
    mean = spread.reshape(height, SCALE, width, SCALE, -1).mean(axis=(1, 3))
    noise = rng.normal(0, 1, mean.shape) * np.sqrt(_READ_NOISE**2 + mean / _PHOTONS)
    lr = np.clip(np.rint(mean + noise), 1, 65535).astype(np.uint16)
    lr[lost.reshape(height, SCALE, width, SCALE).any(axis=(1, 3))] = 0
    return lr


def store(place: Storage, values: Values, pixel: float) -> None:
    """Writes a GeoTIFF with band names and 0 as nodata."""
    height, width, bands = values.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": bands, "dtype": "uint16", "nodata": 0}
    profile |= {"crs": "EPSG:32631", "transform": from_origin(500_000, 4_600_000, pixel, pixel), "compress": "deflate"}
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as out:
            out.write(values.transpose(2, 0, 1))
            for number, name in enumerate(BANDS, 1):
                out.set_band_description(number, name)
        place.write_bytes(memory.read())


def arms(results: Storage, weak: Storage) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    """Model and further options of each way to upscale the archive."""
    given = ["--normalisation", f"0,{QUANTIFICATION}", "--band-map"]
    yield "zero-shot, band by band", ("base-x4", [*given, "singly"])
    for rate, run in ((WEAK_RATE, weak), (STRONG_RATE, results)):
        # The first seed, as of the winner; its weights lie in a folder for each version of the confirmation's inputs.
        confirmed = run.child("confirm", "satellite")
        path = next(facts.path for facts in confirmed.files() if "/default-seed1/" in facts.path)
        yield f"default fine-tune at {rate:g}", (confirmed.child(path.rpartition("/")[0]).uri, [*given, "1,2,3,4"])
    yield "winner", (results.child("models", "satellite").uri, [])


def rayscale(*words: str) -> None:
    """Runs the command; its output goes to the terminal."""
    subprocess.run([sys.executable, "-m", "orchestrator.cli.app", *words], check=True, stdout=sys.stderr)


def score_bicubic(truths: list[Truth], archive: Storage) -> list[NDArray[np.float64]]:
    """PSNR of each band of each scene for bicubic interpolation, nodata filled with its nearest value."""
    rows = []
    for truth in truths:
        lr = read(archive.child(truth.name)).astype(np.float32)
        lost = (lr == 0).any(axis=2)
        if lost.any():
            rows_, columns = ndimage.distance_transform_edt(lost, return_distances=False, return_indices=True)
            lr = lr[rows_, columns]
        up = interpolate(torch.from_numpy(lr.transpose(2, 0, 1))[None], SCALE)[0].numpy().transpose(1, 2, 0)
        rows.append(score(truth, np.rint(up)))
    return rows


def score_outputs(truths: list[Truth], out: Storage) -> list[NDArray[np.float64]]:
    """PSNR of each band of each upscaled scene."""
    return [score(truth, read(out.child(truth.name))) for truth in truths]


def read(place: Storage) -> NDArray[Any]:
    """Values of a GeoTIFF, (H, W, C)."""
    with rasterio.MemoryFile(place.read_bytes()) as memory, memory.open() as file:
        values: NDArray[Any] = file.read().transpose(1, 2, 0)
        return values


def score(truth: Truth, values: NDArray[Any]) -> NDArray[np.float64]:
    """PSNR in dB of each band over 0 to 10,000, of the pixels that count."""
    shares = [torch.from_numpy(np.asarray(image, np.float64) / QUANTIFICATION * 255) for image in (values, truth.hr)]
    valid = torch.from_numpy(truth.scored)
    return np.array([psnr(shares[0][..., band], shares[1][..., band], valid) for band in range(len(BANDS))])


def table(report: dict[str, Any], truths: list[Truth], scores: dict[str, list[Any]], seconds: float) -> str:
    """The page of results."""
    sites = [truth.site for truth in truths]
    domain = report["domains"]["satellite"]
    lines = [
        "# From own scenes to an upscaled archive",
        "",
        f"`{command('archive.own_archive')}`: {seconds:.0f} s.",
        *(f"{name}: {value}." for name, value in environment("ray", "rasterio", "optuna").items()),
        "",
        f"Winner: {domain['verdict']} Configuration {domain['configuration']}.",
        f"Archive: {len(truths)} LR scenes of {len(set(sites))} sites that nothing was trained or chosen on. PSNR in",
        "dB over 0 to 10,000; clouds and pixels without a value are left out.",
        "",
        "| arm | " + " | ".join(BANDS) + " | mean | winner − arm (dB) | 95 % interval over sites |",
        "|:--|" + "--:|" * (len(BANDS) + 2) + ":--|",
    ]
    best = np.array(scores["winner"]).mean(axis=1)
    for arm, rows in scores.items():
        bands = np.array(rows)
        gain = paired_interval((best - bands.mean(axis=1)).tolist(), sites)
        compared = "" if arm == "winner" else f"{gain.mean:+.3f} | {gain.low:+.3f} to {gain.high:+.3f} ({gain.verdict})"
        cells = [f"{value:.2f}" for value in [*bands.mean(axis=0), bands.mean()]]
        lines.append(f"| {arm} | " + " | ".join(cells) + f" | {compared or ' | '} |")
    confirmed = {arm["name"]: arm for arm in domain["arms"]}
    lines += ["", "On the experiment's own locked test sites (degradation of the domain):", ""]
    lines += ["| arm | PSNR | SSIM | SAM (°) | ERGAS |", "|:--|--:|--:|--:|--:|"]
    for arm in confirmed.values():
        lines.append(
            f"| {arm['label']} | {arm['psnr']:.2f} | {arm['ssim']:.4f} | {arm['sam']:.3f} | {arm['ergas']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def _seasons(site: int) -> tuple[Season, Season]:
    return SEASONS[site % 4], SEASONS[(site + 2) % 4]


if __name__ == "__main__":
    main()
