"""What is best per operation: trunks, blocks, losses and training choices at equal processor time.

Every row trains from nothing for the same seconds of one CPU thread, differs from the first row in what its name says,
and is scored on Set5, Set14 and every fourth image of BSD100. Rows are appended to the JSON lines file as they finish;
a row that is there already is not run again.

    python -m benchmarks.models.architectures --images photographs/train --benchmarks sr-benchmarks --seconds 60
"""

import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common.arguments import make_parser
from benchmarks.common.image_folder import read_folder
from benchmarks.common.results import RESULTS
from trainables.degradation import Degradation
from trainables.images.codec import decode
from trainables.images.patch_pool import PatchPool
from trainables.inference.upscale import self_ensemble
from trainables.loops.optimizers import make_optimizer
from trainables.metrics.evaluation import NamedImage, Pair, make_pairs, mean_psnr
from trainables.network.architecture import Architecture
from trainables.network.network import Generator, SuperResolutionNet, interpolate
from trainables.network.trunks import FeatureExtractor

SCALE = 4


@dataclass(frozen=True)
class Choice:
    """One way to build and train; the defaults are the project's."""

    trunk: str = "thin"
    width: int = 32
    depth: int = 8
    block: str = "plain"
    activation: str = "relu"
    after_sum: bool = False
    norm: str = "none"
    residual: str = "bicubic"
    end: str = "nothing"
    optimizer: str = "muon"
    learning_rate: float = 8e-4
    schedule: str = "cosine"
    precision: str = "bfloat16"
    loss: str = "l1"
    average: float = 0.0
    batch: int = 16
    lr_patch: int = 32
    self_ensemble: bool = False
    seed: int = 0


DEFAULT = Choice()
CHOICES: dict[str, Choice] = {
    "default": DEFAULT,
    "default, second seed": replace(DEFAULT, seed=1),
    "Adam, rate 1e-3": replace(DEFAULT, optimizer="adam", learning_rate=1e-3),
    "Adam, rate 2e-3": replace(DEFAULT, optimizer="adam", learning_rate=2e-3),
    "float32": replace(DEFAULT, precision="float32"),
    "48 wide, 3 deep": replace(DEFAULT, width=48, depth=3),
    "24 wide, 14 deep": replace(DEFAULT, width=24, depth=14),
    "one more convolution at the end, 7 deep": replace(DEFAULT, depth=7, end="convolution"),
    "long skip to the end, 7 deep": replace(DEFAULT, depth=7, end="skip"),
    "activation after the sum": replace(DEFAULT, after_sum=True),
    "batch norm": replace(DEFAULT, norm="batch"),
    "SiLU": replace(DEFAULT, activation="silu"),
    "re-parameterised blocks": replace(DEFAULT, block="wide"),
    "re-parameterised blocks, Adam 1e-3": replace(DEFAULT, block="wide", optimizer="adam", learning_rate=1e-3),
    "SPAN attention, 5 deep": replace(DEFAULT, block="span", depth=5),
    "SPAN attention, 5 deep, Adam 1e-3": replace(DEFAULT, block="span", depth=5, optimizer="adam", learning_rate=1e-3),
    "ESA attention, 7 deep": replace(DEFAULT, block="esa", depth=7),
    "nearest residual": replace(DEFAULT, residual="nearest"),
    "no residual": replace(DEFAULT, residual="none"),
    "Charbonnier": replace(DEFAULT, loss="charbonnier"),
    "L1, then MSE": replace(DEFAULT, loss="l1 then mse"),
    "weights averaged (EMA 0.99)": replace(DEFAULT, average=0.99),
    "linear schedule": replace(DEFAULT, schedule="linear"),
    "48×48 patches, batch 7": replace(DEFAULT, lr_patch=48, batch=7),
    "batch 8": replace(DEFAULT, batch=8),
    "torchvision resnet18, batch norm": replace(DEFAULT, trunk="resnet18", norm="batch"),
    "torchvision resnet18, no norm": replace(DEFAULT, trunk="resnet18"),
    "tiny (16 wide, 7 deep)": replace(DEFAULT, width=16, depth=7),
    "self-ensemble of the default": replace(DEFAULT, self_ensemble=True),
}

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}


