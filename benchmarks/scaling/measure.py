"""What RayScale's own code asks of S3 and of the head, counted on small real runs without Ray.

    eval "$(tests/services/start-s3.sh .services/s3)"
    python -m benchmarks.scaling.measure                     # 3 minutes

Every HTTP request of this process is counted, tries again included. Shards are of full size; images, scenes and
trainings are small, as requests do not depend on them. Costs of the head are processor time, or the median of three
suggestions. ``simulate`` reads the newest result.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import torch
from pyarrow import fs
from rich.console import Console
from torch.nn import functional

from benchmarks.common import scene_files
from benchmarks.common.arguments import add_out, command, make_parser
from benchmarks.common.environment import environment
from benchmarks.common.results import CPUS, today, write_results
from benchmarks.scaling import head
from benchmarks.scaling.costs import newest
from benchmarks.scaling.counting import Requests, counting
from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.run import upscale_archive
from orchestrator.archive.ledger.ledger import read_events
from orchestrator.archive.places.listing import list_archive
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.data.shard_reader import packed_files
from orchestrator.data.shards import build_shards
from orchestrator.data.train_stream import direct
from orchestrator.experiment.load import make_experiment
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile
from orchestrator.pipeline.demo import prepare_demo
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.runtime.node_check import check_nodes, look
from orchestrator.runtime.progress import Display
from orchestrator.runtime.task_runner import in_process
from trainables.images.codec import encode_png
from trainables.loops.optimizers import descend, make_optimizer
from trainables.loops.pretrain import History, checkpoint
from trainables.network.network import SuperResolutionNet, preset

TRIALS = (24, 50, 100, 200, 400)
"""Finished trials of a study whose next suggestion is timed."""

SCENES = 10_000
GPUS = 256


@contextmanager
def between(found: Requests) -> Iterator[Requests]:
    """The requests that are sent within the block."""
    before, own = found.copy(), Requests()
    yield own
    own.counts, own.sent, own.received = (found - before).counts, found.sent - before.sent, 0
    own.received = found.received - before.received


def shards(found: Requests, bucket: str) -> dict[str, Any]:
    """One pass over the training images of full-size shards, as a worker of pretraining reads them."""
    place, rng = Storage(f"{bucket}/shards"), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(560):
            (Path(folder) / f"{number:04d}.png").write_bytes(encode_png(rng.integers(0, 256, (256, 256, 3), np.uint8)))
        files = Storage.at(folder)
        build_shards([SourceFile(files, facts, facts.path, False) for facts in files.files()], {}, 32, place, "noise")
    parts = packed_files(place, "train")
    share = direct(place, 0, 1)
    with between(found) as pass_:
        images = sum(1 for _ in share())
    size = sum(part.bytes for part in parts)
    return {
        "files": len(parts),
        "images": images,
        "bytes": size,
        "per_file": pass_.per(len(parts)),
        "requests_per_MiB": sum(pass_.counts.values()) / (size / 2**20),
        "read_share": pass_.received / size,
    }


def checkpoints(found: Requests, bucket: str) -> dict[str, Any]:
    """A checkpoint of each network: its bytes, and the requests that store it and read it back, as Ray Train does."""
    told: dict[str, Any] = {}
    for name in ("tiny", "base", "large"):
        net = SuperResolutionNet(preset(name, 4))
        optimizer, schedule = make_optimizer(net, 1e-3, 10, "muon")
        lr, hr = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 64, 64)
        descend(net, functional.l1_loss(net(lr), hr), optimizer, schedule)
        files = checkpoint(net, optimizer, History(4000, [(step, 0.02) for step in range(50, 4001, 50)]))
        told[name] = {"bytes": sum(map(len, files.values()))}
        if name != "base":
            continue
        place = Storage(f"{bucket}/checkpoint")
        with tempfile.TemporaryDirectory() as folder:
            for file, data in files.items():
                (Path(folder) / file).write_bytes(data)
            with between(found) as stored:
                fs.copy_files(folder, place.path, fs.LocalFileSystem(), place.filesystem, use_threads=False)
        with tempfile.TemporaryDirectory() as folder, between(found) as read:
            fs.copy_files(place.path, folder, place.filesystem, fs.LocalFileSystem(), use_threads=False)
        told[name] |= {"stored": stored.per(1), "read": read.per(1)}
    return told


def experiment(found: Requests, bucket: str, work: Path) -> dict[str, Any]:
    """Requests of each stage of the smallest demo with its storage in a bucket, and of each further trial."""
    demo = prepare_demo(str(work / "demo"), "smallest", lambda line: None)
    settings = demo.dump() | {"storage": bucket, "name": "experiment", "root": demo.root}
    settings["targets"] = {"medical": settings["targets"]["medical"]}
    display, told = Display(Console(quiet=True)), {}

    def stage(name: str, trials: int) -> Requests:
        settings["search"] |= {"trials": trials}
        settled = make_experiment(settings, "benchmark")
        with between(found) as own:
            run_experiment(settled, preflight(settled), display, until=name, start=in_process)
        return own

    for name in ("shards", "pretrain", "search"):
        told[name] = stage(name, 3).per(1)
    told["per_trial"] = (stage("search", 9) - stage("search", 9)).per(6)
    return told


def archive(found: Requests, bucket: str, work: Path) -> dict[str, Any]:
    """Requests of each further scene of an archive in a bucket, and the ledger's columns and bytes of a scene."""
    scene_files.write_many(work / "scenes", 6, (64, 64))
    client, name = boto3.client("s3"), bucket.removeprefix("s3://")
    for path in sorted((work / "scenes").rglob("*.tif")):
        client.upload_file(str(path), name, f"scenes/{path.name}")
    scenes = list_archive(f"{bucket}/scenes", f"{bucket}/out").scenes
    each: list[Requests] = []
    for count in (2, len(scenes)):
        target = f"{bucket}/out-{count}"
        listed = [scene for scene in list_archive(f"{bucket}/scenes", target).scenes[:count]]
        with between(found) as own:
            upscale_archive(
                "base-x4", listed, target, SceneSettings(), Options(), lambda progress: None, start=in_process
            )
        each.append(own)
    more = each[1] - each[0]
    events = read_events(Storage(f"{bucket}/out-{len(scenes)}"))
    finished = [event for event in events if event["event"] == "scene"][-1]
    return {"run": each[0].per(1), "per_scene": more.per(len(scenes) - 2), "event": dict(finished)}


