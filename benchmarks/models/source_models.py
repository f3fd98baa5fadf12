"""Trains a source model with the bare loop, without Ray, and says what it cost.

The models in ``trainables/weights`` come from here; their cards hold the exact command. It runs on one process, CPU or
GPU, goes on from its last checkpoint after an interruption, and needs the packages of ``trainables`` alone.

    python -m benchmarks.models.source_models base 4 --generated 1200 --size 320 --steps 16000 --out models/base-x4
    python -m benchmarks.models.source_models base 4 --images photographs --steps 16000 --out models/natural-base-x4
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.common.arguments import command, make_parser
from benchmarks.common.image_folder import read_folder
from trainables.degradation import Degradation
from trainables.images.codec import decode, encode_png
from trainables.images.patch_pool import PatchPool, Pixels
from trainables.inference.precision import resolve
from trainables.loops.pretrain import HISTORY, STATE, Files, PretrainSettings, pretrain
from trainables.metrics.evaluation import NamedImage, bicubic, make_pairs, score
from trainables.network.model_files import CARD, WEIGHTS, pack_model, unpack_model
from trainables.network.network import SuperResolutionNet, preset
from trainables.network.weight_average import best_interpolation
from trainables.samples import generate

LICENCE = {
    "generated": "none needed: every image is drawn by trainables.samples",
    "images": "that of the photographs, which are not part of this project",
}


def main() -> None:
    """Trains one model."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(arguments.device)
    net = SuperResolutionNet(preset(arguments.preset, arguments.scale))
    began = begin_from(net, arguments.init) if arguments.init else []
    net.to(device)
    settings = PretrainSettings(
        steps=arguments.steps,
        batch=arguments.batch,
        learning_rate=arguments.learning_rate,
        report_every=min(100, arguments.steps),
        checkpoint_every=min(1000, arguments.steps),
        seed=arguments.seed,
        optimizer=arguments.optimizer,
        precision=arguments.precision,
    )
    photographs = list(read_folder(arguments.images)) if arguments.images else []
    copies = [resized(image, factor) for factor in arguments.resize for image in photographs]
    drawn = list(draw(arguments.generated, arguments.size, arguments.out.parent / "generated"))
    images = photographs + copies + drawn
    pool = PatchPool(
        lambda: iter(images),
        scale=arguments.scale,
        lr_patch=arguments.lr_patch,
        degradation=Degradation(),
        seed=arguments.seed,
        device=device,
        capacity=len(images) + 1,
    )
    resume, spent = saved(arguments.out)
    start, cpu = time.monotonic(), time.process_time()

    def report(step: int, loss: float, files: Files | None) -> None:
        now = {"wall_seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - cpu}
        total = {name: round(spent[name] + seconds, 1) for name, seconds in now.items()}
        print(f"step {step:6d}  loss {loss:.5f}  {total['cpu_seconds'] / 60:.1f} CPU minutes", flush=True)
        if files is not None:
            save(arguments.out, files | {"spent.json": json.dumps(total).encode()})

    pretrain(net, settings, pool, report, resume=resume)
    kind = "images" if photographs else "generated"
    net.to("cpu")
    shares = {}
    if arguments.average_on:
        net, shares = averaged(net, arguments.init, arguments.average_on)
    facts = {
        "name": arguments.out.name,
        "degradation": Degradation().to_dict(),
        "command": command("models.source_models", sys.argv[1:]),
        "commands_before": began,
        "training": asdict(settings) | {"lr_patch": arguments.lr_patch, "images": len(images), "generated": len(drawn)},
        "validation_by_share_of_the_last_training": shares,
        "cost": saved(arguments.out)[1]
        | {"precision": resolve(settings.precision, device), "torch": torch.__version__},
        "data_licence": LICENCE[kind],
        "metrics": {folder.name: score_on(net, folder) for folder in arguments.score},
    }
    save(arguments.out, pack_model(net, facts))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("preset", help="tiny, base, large, resnet18 or resnet34")
    parser.add_argument("scale", type=int, help="scale factor: 2, 3 or 4")
    parser.add_argument("--images", type=Path, help="folder of HR images")
    parser.add_argument("--generated", type=int, default=0, help="how many images to draw")
    parser.add_argument("--size", type=int, default=256, help="side of a drawn image in pixels")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model and its checkpoint")
    parser.add_argument("--score", type=Path, nargs="*", default=[], help="folders to score it on, for its card")
    parser.add_argument(
        "--resize", type=float, nargs="*", default=[], help="factors of copies of --images to train on too"
    )
    parser.add_argument("--init", type=Path, help="model to begin from; of another scale factor, its trunk alone")
    parser.add_argument("--average-on", type=Path, help="validation folder: weights are averaged with --init's as best")
    parser.add_argument("--steps", type=int, default=16000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr-patch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=8e-4)
    parser.add_argument("--optimizer", choices=("muon", "adam"), default="muon")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not arguments.images and not arguments.generated:
        parser.error("nothing to train on: expected --images FOLDER, --generated COUNT, or both")
    if arguments.average_on and not arguments.init:
        parser.error("--average-on needs --init, the model whose weights are averaged with the trained ones")
    return arguments


def resized(pixels: Pixels, factor: float) -> Pixels:
    """A copy of an image at another scale: smaller ones are sharper, larger ones smoother than the original."""
    size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
    copy = Image.fromarray(pixels.squeeze()).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(copy).reshape(size[1], size[0], -1)


def draw(count: int, size: int, folder: Path) -> Iterator[Pixels]:
    """Generated images, kept as files so that the next model or a resumed run need not draw them again."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        file = folder / f"natural-{seed}-{size}.png"
        if not file.exists():
            save(folder, {file.name: encode_png(generate("natural", seed, (size, size)))})
        yield decode(file.read_bytes()).pixels


def score_on(net: SuperResolutionNet, folder: Path) -> dict[str, float]:
    """PSNR in dB and SSIM on a folder of HR images that training has not seen, and bicubic's."""
    scale = net.architecture.scale
    images = [NamedImage(str(number), str(number), pixels) for number, pixels in enumerate(read_folder(folder))]
    pairs = make_pairs(images, Degradation(), scale)
    told = {}
    for name, upscale in (("", net), ("bicubic_", bicubic(scale))):
        scores = score(upscale, pairs, scale)
        told[f"{name}psnr"] = round(sum(one.psnr for one in scores) / len(scores), 3)
        told[f"{name}ssim"] = round(sum(one.ssim for one in scores) / len(scores), 4)
    return told


def begin_from(net: SuperResolutionNet, folder: Path) -> list[str]:
    """Copies another model's trunk, and its generator where the scale factors agree.

    Returns:
        The commands that made it.
    """
    other, card = read(folder)
    net.features.load_state_dict(other.features.state_dict())
    if other.architecture == net.architecture:
        net.generator.load_state_dict(other.generator.state_dict())
    return [*card.get("commands_before", []), card["command"]]


def read(folder: Path) -> tuple[SuperResolutionNet, dict[str, Any]]:
    """A model and its card."""
    return unpack_model({name: (folder / name).read_bytes() for name in (WEIGHTS, CARD)})


def averaged(net: SuperResolutionNet, init: Path, validation: Path) -> tuple[SuperResolutionNet, dict[float, float]]:
    """The weights between those that training began with and ended with that are best on validation images.

    Returns:
        The network, and PSNR in dB by the share of the trained weights.
    """
    _, best, scores = best_interpolation(read(init)[0], net, lambda between: score_on(between, validation)["psnr"])
    return best, scores


def saved(folder: Path) -> tuple[Files | None, dict[str, float]]:
    """The last checkpoint, if there is one, and what it cost."""
    spent = folder / "spent.json"
    if not spent.exists():
        return None, {"wall_seconds": 0.0, "cpu_seconds": 0.0}
    files = {name: (folder / name).read_bytes() for name in (STATE, HISTORY)}
    return files, json.loads(spent.read_text())


def save(folder: Path, files: Files) -> None:
    """Replaces files one by one; ``spent.json`` comes last in a checkpoint."""
    for name, data in files.items():
        (folder / f"{name}.new").write_bytes(data)
        (folder / f"{name}.new").replace(folder / name)


if __name__ == "__main__":
    main()
