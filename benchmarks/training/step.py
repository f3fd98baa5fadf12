"""What a training step costs, what Ray Train adds to it, and how fast a trained network upscales, on CPU cores.

    python -m benchmarks.training.step --images DATA/natural/train    # else generated samples; about 9 minutes
    python -m benchmarks.training.step --part parts                   # one part: train, parts, inference

`train`: the bare loop, Ray Train with one and with two workers, and two bare loops side by side, which is the most that
two workers could reach; each on one thread a process, with the same pool, settings and rhythm, alone, one after the
other, in several rounds. The processes measure themselves between two reports, so that start-up does not count.
`parts`: the step's parts, in each precision and memory layout, and torch.compile with its compile time.
`inference`: output pixels per second on one thread, eager and prepared, beside what one core can multiply at most;
freed memory is kept, as where archives are upscaled.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common.arguments import add_out, command, make_parser
from benchmarks.common.environment import environment
from benchmarks.common.image_folder import read_folder
from benchmarks.common.results import CPUS, today, write_results
from benchmarks.common.timing import in_turns
from trainables.degradation import Degradation
from trainables.images.patch_pool import PatchPool
from trainables.inference.allocator import keep_freed_memory
from trainables.inference.precision import resolve
from trainables.inference.prepare import prepared
from trainables.loops.optimizers import make_optimizer
from trainables.loops.pretrain import PretrainSettings, pretrain
from trainables.network.network import SuperResolutionNet, preset
from trainables.samples import write_samples

SELF = (sys.executable, "-m", "benchmarks.training.step")
SCALE, LR_PATCH, BATCH, POOL = 4, 32, 16, 500
STEPS, WARM = 20, 3
"""Steps between two reports of a training, and the reports before it is timed."""
LARGE = 500_000
"""MAC per LR pixel from which the larger tile is left out: it would take minutes."""
RUN_STEPS = 16_000
"""What a compile time is held against: the length of a source model's training."""
Json = dict[str, Any]


# Part train: each arm trains alone, arm after arm, several rounds, so that drifting speed meets all alike.

ARMS = {
    "bare": [("bare", "0")],
    "Ray Train, 1 worker": [("with_ray", "1")],
    "Ray Train, 2 workers": [("with_ray", "2")],
    "bare, 2 side by side": [("bare", "0"), ("bare", "1")],
}
"""The processes that are started for each arm."""


class Clock:
    """Called at each report of a training: writes what some reports took, once it has run warm.

    The training goes on, so that two of them train side by side for as long as either is timed.
    """

    def __init__(self, answer: Path, reports: int) -> None:
        self.answer, self.reports, self.seen = answer, reports, 0
        self.start = self.cpu = 0.0

    def __call__(self) -> None:
        self.seen += 1
        if self.seen == WARM:
            self.start, self.cpu = time.perf_counter(), time.process_time()
        if self.seen == WARM + self.reports:
            seconds, cpu = time.perf_counter() - self.start, time.process_time() - self.cpu
            told = {"steps_per_s": self.reports * STEPS / seconds, "cpu_per_wall": cpu / seconds}
            new = self.answer.with_suffix(".new")
            new.write_text(json.dumps(told))
            new.replace(self.answer)


def settings(batch: int, precision: str) -> PretrainSettings:
    return PretrainSettings(
        steps=10**6,
        batch=batch,
        learning_rate=1e-3,
        report_every=STEPS,
        checkpoint_every=10**9,
        seed=0,
        precision=precision,  # type: ignore[arg-type]
    )


