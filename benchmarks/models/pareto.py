"""Quality against cost: this project's models beside published ones, as a figure and a table.

    python -m benchmarks.models.pareto --benchmarks DATA/benchmarks base-x4 photographs=models/natural-base-x4

Each argument is a packaged model's name, or NAME=FOLDER. `--benchmarks` names a folder with Set5, Set14 and BSD100.
Our models and bicubic are measured in this run: PSNR and SSIM on luma, border of r pixels left out, MATLAB's bicubic
decimation; output pixels per second of one thread for an LR image of 160×120, as they are and prepared.

The peers were measured elsewhere, see PEERS. Two things tie their figures to this run: bicubic's PSNR, measured in
both, and a speed ratio, from what is nearly one network in both runs; their speeds are multiplied by it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from benchmarks.common.arguments import add_out, command, make_parser
from benchmarks.common.environment import environment
from benchmarks.common.results import CPUS, today, write_results
from benchmarks.common.timing import in_turns
from trainables.degradation import Degradation
from trainables.images.codec import EXTENSIONS, decode
from trainables.inference.precision import resolve
from trainables.inference.prepare import prepared
from trainables.metrics.evaluation import NamedImage, Pair, Upscaler, bicubic, make_pairs, mean_psnr, score
from trainables.network import packaged as pretrained
from trainables.network.model_files import CARD, unpack_model
from trainables.network.model_files import WEIGHTS as WEIGHTS_FILE
from trainables.network.network import SuperResolutionNet, preset

SETS = ("Set5", "Set14", "BSD100")
SIZE = (120, 160)
Json = dict[str, Any]

PEERS_SOURCE = (
    "Peers: their authors' published weights, scored by the same protocol and timed as eager float32 PyTorch on one "
    "thread, LR 160×120, in an earlier run on a 2-core machine of this project's kind; not measured again here."
)
PEERS: dict[str, tuple[float, float, float, dict[str, tuple[float, float]]]] = {
    name: (params, macs, speed, dict(zip(SETS, ((a, b), (c, d), (e, f)), strict=True)))
    for name, params, macs, speed, a, b, c, d, e, f in (
        ("VDSR", 665, 10635, 0.072, 31.445, 0.8854, 28.151, 0.7706, 27.294, 0.7260),
        ("CARN-M", 415, 564, 0.66, 31.885, 0.8910, 28.422, 0.7772, 27.453, 0.7315),
        ("SPANv2", 139, 139, 8.0, 31.770, 0.8896, 28.385, 0.7767, 27.426, 0.7310),
        ("SPAN", 151, 150, 5.7, 31.746, 0.8898, 28.405, 0.7768, 27.447, 0.7309),
        ("DISP", 164, 163, 7.6, 31.941, 0.8918, 28.469, 0.7785, 27.476, 0.7326),
        ("SAFMNv3", 145, 143, 3.6, 32.035, 0.8917, 28.468, 0.7784, 27.502, 0.7336),
        ("BSRN", 156, 144, 2.7, 32.012, 0.8927, 28.594, 0.7810, 27.548, 0.7351),
        ("EFDN", 276, 255, 3.3, 32.080, 0.8931, 28.587, 0.7809, 27.555, 0.7353),
        ("RLFN (NTIRE)", 317, 300, 3.8, 32.098, 0.8939, 28.603, 0.7815, 27.579, 0.7359),
        ("RLFN", 544, 518, 1.7, 32.240, 0.8953, 28.624, 0.7815, 27.607, 0.7364),
        ("IMDN", 715, 710, 1.6, 32.211, 0.8948, 28.587, 0.7811, 27.561, 0.7353),
        ("HAESR", 353, 406, 0.60, 32.457, 0.8980, 28.812, 0.7860, 27.697, 0.7407),
    )
}
"""×4: thousands of parameters, thousands of MAC per LR pixel, output MP/s there, PSNR and SSIM by set."""
PEERS_BICUBIC = {"Set5": (28.432, 0.8113), "Set14": (26.093, 0.7049), "BSD100": (25.963, 0.6682)}
PEERS_TIE = ("EDSR, 32 channels × 8 blocks", 171.36, 7.1)
"""The network of that run that ours is measured against: thousands of MAC per LR pixel, output MP/s there. It is base
×4 and one more convolution of 32 to 32 channels."""


def load(argument: str) -> tuple[str, SuperResolutionNet]:
    name, _, folder = argument.partition("=")
    if not folder:
        return name, pretrained.load(name)[0]
    return name, unpack_model({file: (Path(folder) / file).read_bytes() for file in (WEIGHTS_FILE, CARD)})[0]


def read_pairs(folder: Path, scale: int) -> dict[str, list[Pair]]:
    found = {}
    for name in SETS:
        files = [path for path in sorted((folder / name).iterdir()) if path.suffix.lower() in EXTENSIONS]
        named = [NamedImage(path.name, path.name, decode(path.read_bytes()).pixels) for path in files]
        # On luma throughout: the peers' gray images were, which adds 20·log10(255/219) = 1.32 dB to each of them.
        found[name] = [replace(pair, gray=False) for pair in make_pairs(named, Degradation(), scale)]
    return found


def quality(upscale: Upscaler, pairs: dict[str, list[Pair]], scale: int) -> Json:
    told = {}
    for name, each in pairs.items():
        scores = score(upscale, each, scale)
        psnr, ssim = (sum(getattr(one, what) for one in scores) / len(scores) for what in ("psnr", "ssim"))
        told[name] = (psnr, ssim)
    return told


def measure(models: Sequence[tuple[str, SuperResolutionNet]], benchmarks: Path, seconds: float) -> Json:
    scales = {net.architecture.scale for _, net in models}
    if len(scales) != 1:
        raise SystemExit(f"All models must be of one scale factor, found {sorted(scales)}.")
    (scale,) = scales
    pairs, lr = read_pairs(benchmarks, scale), torch.rand(1, 3, *SIZE)
    auto = resolve("auto", torch.device("cpu"))
    runs: dict[str, Upscaler] = {"bicubic": bicubic(scale), "tie": SuperResolutionNet(preset("base", scale)).eval()}
    for name, net in models:
        runs |= {f"{name} plain": net, f"{name} prepared": prepared(net)}
    took = in_turns({name: partial(run, lr) for name, run in runs.items()}, seconds * len(runs))
    speed = {name: SIZE[0] * SIZE[1] * scale**2 / each / 1e6 for name, each in took.items()}
    base = runs["tie"]
    assert isinstance(base, SuperResolutionNet)
    flops_here, flops_there = base.macs_per_lr_pixel() * speed["tie"], 1000 * PEERS_TIE[1] * PEERS_TIE[2]
    rows: list[Json] = [
        {
            "name": name,
            "ours": True,
            "kparams": sum(net.parameter_counts().values()) / 1000,
            "kmacs": net.macs_per_lr_pixel() / 1000,
            "mp_per_s": speed[f"{name} plain"],
            "mp_per_s_prepared": speed[f"{name} prepared"],
            "sets": quality(runs[f"{name} prepared"], pairs, scale),
            "set5_psnr_float32": mean_psnr(net, pairs["Set5"], scale),
        }
        for name, net in models
    ]
    told: Json = {"scale": scale, "precision_prepared": auto, "speed_ratio": flops_here / flops_there, "rows": rows}
    told["bicubic"] = {"mp_per_s": speed["bicubic"], "sets": quality(runs["bicubic"], pairs, scale)}
    if scale == 4:
        for name, (params, macs, there, sets) in PEERS.items():
            told["rows"].append(
                {"name": name, "ours": False, "kparams": params, "kmacs": macs, "sets": sets}
                | {"mp_per_s": there * told["speed_ratio"], "mp_per_s_there": there}
            )
    return told


# The table.


def describe(told: Json) -> str:
    scale, ratio = told["scale"], told["speed_ratio"]
    lines = [f"# Quality against cost, ×{scale}, {told['date']}", "", f"Command: `{told['command']}`", ""]
    lines += [f"- {name}: {value}" for name, value in told["environment"].items()]
    lines += [
        "",
        "PSNR in dB and SSIM on studio-range luma, of gray images too, border of r pixels left out, as the peers were "
        "scored (`rayscale evaluate` scores gray images on [0, 255]). MP/s: output megapixels per second on one "
        f"thread, LR 160×120, plain float32, and in brackets prepared ({told['precision_prepared']}), in which ours "
        "are scored.",
        "",
        "| model | parameters | MAC per LR pixel | MP/s | " + " | ".join(SETS) + " |",
        "|---|---:|---:|---:|---:|---:|---:|",
        f"| bicubic | – | – | {told['bicubic']['mp_per_s']:.3g} | {_sets(told['bicubic']['sets'])} |",
    ]
    for row in told["rows"]:
        name = f"**{row['name']}**" if row["ours"] else row["name"]
        speed = f"{row['mp_per_s']:.2f} ({row['mp_per_s_prepared']:.2f})" if row["ours"] else f"{row['mp_per_s']:.2f}†"
        lines.append(
            f"| {name} | {row['kparams']:.0f}k | {row['kmacs']:.0f}k | {speed} | {_sets(row['sets'])} |",
        )
    if scale == 4:
        ties = "; ".join(
            f"{name} {told['bicubic']['sets'][name][0]:.3f} here, {PEERS_BICUBIC[name][0]:.3f} there" for name in SETS
        )
        lines += [
            "",
            f"† {PEERS_SOURCE} Their speeds are multiplied by {ratio:.3f}: the arithmetic rate of base ×4 here over "
            f"that of {PEERS_TIE[0]} there ({PEERS_TIE[1]:.0f}k MAC, {PEERS_TIE[2]} MP/s). Bicubic's PSNR ties "
            f"the scores: {ties}.",
        ]
    return "\n".join(lines) + "\n"


def _sets(sets: Json) -> str:
    return " | ".join(f"{sets[name][0]:.2f} / {sets[name][1]:.4f}" for name in SETS)


# The figure.

OURS, PEER, GREY = "#c2410c", "#475569", "#94a3b8"


def draw(told: Json, file: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.2), sharey=True, layout="constrained")
    for axes, cost in ((left, "kmacs"), (right, "mp_per_s")):
        for row in told["rows"]:
            x, y = row[cost], row["sets"]["Set5"][0]
            if row["ours"] and cost == "mp_per_s":
                x = row["mp_per_s_prepared"]
                axes.plot([row["mp_per_s"], x], [y, y], color=OURS, linewidth=1.2, zorder=2)
                axes.scatter([row["mp_per_s"]], [y], facecolors="white", edgecolors=OURS, s=40, zorder=3)
            axes.scatter([x], [y], color=OURS if row["ours"] else PEER, s=64 if row["ours"] else 26, zorder=4)
        axes.set_xscale("log")
        axes.grid(alpha=0.25, which="major")
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    floor = told["bicubic"]["sets"]["Set5"][0]
    values = [row["sets"]["Set5"][0] for row in told["rows"]]
    near = min(values) - floor < 2 * (max(values) - min(values)) + 0.5
    if near:
        for axes in (left, right):
            axes.axhline(floor, color=GREY, linestyle="--", linewidth=1)
    left.set_xlabel("thousand multiply-accumulates per LR pixel")
    right.set_xlabel("output megapixels per second, one CPU thread")
    left.set_ylabel(f"PSNR in dB, Set5 ×{told['scale']}")
    left.margins(x=0.12, y=0.12)
    right.margins(x=0.12, y=0.12)
    notes = [f"bicubic: {floor:.2f} dB" + (" (dashed)" if near else "")]
    notes += [f"large dots: measured in this run; ring: plain float32, dot: {told['precision_prepared']}"]
    if told["scale"] == 4:
        notes += [f"small dots: measured elsewhere, speeds × {told['speed_ratio']:.2f} to this machine"]
    figure.supxlabel(";  ".join(notes), fontsize=9, color=PEER)
    figure.canvas.draw()
    for axes, cost in ((left, "kmacs"), (right, "mp_per_s")):
        label(axes, told["rows"], "mp_per_s_prepared" if cost == "mp_per_s" else cost, cost)
    figure.savefig(file.with_suffix(".svg"))
    figure.savefig(file.with_suffix(".png"), dpi=110)
    plt.close(figure)


def label(axes: Axes, rows: Sequence[Json], ours: str, theirs: str) -> None:
    """Writes each name at the place around its dot that is nearest and free of other names and dots."""
    dots = [(row[ours] if row["ours"] else row[theirs], row["sets"]["Set5"][0]) for row in rows]
    further = [(row["mp_per_s"], row["sets"]["Set5"][0]) for row in rows if row["ours"] and theirs == "mp_per_s"]
    centres = [axes.transData.transform(dot) for dot in [*dots, *further]]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in centres]
    frame = axes.get_window_extent()
    order = sorted(range(len(rows)), key=lambda place: not rows[place]["ours"])
    for place in order:
        row, (x, y) = rows[place], dots[place]
        weight, colour = ("bold", OURS) if row["ours"] else ("normal", PEER)
        text = axes.annotate(
            row["name"], (x, y), xytext=(0, 0), textcoords="offset points", fontsize=9, fontweight=weight, color=colour
        )
        text.set_horizontalalignment("center")
        text.set_verticalalignment("center")
        width, height = text.get_window_extent().width, text.get_window_extent().height
        best, least = (0.0, 0.0), math.inf
        for distance, angle in ((d, a) for d in (4, 9, 16, 26, 38, 52) for a in range(0, 360, 30)):
            across, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            shift = (across * (width / 2 + distance + 3), up * (height / 2 + distance + 3))
            middle = centres[place] + shift
            box = Bbox.from_bounds(middle[0] - width / 2, middle[1] - height / 2, width, height)
            overlaps = sum(box.padded(1).overlaps(other) for k, other in enumerate(taken) if k != place)
            outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
            penalty = 1000 * (overlaps + outside) + distance
            if penalty < least:
                best, least, chosen = shift, penalty, box
        taken.append(chosen)
        points = 72 / axes.figure.dpi
        text.set_position((best[0] * points, best[1] * points))
        if least % 1000 > 16:
            axes.annotate(
                "", (x, y), xytext=(best[0] * points * 0.75, best[1] * points * 0.75), textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6},
            )  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("models", nargs="+", help="packaged name, or NAME=FOLDER")
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder with Set5, Set14 and BSD100")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each speed measurement")
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [each.partition("=")[0] + ("=FOLDER" if "=" in each else "") for each in options.models]
    told: Json = {"date": today(), "environment": environment()}
    told["command"] = command("models.pareto", ["--benchmarks", "DATA/benchmarks", *names])
    told |= measure([load(each) for each in options.models], options.benchmarks, options.seconds)
    page = describe(told)
    draw(told, write_results(options.out, f"pareto-x{told['scale']}", CPUS, data=told, page=page))
    print(page)


if __name__ == "__main__":
    main()
