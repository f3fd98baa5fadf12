"""CUDA GPUs, without Ray: how fast patches and steps are on one, and steps on several; base ×4 and ×2 trained.

    python -m benchmarks.training.gpu --images DATA/natural/train --benchmarks DATA/benchmarks --minutes 25 --out gpu
    python -m benchmarks.training.gpu --part step --minutes 6 --out gpu    # one part: ingest, step, split, train
    python -m benchmarks.training.gpu --smoke --device cpu --out smoke     # tiny, in seconds

It needs this repository, torch, torchvision, numpy, scipy, pillow and safetensors. `--benchmarks` names a folder with a
folder for each test set. A part's results are written as soon as it has any; `train` writes checkpoints, and the same
command with the same --out goes on from the last one, with the steps, batch and learning rate that it began with.
"""

import argparse
import itertools
import json
import math
import platform
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.common.arguments import command, make_parser
from benchmarks.common.environment import environment
from benchmarks.common.results import today, write_results
from trainables.degradation import Degradation
from trainables.images.codec import EXTENSIONS, decode, encode_png
from trainables.images.patch_pool import PatchPool, Pixels
from trainables.inference.prepare import prepared
from trainables.loops.objective import TransferObjective
from trainables.loops.optimizers import descend, make_optimizer
from trainables.loops.pretrain import HISTORY, STATE, Files, PretrainSettings, pretrain
from trainables.loops.replicas import Replicas
from trainables.metrics.evaluation import NamedImage, Upscaler, bicubic, make_pairs, score
from trainables.network.model_files import pack_model
from trainables.network.network import SuperResolutionNet, preset
from trainables.samples import generate

Json = dict[str, Any]
WEIGHTS = {"ingest": 1.0, "step": 3.0, "split": 1.0, "train": 8.0}
"""How --minutes is shared; what a part leaves goes to those after it."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What --smoke makes small."""

    net: str = "base"
    batch: int = 128
    lr_patch: int = 32
    matmul: int = 8192
    generated: int = 200
    side: int = 384
    least_s: float = 1.0
    """Least seconds of one measurement."""


SMOKE = Size(net="tiny", batch=2, lr_patch=12, matmul=128, generated=4, side=96, least_s=0.05)


class OutOfTime(Exception):
    """The budget is spent; what was trained is saved."""


class Clock:
    """A budget that parts share by weight."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def share(self, weight: float, weights_left: float) -> float:
        """When a part must end, for its weight among those left."""
        now = time.monotonic()
        return now + max(0.0, self.end - now) * weight / weights_left


# Measuring.


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_each(run: Callable[[], Any], device: torch.device, least_s: float, warm_up: int = 3) -> float:
    """Mean seconds of a call, over enough calls for ``least_s``; the device is waited for at the end only."""
    for _ in range(warm_up):
        run()
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    count = max(3, math.ceil(least_s / max(time.perf_counter() - start, 1e-6)))
    start = time.perf_counter()
    for _ in range(count):
        run()
    synchronize(device)
    return (time.perf_counter() - start) / count


def host_waits(run: Callable[[], Any], device: torch.device, calls: int = 5) -> int | None:
    """How often ``calls`` calls made the host wait for the device; None where nobody can tell."""
    if device.type != "cuda":
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        for _ in range(calls):
            run()
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(each.message) for each in caught)


@contextmanager
def utilisation(device: torch.device) -> Iterator[list[float]]:
    """Fills a list with nvidia-smi's GPU utilisation in percent, five times a second; empty where there is none."""
    told: list[float] = []
    try:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
        if device.type != "cuda":
            raise FileNotFoundError
        command += ["-i", f"GPU-{torch.cuda.get_device_properties(device).uuid}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except (FileNotFoundError, AttributeError):
        yield told
        return
    try:
        yield told
    finally:
        process.terminate()
        told += [float(line) for line in process.communicate()[0].split("\n") if line.strip().isdigit()]


def set_tf32(allowed: bool) -> None:
    """Convolutions use TF32 by default, matrix products do not."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def matmul_tflops(precision: str, device: torch.device, size: Size) -> float:
    """What the card multiplies at most, in practice."""
    set_tf32(precision == "tf32")
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left, right = (torch.randn(size.matmul, size.matmul, device=device, dtype=dtype) for _ in range(2))
    return 2e-12 * size.matmul**3 / seconds_each(lambda: left @ right, device, size.least_s)


# Images and pool.


def encoded_images(folder: Path | None, size: Size) -> list[bytes]:
    """A folder's image files, or generated ones."""
    if folder is None:
        shape = (size.side, size.side)
        return [encode_png(generate("natural", seed, shape)) for seed in range(size.generated)]
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in EXTENSIONS]
    if not files:
        raise SystemExit(f"'{folder}' holds no images ({', '.join(sorted(EXTENSIONS))}).")
    return [path.read_bytes() for path in files]