def bare(number: str, folder: str, reports: int, batch: int, images: str, shards: str, precision: str) -> None:
    """The loop alone."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, clock = SuperResolutionNet(preset("base", SCALE)), Clock(Path(folder) / number, reports)
    with make_pool(Path(images)) as pool:
        pretrain(net, settings(batch, precision), pool, lambda step, loss, files: clock())


def make_pool(images: Path) -> PatchPool:
    return PatchPool(
        lambda: read_folder(images), scale=SCALE, lr_patch=LR_PATCH, degradation=Degradation(), seed=0, capacity=POOL
    )


def with_ray(workers: str, folder: str, reports: int, batch: int, images: str, shards: str, precision: str) -> None:
    """The loop as the project runs it: its own Ray, worker function, reading and share of the CPUs."""
    import ray.train
    from ray.train.torch import TorchTrainer

    from orchestrator.data.train_stream import Ingest
    from orchestrator.experiment.settings import Cluster
    from orchestrator.foundation.storage import Storage
    from orchestrator.runtime.on_ray.ray_session import connect
    from orchestrator.training import pretrain_worker, ray_train

    def loop(config: dict[str, Any]) -> None:
        clock = Clock(Path(folder) / str(ray.train.get_context().get_world_rank()), reports)

        def timed(net: Any, settings: Any, pool: Any, report: Callable[..., None], **further: Any) -> Any:
            def both(step: int, loss: float, files: Any) -> None:
                report(step, loss, files)
                clock()

            return pretrain(net, settings, pool, both, **further)

        pretrain_worker.__dict__["pretrain"] = timed
        ray_train.train_on_worker(config)

    # By default Ray's workers are nicer than other processes; the bare loop is not.
    os.environ.update({"RAY_worker_niceness": "0"})
    with connect(Cluster(address=None)) as runner:
        ingest, progress = Ingest(Storage.at(shards)), runner.progress()
        job = pretrain_worker.PretrainJob(
            preset("base", SCALE), settings(batch, precision), ingest, LR_PATCH, POOL, 1, progress
        )
        trainer = TorchTrainer(
            loop,
            train_loop_config={"job": job},
            scaling_config=ray.train.ScalingConfig(num_workers=int(workers)),
            run_config=ray.train.RunConfig(name=f"step-{workers}", storage_path=f"{folder}/ray"),
        )
        with ray_train.health_check_interval(job.settings.steps):
            trainer.fit()


def measure_train(images: Path, rounds: int, reports: int, batch: int, precision: str) -> Json:
    from orchestrator.data.shards import build_shards
    from orchestrator.foundation.storage import Storage
    from orchestrator.image_sets.set_files import SourceFile

    told: dict[str, list[Json]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as shards:
        source = Storage.at(str(images))
        files = [SourceFile(source, facts, facts.path, False) for facts in source.files()]
        build_shards(files, {}, 128, Storage.at(shards), "a benchmark's")
        for number in range(rounds):
            for arm in ARMS:
                processes = alone(arm, reports, batch, str(images), shards, precision)
                rate = batch * sum(process["steps_per_s"] for process in processes)
                cpu = statistics.mean(process["cpu_per_wall"] for process in processes)
                told[arm].append({"patches_per_s": rate, "cpu_per_wall": cpu})
                print(f"round {number + 1} of {rounds}: {arm} {rate:.1f} patches/s", file=sys.stderr, flush=True)
    return {"precision": precision, "batch": batch, "rounds": rounds, "reports": reports, "arms": told}


def alone(arm: str, reports: int, *further: Any) -> list[Json]:
    """What each training process of an arm told; nothing else of this script runs meanwhile."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        wanted = [[function, which, folder, reports, *further] for function, which in ARMS[arm]]
        running = [subprocess.Popen([*SELF, "--measure", json.dumps(each)]) for each in wanted]
        answers = [Path(folder) / str(number) for number in range(2 if "2" in arm else 1)]
        try:
            while not all(answer.exists() for answer in answers):
                if any(each.poll() is not None for each in running):
                    raise SystemExit("A training process failed; see above.")
                time.sleep(0.5)
            return [json.loads(answer.read_text()) for answer in answers]
        finally:
            for each in running:
                each.terminate()
            for each in running:
                each.wait()


# Part parts: one process, phase by phase.

