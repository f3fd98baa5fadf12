"""Classical baselines beside the zero-shot source model, on the four domains at x4.

    python -m benchmarks.models.classical --root DATA

DATA has train/ and val/ of medical/, satellite/, surveillance/ and art/, and a manifest.csv with columns `domain`,
`split`, `file` and `scene_group`. Baselines are fitted to train/, without the scenes that their parameters are tuned
on; val/ is scored only then. Images are read in turns of their scenes, so that a limit keeps as many scenes as it can.

Speed is processor time of one thread for each megapixel of output, which other work on the machine disturbs least.
"""

import argparse
import csv
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common.arguments import add_out, command, make_parser
from benchmarks.common.domain_images import DOMAINS, PAINTER
from benchmarks.common.environment import environment
from benchmarks.common.results import ONE_THREAD, today, write_results
from orchestrator.foundation.statistics import paired_interval
from search_spaces import find_space
from trainables.classical import fit_baselines
from trainables.images.codec import decode
from trainables.metrics.evaluation import NamedImage, Pair, Score, Upscaler, make_pairs, score
from trainables.network.packaged import load
from trainables.version import __version__

SCALE = 4
SOURCE = f"base-x{SCALE}"


def main() -> None:
    arguments = parse()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    sections: list[str] = []
    for domain in arguments.domains:
        sections.append(measure(domain, arguments))
        write_results(arguments.out, f"classical-x{SCALE}", ONE_THREAD, page="\n".join([head(), *sections]))
        print(sections[-1], flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of the images")
    parser.add_argument("--domains", nargs="+", default=DOMAINS, choices=DOMAINS)
    parser.add_argument("--train", type=int, help="at most so many training images of each domain")
    parser.add_argument("--validation", type=int, help="at most so many images to tune on")
    parser.add_argument("--test", type=int, help="at most so many images to score")
    parser.add_argument("--crop", type=int, help="largest side in HR pixels to tune on and to score, from the middle")
    parser.add_argument("--seed", type=int, default=0)
    add_out(parser)
    return parser.parse_args()


def measure(domain: str, arguments: argparse.Namespace) -> str:
    """One domain's section: what was chosen and a row for each upscaler."""
    space = find_space(domain)
    files = by_scene(arguments.root, domain, "train")
    scenes = sorted(files)
    held_out = np.random.default_rng(arguments.seed).permutation(len(scenes))[: max(1, len(scenes) // 5)]
    tuned_on = {scenes[place] for place in held_out}
    train = list(read({scene: f for scene, f in files.items() if scene not in tuned_on}, arguments.train))
    tuning = list(read({scene: f for scene, f in files.items() if scene in tuned_on}, arguments.validation))
    pixels = [image.pixels for image in train]
    pairs = make_pairs(tuning, space.degradation, SCALE, arguments.crop)
    start = time.process_time()
    fitted = fit_baselines(pixels, pairs, space.degradation, SCALE, arguments.seed)
    seconds = time.process_time() - start

    test = list(read(by_scene(arguments.root, domain, "val"), arguments.test))
    pairs = make_pairs(test, space.degradation, SCALE, arguments.crop)
    upscalers: dict[str, Upscaler] = {**fitted.upscalers, f"zero-shot {SOURCE}": load(SOURCE)[0]}
    scores = {name: score(upscale, pairs, SCALE) for name, upscale in upscalers.items()}
    rows = [row(name, scores[name], scores["bicubic"], cost(upscale, pairs)) for name, upscale in upscalers.items()]
    chosen = "; ".join(f"{name}: {told(settings)}" for name, settings in fitted.chosen.items())
    return f"""## {space.id}

{space.degradation.describe()}. Fitted to {counted(train)} in {seconds:.0f} s of processor time; tuned on
{counted(tuning)}; scored on {counted(test)}. Chosen: {chosen}.

| upscaler | PSNR (dB) | SSIM | − bicubic (dB), 95 % interval | s/MP |
|---|---:|---:|---:|---:|
{chr(10).join(rows)}
"""


def row(name: str, scores: Sequence[Score], plain: Sequence[Score], seconds: float) -> str:
    """One upscaler's line of the table."""
    gains = [one.psnr - other.psnr for one, other in zip(scores, plain, strict=True)]
    interval = paired_interval(gains, [one.scene for one in scores])
    gain = "" if name == "bicubic" else f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
    psnr, ssim = np.mean([one.psnr for one in scores]), np.mean([one.ssim for one in scores])
    return f"| {name} | {psnr:.2f} | {ssim:.4f} | {gain} | {seconds:.2f} |"


def cost(upscale: Upscaler, pairs: Sequence[Pair]) -> float:
    """Seconds of processor time for each megapixel of output; scoring has warmed everything up."""
    some = pairs[:2]
    start = time.process_time()
    with torch.inference_mode():
        for pair in some:
            upscale(pair.lr[None])
    return (time.process_time() - start) / sum(pair.hr[0].numel() / 1e6 for pair in some)


def by_scene(root: Path, domain: str, split: str) -> dict[str, list[Path]]:
    """Files of a split by scene; a painting's scene is its painter, so that the year behind the name is cut off."""
    files = defaultdict(list)
    with (root / "manifest.csv").open(encoding="utf-8", newline="") as table:
        for line in csv.DictReader(table):
            if (line["domain"], line["split"]) == (domain, split):
                files[re.match(PAINTER, line["scene_group"])[1]].append(root / domain / split / line["file"])
    return files


def read(files: dict[str, list[Path]], most: int | None) -> Iterator[NamedImage]:
    """Images with their scenes: the first of every scene, then the second of each, and so on."""
    named = ([(scene, path) for path in sorted(files[scene])] for scene in sorted(files))
    turns = [each for each in chain.from_iterable(zip_longest(*named)) if each is not None]
    for scene, path in turns[:most]:
        yield NamedImage(path.name, scene, decode(path.read_bytes()).pixels)


def counted(images: Sequence[NamedImage]) -> str:
    """How many images, and of how many scenes."""
    return f"{len(images)} images of {len({image.scene for image in images})} scenes"


def told(settings: dict[str, Any]) -> str:
    """Settings in words."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in settings.items())


def head() -> str:
    """What is needed to repeat it."""
    found = environment()
    return f"""# Classical baselines, {today()}

Command: `{command("models.classical")}`

- hardware: one thread of {found["hardware"]}
- versions: rayscale {__version__}, {found["versions"]}
- commit: {found["commit"]}

PSNR and SSIM as everywhere (docs/method.md); intervals are bootstraps over scenes; s/MP is processor time of one thread
for each megapixel of output.
"""


if __name__ == "__main__":
    main()