def preflights(found: Requests, bucket: str) -> dict[str, Any]:
    """The check of a node, and the driver's part of it for a cluster of one node."""
    place = Storage(f"{bucket}/check")
    place.child("driver").write_bytes(b"token")
    with between(found) as node:
        look(place.uri, "node", [], False)
    with in_process_runner() as runner, between(found) as whole:
        check_nodes(runner, Storage(bucket))
    return {"per_node": node.per(1), "driver": (whole - node).per(1)}


@contextmanager
def in_process_runner() -> Iterator[Any]:
    """A runner of this process."""
    from orchestrator.experiment.settings import Cluster

    with in_process(Cluster()) as runner:
        yield runner


OUTPUT_COLUMNS = (
    *("width", "height", "bands", "dtype", "tile", "halo", "normalisation", "band_map", "seconds", "valid_percent"),
    *("minimum", "maximum", "notes", "output_bytes", "sha256", "consistency"),
)


def head_costs(event: dict[str, Any]) -> dict[str, Any]:
    """Processor time and memory of the head for a scene, and seconds of a suggestion."""
    columns: Any = {name: event[name] for name in OUTPUT_COLUMNS if name in event}
    return {
        "driver_us_per_scene": head.driver_us(columns, SCENES, GPUS),
        "planning_per_scene": head.planning(columns, SCENES),
        "suggestion_s": {
            kind: {str(trials): head.suggestion_s(kind, trials) for trials in TRIALS} for kind in ("gp", "tpe")
        },
    }


PARTS = ("shards", "checkpoints", "experiment", "archive", "preflight", "head")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="others are kept of the newest result")
    add_out(parser)
    options = parser.parse_args()
    if not os.environ.get("AWS_ENDPOINT_URL"):
        parser.error("there is no S3 server in AWS_ENDPOINT_URL; tests/services/start-s3.sh starts one")
    torch.set_num_threads(1)
    bucket = f"scaling-{os.getpid()}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    told: dict[str, Any] = newest(options.out) if len(options.parts) < len(PARTS) else {}
    with tempfile.TemporaryDirectory() as work, counting() as found:
        place, folder = f"s3://{bucket}", Path(work)
        parts: dict[str, Callable[[], Any]] = {
            "shards": lambda: shards(found, place),
            "checkpoints": lambda: checkpoints(found, place),
            "experiment": lambda: experiment(found, place, folder),
            "archive": lambda: archive(found, place, folder),
            "preflight": lambda: preflights(found, place),
            "head": lambda: head_costs(told["archive"]["event"]),
        }
        for name in options.parts:
            measure = parts[name]
            start = time.perf_counter()
            told[name] = measure()
            print(f"{name}: {time.perf_counter() - start:.0f} s, {json.dumps(told[name])}", flush=True)
    result = {
        "date": today(),
        "command": command("scaling.measure"),
        "environment": environment("ray", "pyarrow", "optuna", "boto3"),
        "costs": told,
    }
    print(write_results(options.out, "cluster-costs", CPUS, data=result))


if __name__ == "__main__":
    main()