PHASES = ("sample", "forward", "backward", "optimizer")
ROWS = (
    ("float32", "contiguous", "muon"),
    ("float32", "channels_last", "muon"),
    ("bfloat16", "contiguous", "muon"),
    ("bfloat16", "channels_last", "muon"),
    ("bfloat16", "channels_last", "adam"),
)


class Step:
    """One training step in four timed phases, as :func:`trainables.loops.pretrain.pretrain` takes it."""

    def __init__(self, pool: PatchPool, precision: str, layout: str, optimizer: str) -> None:
        torch.manual_seed(0)
        self.layout = getattr(torch, f"{layout}_format" if layout == "contiguous" else layout)
        self.net = SuperResolutionNet(preset("base", SCALE)).to(memory_format=self.layout)
        self.model: Callable[[Tensor], Tensor] = self.net
        self.pool, self.half = pool, precision == "bfloat16"
        self.optimizer, self.schedule = make_optimizer(self.net, 1e-3, 10**6, optimizer)  # type: ignore[arg-type]

    def __call__(self) -> list[float]:
        """Seconds of each phase."""
        times = [time.perf_counter()]
        lr, hr = self.pool.sample(BATCH)
        times.append(time.perf_counter())
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            output = self.model(lr.contiguous(memory_format=self.layout))
        loss = functional.l1_loss(output, hr)
        times.append(time.perf_counter())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        times.append(time.perf_counter())
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        times.append(time.perf_counter())
        return [b - a for a, b in itertools.pairwise(times)]


def measure_parts(images: Path, rounds: int, compile_too: bool = True) -> Json:
    """Rows in turns, so that whatever else the machine does meets all of them; medians over rounds."""
    torch.set_num_threads(1)
    pool = make_pool(images)
    steps = {row: Step(pool, *row) for row in ROWS}
    told: Json = {"macs_per_step": 3 * BATCH * LR_PATCH**2 * next(iter(steps.values())).net.macs_per_lr_pixel()}
    if compile_too:
        compiled = Step(pool, "bfloat16", "channels_last", "muon")
        with tempfile.TemporaryDirectory() as cache:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
            compiled.model = torch.compile(compiled.net)
            start = time.perf_counter()
            compiled()
            told["compile_s"] = time.perf_counter() - start
        steps[("bfloat16", "channels_last, compiled", "muon")] = compiled
    times: dict[Any, list[list[float]]] = {row: [] for row in steps}
    for number in range(rounds + 2):
        for row, step in steps.items():
            took = step()
            if number >= 2:
                times[row].append(took)
    pool.close()
    told["rows"] = []
    for row, all_times in times.items():
        medians = [1000 * statistics.median(column) for column in zip(*all_times, strict=True)]
        total = [1000 * sum(each) for each in all_times]
        told["rows"].append(
            dict(zip(("precision", "layout", "optimizer"), row, strict=True))
            | {"ms": dict(zip(PHASES, medians, strict=True))}
            | {"total_ms": statistics.median(total), "total_ms_range": [min(total), max(total)]}
        )
    return told


# Part inference.


def measure_inference(seconds: float, names: tuple[str, ...], sizes: tuple[tuple[int, int], ...]) -> Json:
    torch.set_num_threads(1)
    keep_freed_memory()
    told: Json = {"ceiling_gflops": ceilings(seconds), "rows": []}
    for name in names:
        for scale in (4, 2):
            torch.manual_seed(0)
            net = SuperResolutionNet(preset(name, scale)).eval()
            for parameter in net.generator.parameters():
                nn.init.normal_(parameter, std=0.01)
            ways: dict[str, Callable[[Tensor], Tensor]] = {"plain float32": net}
            ways |= {"prepared float32": prepared(net, "cpu", "float32")}
            ways |= {"prepared bfloat16": prepared(net, "cpu", "bfloat16")}
            for size in sizes if net.macs_per_lr_pixel() < LARGE else sizes[:1]:
                lr = torch.rand(1, 3, *size)
                took = in_turns({way: partial(run, lr) for way, run in ways.items()}, seconds)
                for way, each in took.items():
                    rate = scale**2 * size[0] * size[1] / each / 1e6
                    flops = 2 * net.macs_per_lr_pixel() * size[0] * size[1] / each / 1e9
                    row = {"net": name, "scale": scale, "lr": f"{size[1]}×{size[0]}", "way": way}
                    told["rows"].append(row | {"mp_per_s": rate, "gflops": flops})
                    print(told["rows"][-1], file=sys.stderr, flush=True)
    return told


