"""Checks `rayscale plan` against the clock: python -m benchmarks.pipeline.plan_check.

Small experiments on generated images are planned and then run, each right after its plan, through the command line. A
row is a stage: predicted and real wall-clock seconds. `plan` measures the machine as it is at that moment: the load
beside each row says how quiet it was, and only a quiet machine's rows say how good the counting is.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common.arguments import add_out, make_parser
from benchmarks.common.results import CPUS, today, write_results
from orchestrator.pipeline.demo import prepare_demo

TARGETS = ("satellite", "surveillance")
LONGER = ["pretraining.steps=600", "finetuning.steps=120", "search.trials=6", "finetuning.evaluations=4"]


@dataclass(frozen=True, slots=True)
class Variant:
    """One experiment: what it is and how it differs from the smallest demo."""

    name: str
    what: str
    targets: tuple[str, ...] | None
    settings: list[str]


VARIANTS = (
    Variant("smallest", "the smallest demo: four domains, 3 trials of 12 steps", None, []),
    Variant("longer", "two domains, 6 trials of 120 steps, 600 steps of pretraining", TARGETS, LONGER),
    Variant(
        "extended", "the one before, finished, with 4 more trials a domain", TARGETS, [*LONGER, "search.trials=10"]
    ),
)


def check(variant: Variant, content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Plans and runs one experiment; seconds of every stage as predicted and as they were."""
    targets = {name: target for name, target in content["targets"].items() if name in (variant.targets or (name,))}
    name = "longer" if variant.name == "extended" else variant.name
    file = folder / f"{variant.name}.yaml"
    file.write_text(yaml.safe_dump(content | {"name": name, "targets": targets}), encoding="utf-8")
    settings = [word for setting in variant.settings for word in ("--set", setting)]
    load = [os.getloadavg()[0]]
    plan, planning = _command("plan", file, settings)
    load.append(os.getloadavg()[0])
    began = datetime.now(UTC)
    _, seconds = _command("run", file, settings)
    load.append(os.getloadavg()[0])
    real = _stage_seconds(Path(content["storage"]) / name, began)
    real["start"] = seconds - sum(real.values())
    rows = [
        (stage["stage"], stage["work"], stage["seconds"], real.get(stage["stage"], 0.0)) for stage in plan["stages"]
    ]
    return {
        "variant": variant.name,
        "what": variant.what,
        "rows": rows,
        "predicted": plan["seconds"],
        "real": seconds,
        "planning": planning,
        "load": load,
        "machine": plan["machine"],
    }


def _command(verb: str, file: Path, settings: list[str]) -> tuple[Any, float]:
    start = time.monotonic()
    command = [sys.executable, "-m", "orchestrator.cli.app", verb, str(file), "--json", *settings]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(told), time.monotonic() - start


def _stage_seconds(home: Path, began: datetime) -> dict[str, float]:
    """Of the stages that ran since; domains of one stage run side by side, sets of shards one after the other."""
    seconds: dict[str, float] = {}
    for file in sorted(home.rglob("stage.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        if datetime.fromisoformat(record["finished_at"]) < began.replace(microsecond=0):
            continue
        stage = record["stage"].partition(" ")[0]
        before = seconds.get(stage, 0.0)
        seconds[stage] = before + record["seconds"] if stage == "shards" else max(before, record["seconds"])
    return seconds


def describe(checks: list[dict[str, Any]]) -> str:
    lines = [f"# Plan against reality, {today()}", "", f"On {checks[0]['machine']}.", ""]
    for one in checks:
        load = ", ".join(f"{value:.1f}" for value in one["load"])
        lines += [f"## {one['variant']}", "", f"{one['what'][0].upper()}{one['what'][1:]}.", ""]
        lines += [f"Load before the plan, between, after the run: {load}. The plan took {one['planning']:.0f} s.", ""]
        lines += ["| stage | work | predicted s | real s | predicted / real |", "|---|---|---:|---:|---:|"]
        for stage, work, predicted, real in [*one["rows"], ("**whole run**", "", one["predicted"], one["real"])]:
            ratio = f"{predicted / real:.2f}" if real >= 1 else ""
            lines.append(f"| {stage} | {work} | {predicted:.1f} | {real:.1f} | {ratio} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=[variant.name for variant in VARIANTS], help="some of them")
    add_out(parser)
    options = parser.parse_args()
    chosen = [variant for variant in VARIANTS if variant.name in (options.only or (variant.name,))]
    with tempfile.TemporaryDirectory() as folder:
        content = prepare_demo(folder, "smallest", lambda line: print(line, file=sys.stderr)).dump()
        checks = []
        for variant in chosen:
            checks.append(check(variant, content, Path(folder)))
            print(describe(checks[-1:]), file=sys.stderr, flush=True)
    print(write_results(options.out, "plan", CPUS, page=describe(checks)))


if __name__ == "__main__":
    main()