def make_pool(
    images: list[bytes], scale: int, size: Size, device: torch.device, capacity: int | None = None, seed: int = 0
) -> PatchPool:
    def read() -> Iterator[Pixels]:
        for data in images:
            yield decode(data).pixels

    return PatchPool(
        read,
        scale=scale,
        lr_patch=size.lr_patch,
        degradation=Degradation(),
        seed=seed,
        device=device,
        capacity=capacity or len(images) + 1,
    )


# Part ingest.


def measure_ingest(images: list[bytes], size: Size, device: torch.device, deadline: float) -> Json:
    """Pairs per second out of the pool: all images decoded before, and one decoded for every 64 patches."""
    rows = []
    for name, capacity in (("decoded before", None), ("decoding, 64 patches per decode", max(1, len(images) // 2))):
        for scale in (4, 2):
            with make_pool(images, scale, size, device, capacity) as pool, utilisation(device) as used:
                budget = max(size.least_s, min(10.0, (deadline - time.monotonic()) / 6))
                each = seconds_each(lambda pool=pool: pool.sample(size.batch), device, budget)  # type: ignore[misc]
                waits, waited = pool.waits, pool.waited_s
                synced = host_waits(lambda pool=pool: pool.sample(size.batch), device)  # type: ignore[misc]
            told: Json = {"images": name, "scale": scale, "patches_per_s": size.batch / each, "pool_waits": waits}
            rows.append(told | {"pool_waited_s": waited, "host_waits_in_5": synced, "gpu_percent": mean(used)})
            show(rows[-1])
    return {"rows": rows, "image_count": len(images)}


# Part step.


def step_rows(compile_too: bool) -> Iterator[tuple[str, str, bool, str]]:
    """Precision, layout, compiled and optimizer, the likely best first."""
    modes = (False, True) if compile_too else (False,)
    for precision, layout in itertools.product(("bfloat16", "tf32", "float32"), ("channels_last", "contiguous")):
        for compiled, optimizer in itertools.product(modes, ("muon", "adam")):
            yield precision, layout, compiled, optimizer


class Step:
    """One training step, as :func:`trainables.loops.pretrain.pretrain` takes it."""

    def __init__(
        self, pool: PatchPool, size: Size, precision: str, layout: str, compiled: bool, optimizer: str
    ) -> None:
        torch.manual_seed(0)
        set_tf32(precision == "tf32")
        self.pool, self.batch, self.half = pool, size.batch, precision == "bfloat16"
        self.layout = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        self.net = SuperResolutionNet(preset(size.net, pool.scale)).to(pool.device).to(memory_format=self.layout)
        self.model: Callable[[Tensor], Tensor] = torch.compile(self.net) if compiled else self.net
        self.optimizer, self.schedule = make_optimizer(self.net, 1e-4, 10**6, optimizer)  # type: ignore[arg-type]

    def __call__(self) -> None:
        lr, hr = self.pool.sample(self.batch)
        with torch.autocast(self.pool.device.type, torch.bfloat16, enabled=self.half):
            output = self.model(lr.contiguous(memory_format=self.layout))
        descend(self.net, functional.l1_loss(output, hr), self.optimizer, self.schedule)


def measure_step(images: list[bytes], size: Size, device: torch.device, deadline: float, compile_too: bool) -> Json:
    scale = 4
    ceiling = {precision: matmul_tflops(precision, device, size) for precision in ("bfloat16", "tf32", "float32")}
    todo, missed = list(step_rows(compile_too)), []
    rows: list[Json] = []
    with make_pool(images, scale, size, device) as pool:
        for number, row in enumerate(todo):
            left = deadline - time.monotonic()
            if left <= 0 and rows:
                missed = [list(each) for each in todo[number:]]
                break
            precision, layout, compiled, optimizer = row
            told: Json = {"precision": precision, "layout": layout, "compiled": compiled, "optimizer": optimizer}
            try:
                start = time.perf_counter()
                step = Step(pool, size, *row)
                step()
                synchronize(device)
                told["first_step_s"] = time.perf_counter() - start
                with utilisation(device) as used:
                    each = seconds_each(step, device, max(size.least_s, min(8.0, left / len(todo[number:]) / 2)))
            except (RuntimeError, torch.cuda.OutOfMemoryError) as error:
                told["failed"] = " ".join(str(error).split())[:200]
            else:
                flops = 3 * 2 * step.net.macs_per_lr_pixel() * size.lr_patch**2 * size.batch
                told |= {"ms": 1000 * each, "patches_per_s": size.batch / each, "tflops": 1e-12 * flops / each}
                told["share_of_matmul"] = told["tflops"] / ceiling[precision]
                told |= {"gpu_percent": mean(used), "host_waits_in_5": host_waits(step, device)}
            rows.append(told)
            show(told)
    set_tf32(False)
    return {"scale": scale, "matmul_tflops": ceiling, "rows": rows, "not_reached": missed}


# Part split.


class SplitStep:
    """A step in bfloat16 whose batch several devices share, as :mod:`trainables.loops.finetune` takes it."""

    def __init__(self, pool: PatchPool, net: str, batch: int, devices: list[torch.device]) -> None:
        torch.manual_seed(0)
        self.pool, self.batch = pool, batch
        self.net = SuperResolutionNet(preset(net, pool.scale)).to(devices[0])
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer, self.schedule = make_optimizer(self.net, 1e-4, 10**6)
        self.objective, self.replicas = TransferObjective(None, 0.0, half=True), Replicas(self.net, devices)

    def __call__(self) -> None:
        lr, hr = self.pool.sample(self.batch)
        loss = self.objective(self.replicas, lr.contiguous(memory_format=torch.channels_last), hr)
        descend(self.net, loss, self.optimizer, self.schedule, self.replicas)


def measure_split(images: list[bytes], size: Size, device: torch.device, deadline: float) -> Json:
    """Milliseconds of a step whose batch 1, 2, 4, … devices share; on a CPU the copies share its cores."""
    most = torch.cuda.device_count() if device.type == "cuda" else 2
    counts = [count for count in (1, 2, 4, 8) if count <= min(most, size.batch)]
    nets = ("large", size.net) if size.net != "tiny" else (size.net,)
    todo = list(itertools.product(nets, sorted({min(8, size.batch), size.batch}), counts))
    rows: list[Json] = []
    with make_pool(images, 4, size, device) as pool:
        for number, (net, batch, count) in enumerate(todo):
            left = deadline - time.monotonic()
            if left <= 0 and rows:
                break
            if batch < count:
                continue
            devices = [device] * count if device.type == "cpu" else [torch.device("cuda", n) for n in range(count)]
            step = SplitStep(pool, net, batch, devices)
            each = seconds_each(step, device, max(size.least_s, min(8.0, left / len(todo[number:]) / 2)))
            rows.append({"net": net, "batch": batch, "devices": count, "ms": 1000 * each})
            show(rows[-1])
    return {"rows": rows, "devices": most}


# Part train.


def train(
    scale: int, images: list[bytes], size: Size, device: torch.device, deadline: float, options: argparse.Namespace
) -> Json:
    """Trains one network until ``deadline``, or goes on; its PSNR if it got to the end."""
    folder: Path = options.out / f"{size.net}-x{scale}"
    folder.mkdir(parents=True, exist_ok=True)
    set_tf32(True)
    with make_pool(images, scale, size, device, seed=options.seed) as pool:
        plan = _plan(folder, pool, scale, size, deadline, options)
        settings = PretrainSettings(**plan["settings"])
        net = _new_net(size, scale, device, options.seed)
        resume, spent = _saved(folder)
        start = time.monotonic()

        def report(step: int, loss: float, files: Files | None) -> None:
            if files is None:
                return
            total = spent + time.monotonic() - start
            _save(folder, files | {"spent.json": json.dumps({"step": step, "seconds": total}).encode()})
            show({"net": folder.name, "step": step, "of": settings.steps, "loss": loss, "seconds": total})
            if time.monotonic() > deadline and step < settings.steps:
                raise OutOfTime

        compiled: Any = torch.compile(net) if options.compile_training else None
        try:
            with utilisation(device) as used:
                pretrain(net, settings, pool, report, resume=resume, parallel=compiled)
        except OutOfTime:
            return {"net": folder.name, "finished": False, "seconds": spent + time.monotonic() - start}
    seconds = spent + time.monotonic() - start
    facts = {
        "name": folder.name,
        "degradation": Degradation().to_dict(),
        "command": command("training.gpu"),
        "training": plan["settings"] | {"lr_patch": size.lr_patch, "images": len(images)},
        "cost": {"wall_seconds": seconds, "device": device_name(device), "torch": torch.__version__},
        "data_licence": "that of the images" if options.images else "none needed: every image is drawn",
    }
    _save(folder, pack_model(net, facts))
    scores = evaluate(net, options.benchmarks, device) if options.benchmarks else {}
    return {
        "net": folder.name,
        "finished": True,
        "seconds": seconds,
        "gpu_percent": mean(used),
        "settings": plan["settings"],
        "sets": scores,
    }


def _new_net(size: Size, scale: int, device: torch.device, seed: int) -> SuperResolutionNet:
    torch.manual_seed(seed)
    return SuperResolutionNet(preset(size.net, scale)).to(device)


def _plan(folder: Path, pool: PatchPool, scale: int, size: Size, deadline: float, options: argparse.Namespace) -> Json:
    """What a run began with; else what is asked for, as many steps as the time allows where no number is."""
    file = folder / "plan.json"
    if file.exists():
        plan: Json = json.loads(file.read_text())
        print(f"{folder.name} goes on with the settings of {file}", flush=True)
        return plan
    trial = PretrainSettings(
        steps=30, batch=size.batch, learning_rate=1e-4, report_every=10, checkpoint_every=10**9, seed=options.seed
    )
    net, times = _new_net(size, scale, pool.device, options.seed), []
    compiled: Any = torch.compile(net) if options.compile_training else None
    pretrain(net, trial, pool, lambda step, loss, files: times.append(time.perf_counter()), parallel=compiled)
    rate = 10 / (times[2] - times[1])
    steps = options.steps or max(30, int(0.9 * rate * max(0.0, deadline - time.monotonic())))
    every = max(1, min(steps, int(rate * options.checkpoint_seconds)))
    settings = PretrainSettings(
        steps=steps,
        batch=size.batch,
        learning_rate=options.learning_rate,
        report_every=every,
        checkpoint_every=every,
        seed=options.seed,
        optimizer=options.optimizer,
    )
    plan = {"settings": asdict(settings), "steps_per_s": rate}
    file.write_text(json.dumps(plan, indent=1))
    return plan


def _saved(folder: Path) -> tuple[Files | None, float]:
    spent = folder / "spent.json"
    if not spent.exists():
        return None, 0.0
    return {name: (folder / name).read_bytes() for name in (STATE, HISTORY)}, json.loads(spent.read_text())["seconds"]


def _save(folder: Path, files: Files) -> None:
    """Replaces files one by one; ``spent.json`` comes last in a checkpoint."""
    for name, data in files.items():
        (folder / f"{name}.new").write_bytes(data)
        (folder / f"{name}.new").replace(folder / name)


def evaluate(net: SuperResolutionNet, folder: Path, device: torch.device) -> Json:
    """PSNR and SSIM on every set of a folder, in float32, beside bicubic's."""
    scale = net.architecture.scale
    set_tf32(False)
    torch.backends.cudnn.benchmark = False  # each image has a size of its own
    run = prepared(net, device, "float32")
    ours: Upscaler = lambda lr: run(lr.to(device)).cpu()  # noqa: E731
    told = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = [path for path in sorted(place.iterdir()) if path.suffix.lower() in EXTENSIONS]
        named = [NamedImage(path.name, path.name, decode(path.read_bytes()).pixels) for path in files]
        pairs = make_pairs(named, Degradation(), scale)
        told[place.name] = {
            who: {"psnr": mean([one.psnr for one in each]), "ssim": mean([one.ssim for one in each])}
            for who, each in (("ours", score(ours, pairs, scale)), ("bicubic", score(bicubic(scale), pairs, scale)))
        }
        show({place.name: told[place.name]})
    return told


# What is written.


def mean(values: list[float]) -> float | None:
    return statistics.mean(values) if values else None


def show(told: Json) -> None:
    print(json.dumps(told), flush=True)


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {platform.machine()}"


def write(part: str, told: Json, device: torch.device, size: Size, out: Path) -> None:
    facts: Json = {
        "date": today(),
        "command": command("training.gpu"),
        "device": device_name(device),
        **environment(),
        "CUDA": torch.version.cuda,
        "size": asdict(size),
    }
    lines = [f"# GPU: {part}, {facts['date']}", "", *(f"- {key}: {value}" for key, value in facts.items()), ""]
    lines += [f"- {key}: {value}" for key, value in told.items() if key != "rows"] + [""]
    columns = list(dict.fromkeys(key for row in told["rows"] for key in row))
    lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in told["rows"]:
        lines.append("| " + " | ".join(_cell(row.get(column)) for column in columns) + " |")
    write_results(out, f"gpu-{part}", None, data=facts | told, page="\n".join(lines) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict):
        return "; ".join(f"{key} {_cell(each)}" for key, each in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--part", choices=tuple(WEIGHTS), action="append", help="all by default")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=Path, help="folder of HR images; generated samples by default")
    parser.add_argument("--benchmarks", type=Path, help="folder of test sets, such as Set5, Set14 and BSD100")
    parser.add_argument("--minutes", type=float, default=25.0, help="of all parts together")
    parser.add_argument("--out", type=Path, required=True, help="folder of results, checkpoints and models")
    parser.add_argument("--scales", type=int, nargs="+", default=[4, 2], help="that train trains")
    parser.add_argument("--steps", type=int, help="of train; as many as the time allows by default")
    parser.add_argument("--batch", type=int, help=f"patches per step, {Size.batch} by default")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--optimizer", choices=("muon", "adam"), default="muon")
    parser.add_argument("--checkpoint-seconds", type=float, default=30.0)
    parser.add_argument("--compile-training", action="store_true", help="train through torch.compile")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out of step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="tiny network, batch and images, no torch.compile")
    return parser.parse_args()


def main() -> None:
    options = parse()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("There is no CUDA GPU that torch can use; --smoke --device cpu runs everything at tiny size.")
    torch.backends.cudnn.benchmark = True  # every step has the same shapes
    size = SMOKE if options.smoke else Size()
    size = Size(**asdict(size) | ({"batch": options.batch} if options.batch else {}))
    clock, parts = Clock(options.minutes), options.part or list(WEIGHTS)
    images = encoded_images(options.images, size)
    for number, part in enumerate(parts):
        deadline = clock.share(WEIGHTS[part], sum(WEIGHTS[each] for each in parts[number:]))
        if part == "ingest":
            told = measure_ingest(images, size, device, deadline)
        elif part == "step":
            told = measure_step(images, size, device, deadline, not (options.no_compile or options.smoke))
        elif part == "split":
            told = measure_split(images, size, device, deadline)
        else:
            told = {"rows": []}
            for place, scale in enumerate(options.scales):
                torch.backends.cudnn.benchmark = True
                until = clock.share(1, len(options.scales) - place)
                told["rows"].append(train(scale, images, size, device, until, options))
                write(part, told, device, size, options.out)
        write(part, told, device, size, options.out)


if __name__ == "__main__":
    main()