def ceilings(seconds: float) -> Json:
    """GFLOP/s of one thread in its best call, each alone, by its own CPU time: matrix products and a convolution."""
    told = {}
    for name in ("float32", "bfloat16"):
        dtype = getattr(torch, name)
        left, right = torch.rand(512, 512, dtype=dtype), torch.rand(512, 512, dtype=dtype)
        conv = nn.Conv2d(64, 64, 3, padding=1, dtype=dtype).to(memory_format=torch.channels_last)
        patch = torch.rand(1, 64, 120, 160, dtype=dtype).contiguous(memory_format=torch.channels_last)
        told[name] = {
            "matmul": 2e-9 * 512**3 / best_cpu_seconds(partial(torch.matmul, left, right), seconds),
            "conv": 2e-9 * 9 * 64 * 64 * 120 * 160 / best_cpu_seconds(partial(conv, patch), seconds),
        }
    return told


def best_cpu_seconds(run: Callable[[], Tensor], seconds: float) -> float:
    times: list[float] = []
    with torch.inference_mode():
        while len(times) < 5 or sum(times) < seconds:
            start = time.thread_time()
            run()
            times.append(time.thread_time() - start)
    return min(times)


# What is written.


def describe(part: str, told: Json) -> str:
    lines = [f"# Step: {part}, {told['date']}", "", f"Command: `{told['command']}`", ""]
    lines += [f"- {name}: {value}" for name, value in told["environment"].items()]
    return "\n".join([*lines, "", *TABLES[part](told)]) + "\n"


def train_table(told: Json) -> list[str]:
    arms = {arm: [turn["patches_per_s"] for turn in each] for arm, each in told["arms"].items()}

    def ratio(arm: str, other: str, form: str) -> str:
        found = [a / b for a, b in zip(arms[arm], arms[other], strict=True)]
        low, middle, high = min(found), statistics.median(found), max(found)
        return f"{form % middle} ({form % low} to {form % high})"

    beside = {
        "Ray Train, 1 worker": f"{ratio('Ray Train, 1 worker', 'bare', '%.3f')} of bare",
        "Ray Train, 2 workers": f"{ratio('Ray Train, 2 workers', 'Ray Train, 1 worker', '%.2f')} of one worker",
        "bare, 2 side by side": f"{ratio('bare, 2 side by side', 'bare', '%.2f')} of bare",
    }
    lines = [
        f"base ×{SCALE}, {told['precision']}, {told['batch']} patches of LR {LR_PATCH}² per worker and step, Muon, "
        f"one thread a process. Each arm alone, {told['rounds']} rounds of {told['reports'] * STEPS} steps. Medians, "
        "and in brackets the lowest and the highest; ratios are of the same round. CPU/wall is the training processes' "
        "own time.",
        "",
        "| arm | patches/s | CPU/wall | ratio |",
        "|---|---:|---:|---:|",
    ]
    for arm, rates in arms.items():
        low, middle, high = min(rates), statistics.median(rates), max(rates)
        share = statistics.median(turn["cpu_per_wall"] for turn in told["arms"][arm])
        lines.append(f"| {arm} | {middle:.1f} ({low:.1f} to {high:.1f}) | {share:.2f} | {beside.get(arm, '')} |")
    return lines