class Wide(nn.Module):
    """A 3×3 convolution that is trained as 3×3 + 1×1 + (1×1 to twice the channels, then 3×3) and runs as one kernel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.plain = nn.Conv2d(width, width, 3, padding=1)
        self.point = nn.Conv2d(width, width, 1, bias=False)
        self.expand = nn.Conv2d(width, 2 * width, 1, bias=False)
        self.reduce = nn.Conv2d(2 * width, width, 3, padding=1, bias=False)
        with torch.no_grad():
            for part in (self.point, self.reduce):
                part.weight.mul_(0.1)

    def forward(self, features: Tensor) -> Tensor:
        chain = torch.einsum("omhw,mc->ochw", self.reduce.weight, self.expand.weight[:, :, 0, 0])
        kernel = self.plain.weight + functional.pad(self.point.weight, (1, 1, 1, 1)) + chain
        return functional.conv2d(features, kernel, self.plain.bias, padding=1)


class Attention(nn.Module):
    """RLFN's enhanced spatial attention (Kong et al. 2022, arXiv 2205.07514)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        few = max(4, width // 4)
        self.shrink, self.skip, self.grow = nn.Conv2d(width, few, 1), nn.Conv2d(few, few, 1), nn.Conv2d(few, width, 1)
        self.stride, self.mix = nn.Conv2d(few, few, 3, stride=2), nn.Conv2d(few, few, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        small = self.shrink(features)
        context = self.mix(functional.max_pool2d(self.stride(small), 7, 3))
        context = functional.interpolate(context, features.shape[-2:], mode="bilinear")
        return features * torch.sigmoid(self.grow(context + self.skip(small)))


class Block(nn.Module):
    """A residual block with the parts that a choice asks for."""

    def __init__(self, choice: Choice) -> None:
        super().__init__()
        width = choice.width
        make = Wide if choice.block == "wide" else lambda c: nn.Conv2d(c, c, 3, padding=1)
        norm = nn.BatchNorm2d if choice.norm == "batch" else nn.Identity
        act = _ACTIVATIONS[choice.activation]
        self.body = nn.Sequential(make(width), norm(width), act(), make(width), norm(width))
        if choice.block == "esa":
            self.body.append(Attention(width))
        if choice.block != "span" and choice.norm == "none":
            last = self.body[3]
            with torch.no_grad():
                (last.plain if isinstance(last, Wide) else last).weight.mul_(0.1)
        self.third = nn.Sequential(act(), make(width)) if choice.block == "span" else None
        self.after = act() if choice.after_sum else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        inner = self.body(features)
        if self.third is not None:  # SPAN's parameter-free attention (Wan et al. 2024, arXiv 2311.12770)
            inner = self.third(inner)
            return (inner + features) * (torch.sigmoid(inner) - 0.5)
        return self.after(features + inner)


class Variant(nn.Module):
    """A network of the project's parts and a choice's blocks."""

    def __init__(self, choice: Choice) -> None:
        super().__init__()
        architecture = Architecture(scale=SCALE, width=choice.width, depth=choice.depth)
        if choice.trunk != "thin":
            architecture = Architecture(scale=SCALE, family=choice.trunk, norm=choice.norm)
            self.features: nn.Module = SuperResolutionNet(architecture).features
        else:
            stem = nn.Conv2d(3, choice.width, 3, padding=1)
            self.features = FeatureExtractor(stem, (Block(choice) for _ in range(choice.depth)))
        self.end = nn.Conv2d(choice.width, choice.width, 3, padding=1) if choice.end != "nothing" else None
        # SPAN's blocks multiply small numbers; without its join of early and late features nothing would reach the end.
        self.join = nn.Conv2d(4 * choice.width, choice.width, 1) if choice.block == "span" else None
        self.generator, self.choice = Generator(architecture), choice
        if choice.residual == "none":
            nn.init.kaiming_normal_(self.generator.conv.weight)

    def forward(self, lr: Tensor) -> Tensor:
        features = self.features(lr) if self.join is None else self.joined(lr)
        if self.end is not None:
            features = self.end(features) + (self.features.stem(lr) if self.choice.end == "skip" else 0)
        detail = self.generator(features).to(lr.dtype)
        if self.choice.residual == "none":
            return detail
        nearest = self.choice.residual == "nearest"
        return detail + (functional.interpolate(lr, scale_factor=SCALE) if nearest else interpolate(lr, SCALE))

    def joined(self, lr: Tensor) -> Tensor:
        """SPAN's end: the stem's, the first and the last two blocks' features side by side, mixed by a 1×1 kernel."""
        stages = self.features.stages(lr)
        return self.join(torch.cat([*stages[:2], *stages[-2:]], dim=1))


def macs(net: nn.Module) -> int:
    """Multiply-accumulates per LR pixel as it runs: re-parameterised convolutions count once, strided ones less."""
    counted = 0
    inside = {id(m) for wide in net.modules() if isinstance(wide, Wide) for m in wide.modules()}
    for module in net.modules():
        if isinstance(module, Wide):
            counted += module.plain.weight.numel()
        elif isinstance(module, nn.Conv2d) and id(module) not in inside:
            counted += module.weight.numel() // math.prod(module.stride)
    return counted


def train(choice: Choice, images: list, seconds: float) -> tuple[nn.Module, int]:
    """Trains for so many seconds of this process's CPU time; returns the network and its steps."""
    torch.manual_seed(choice.seed)
    net = Variant(choice).to(memory_format=torch.channels_last).train()
    pool = PatchPool(
        lambda: iter(images),
        scale=SCALE,
        lr_patch=choice.lr_patch,
        degradation=Degradation(),
        seed=choice.seed,
        capacity=len(images) + 1,
    )
    optimizer, _ = make_optimizer(net, choice.learning_rate, 1, choice.optimizer)
    averaged = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=_ema(choice.average)) if choice.average else None
    start, steps = time.process_time(), 0
    while (spent := (time.process_time() - start) / seconds) < 1:
        decay = 1 - spent if choice.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * spent))
        for group in optimizer.param_groups:
            group["lr"] = choice.learning_rate * min(spent / 0.05, decay)
        lr, hr = pool.sample(choice.batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=choice.precision == "bfloat16"):
            output = net(lr.contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad()
        loss_of(choice.loss, output, hr, spent).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        steps += 1
        if averaged is not None:
            averaged.update_parameters(net)
    return (averaged.module if averaged is not None else net).eval(), steps


def loss_of(name: str, output: Tensor, target: Tensor, spent: float) -> Tensor:
    """The loss of a batch at a share of the whole time."""
    difference = output - target
    if name == "charbonnier":
        return (difference.square() + 1e-6).sqrt().mean()
    if name == "l1 then mse" and spent > 0.7:
        return 10 * difference.square().mean()
    return difference.abs().mean()


def _ema(decay: float) -> Callable:
    return torch.optim.swa_utils.get_ema_multi_avg_fn(decay)


def benchmark_pairs(folder: Path) -> dict[str, list[Pair]]:
    """Set5, Set14 and every fourth image of BSD100, degraded by bicubic decimation."""
    sets = {}
    for name, stride in (("Set5", 1), ("Set14", 1), ("BSD100", 4)):
        files = sorted((folder / name).iterdir())[::stride]
        images = [NamedImage(file.name, file.name, decode(file.read_bytes()).pixels) for file in files]
        sets[name] = make_pairs(images, Degradation(), SCALE)
    return sets


def main() -> None:
    """Runs every choice that has no row yet and writes the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of training images")
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder with Set5, Set14 and BSD100")
    parser.add_argument("--seconds", type=float, default=60, help="CPU time of each row")
    parser.add_argument("--out", type=Path, default=RESULTS / "architectures.jsonl")
    parser.add_argument("--only", help="run rows whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    done = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    images = list(read_folder(arguments.images))
    sets = benchmark_pairs(arguments.benchmarks)
    for name, choice in CHOICES.items():
        if any(row["name"] == name for row in done) or (arguments.only and arguments.only not in name):
            continue
        net, steps = train(choice, images, arguments.seconds)
        upscale = self_ensemble(net) if choice.self_ensemble else net
        row = {
            "name": name,
            "macs_per_lr_pixel": macs(net) * (8 if choice.self_ensemble else 1),
            "steps": steps,
            **{key: round(mean_psnr(upscale, pairs, SCALE), 3) for key, pairs in sets.items()},
            "cpu_seconds": arguments.seconds,
            "choice": asdict(choice),
            "torch": torch.__version__,
            "machine": platform.machine(),
        }
        done.append(row)
        print(json.dumps({key: value for key, value in row.items() if key != "choice"}), flush=True)
        with arguments.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
    if any(row["name"] == "default" for row in done):
        arguments.out.with_suffix(".md").write_text(table(done), encoding="utf-8")


def table(rows: list[dict]) -> str:
    """The rows as markdown, with differences from the first."""
    lines = [
        "| what differs from the default | MAC per LR pixel | steps | Set5 | Set14 | BSD100/4 | mean difference |",
        "|---|---|---|---|---|---|---|",
    ]
    first = next(row for row in rows if row["name"] == "default")
    for row in rows:
        sets = ("Set5", "Set14", "BSD100")
        difference = sum(row[key] - first[key] for key in sets) / len(sets)
        scores = " | ".join(f"{row[key]:.2f}" for key in sets)
        lines.append(
            f"| {row['name']} | {row['macs_per_lr_pixel']:,} | {row['steps']:,} | {scores} | {difference:+.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