def parts_table(told: Json) -> list[str]:
    lines = [
        f"base ×{SCALE}, {BATCH} patches of LR {LR_PATCH}², one thread; medians in ms, rows in turns. "
        "The optimizer's part holds the clipping of gradients.",
        "",
        f"| precision | layout | optimizer | {' | '.join(PHASES)} | step (range) | GFLOP/s |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in told["rows"]:
        phases = " | ".join(f"{row['ms'][phase]:.1f}" for phase in PHASES)
        rate = 2 * told["macs_per_step"] / row["total_ms"] / 1e6
        spread = f"{row['total_ms']:.1f} ({row['total_ms_range'][0]:.1f} to {row['total_ms_range'][1]:.1f})"
        lines.append(
            f"| {row['precision']} | {row['layout']} | {row['optimizer']} | {phases} | {spread} | {rate:.0f} |"
        )
    if "compile_s" in told:
        eager, fast = (told["rows"][place]["total_ms"] for place in (3, -1))
        saved = RUN_STEPS * (eager - fast) / 1000
        lines += [
            "",
            f"torch.compile took {told['compile_s']:.0f} s; over {RUN_STEPS} steps it saves {saved:.0f} s of "
            f"{RUN_STEPS * eager / 1000:.0f} s.",
        ]
    return lines


def inference_table(told: Json) -> list[str]:
    lines = [
        "One thread, medians. What it multiplies at most (best call, CPU time), GFLOP/s:",
        "",
        "| | matmul 512² | convolution 64→64, 160×120 |",
        "|---|---:|---:|",
    ]
    for precision, each in told["ceiling_gflops"].items():
        lines.append(f"| {precision} | " + " | ".join(f"{value:.0f}" for value in each.values()) + " |")
    lines += ["", "| net | scale | LR | way | output MP/s | GFLOP/s |", "|---|---:|---|---|---:|---:|"]
    for row in told["rows"]:
        cells = f"{row['net']} | ×{row['scale']} | {row['lr']} | {row['way']}"
        lines.append(f"| {cells} | {row['mp_per_s']:.2f} | {row['gflops']:.0f} |")
    return lines


TABLES = {"train": train_table, "parts": parts_table, "inference": inference_table}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=Path, help="folder of HR images; generated samples by default")
    parser.add_argument("--part", choices=tuple(TABLES), action="append", help="all by default")
    parser.add_argument("--trainings", type=int, default=3, help="of each arm of train")
    parser.add_argument("--reports", type=int, default=12, help=f"of {STEPS} steps that each of them is timed for")
    parser.add_argument("--batch", type=int, default=BATCH, help="patches of train per worker and step")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="of train")
    parser.add_argument("--rounds", type=int, default=15, help="timed steps of each row of parts")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement of inference")
    parser.add_argument("--nets", nargs="+", default=["tiny", "base", "large", "resnet18"], help="of inference")
    add_out(parser)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        function, *rest = json.loads(options.measure)
        (bare if function == "bare" else with_ray)(*rest)
        return
    with tempfile.TemporaryDirectory() as folder:
        images = options.images
        if images is None:
            images = Path(folder)
            write_samples(images, "natural", 48, 1, 0, (256, 256))
        for part in options.part or TABLES:
            told: Json = {"date": today(), "environment": environment()}
            told["command"] = command("training.step").replace(str(options.images), "DATA/natural/train")
            told |= measure(part, images, options)
            page = describe(part, told)
            write_results(options.out, f"step-{part}", CPUS, data=told, page=page)
            print(page, flush=True)


def measure(part: str, images: Path, options: argparse.Namespace) -> Json:
    if part == "train":
        precision = resolve(options.precision, torch.device("cpu"))
        return measure_train(images, options.trainings, options.reports, options.batch, precision)
    if part == "parts":
        return measure_parts(images, options.rounds)
    return measure_inference(options.seconds, tuple(options.nets), ((120, 160), (512, 512)))


if __name__ == "__main__":
    main()
