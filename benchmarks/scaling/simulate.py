"""A large cluster on paper: what 256 GPUs ask of S3, of the head and of the ledger, and where each limit lies.

    python -m benchmarks.scaling.simulate                        # half a minute; no cluster, no network
    python -m benchmarks.scaling.simulate --gpus 1024 --scene-s 2

Costs are those that ``measure`` counted on the real code (the newest ``results/cluster-costs_*.json``), sizes and
intervals are the code's own constants and the experiment's defaults, and all else is an assumption of
:mod:`benchmarks.scaling.scenario`, each an argument. Pretraining, search and archive are simulated event by event, by
one seed; the rest is arithmetic.
"""

import argparse
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.common.arguments import add_out, command, make_parser
from benchmarks.common.environment import commit
from benchmarks.common.results import RESULTS, today, write_results
from benchmarks.scaling import events
from benchmarks.scaling.costs import newest
from benchmarks.scaling.events import KINDS
from benchmarks.scaling.scenario import (
    GIB,
    MIB,
    RAY_ACTORS,
    RAY_GROUPS,
    RAY_NODES,
    RAY_TASKS,
    S3_READS,
    S3_WRITES,
    Scenario,
)
from orchestrator.archive.ledger.ledger import MERGED_EVERY
from orchestrator.data.shards import FILE_BYTES, GROUP_BYTES
from orchestrator.experiment.settings import Finetuning, Pretraining
from orchestrator.runtime.progress import POLL_SECONDS

KEYS_PER_LIST = 1000
SIMULATED_SCENES = 100_000
MANIFEST_BYTES_PER_FILE = 330
ANSWERS_PER_S = 1 / POLL_SECONDS + 1


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table.

    Attributes:
        part: Part of the work.
        what: What is counted.
        load: How much there is.
        limit: What bounds it, with its number.
        setting: The setting that moves it.
    """

    part: str
    what: str
    load: str
    limit: str
    setting: str


def requests(costs: dict[str, float]) -> float:
    """All requests of a unit."""
    return sum(costs.get(kind, 0.0) for kind in KINDS)


def preflight_lines(scenario: Scenario, costs: dict[str, Any]) -> list[Line]:
    """The check of all nodes before work."""
    each, own = requests(costs["preflight"]["per_node"]), requests(costs["preflight"]["driver"])
    total = each * scenario.nodes + own
    return [
        Line(
            "preflight",
            "requests below `node-check-*`",
            f"{each:.0f} a node and {own:.0f} of the driver: {total:,.0f}, and one DELETE a node, within seconds",
            f"{S3_WRITES:,.0f} writes/s of a prefix: {S3_WRITES / 2:,.0f} nodes at once",
            "nodes; once a run",
        )
    ]


def pretraining_lines(scenario: Scenario, costs: dict[str, Any]) -> tuple[list[Line], dict[str, Any]]:
    """Reading of shards, checkpoints, and restarts."""
    read, defaults = events.reading(scenario), Pretraining()
    per_file = costs["shards"]["per_file"]
    files = scenario.shards_bytes / FILE_BYTES
    pass_requests = files * (per_file["HEAD"] + 2) + scenario.shards_bytes / GROUP_BYTES
    checkpoint = costs["checkpoints"]["base"]
    every_s = defaults.checkpoint_every * scenario.step_ms / 1000
    stall = requests(checkpoint["stored"]) * scenario.request_s
    again = events.restart(scenario, checkpoint)
    manifest = files * MANIFEST_BYTES_PER_FILE
    lines = [
        Line(
            "shards",
            "files, row groups, requests of a pass",
            f"{files:,.0f} files of {FILE_BYTES / MIB:.0f} MiB, {scenario.shards_bytes / GROUP_BYTES:,.0f} groups of "
            f"{GROUP_BYTES / MIB:.0f} MiB; {pass_requests:,.0f} requests (1 HEAD and 2 GET a file, 1 GET a group)",
            "none",
            "image files and scale alone; sizes are constants of `orchestrator.data.shards`",
        ),
        Line(
            "shards",
            "manifest, read by every worker",
            f"{manifest / MIB:,.0f} MiB for the files, and the names of all scenes, at the start",
            f"memory of a worker: {scenario.gpus_per_node} × {manifest * 8 / GIB:.1f} GiB a node as Python objects",
            "larger images per file; fewer scenes (a `scenes` pattern)",
        ),
        Line(
            "pretraining",
            "GET/s of `shards/SOURCE/train/` while pools fill",
            f"{read['fill_requests_per_s']:,.0f}/s and {read['fill_bytes_per_s'] / GIB:.1f} GiB/s for "
            f"{read['fill_s']:.0f} s",
            f"{S3_READS:,.0f} GET/s: {scenario.gpus * S3_READS / read['fill_requests_per_s']:,.0f} workers",
            "`pretraining.pool_images` for how long, `pretraining.workers` for how many",
        ),
        Line(
            "pretraining",
            "GET/s after that",
            f"{read['steady_requests_per_s']:,.0f}/s and {read['steady_bytes_per_s'] / GIB:.1f} GiB/s",
            f"{S3_READS:,.0f} GET/s: {scenario.gpus * S3_READS / read['steady_requests_per_s']:,.0f} workers",
            "`pretraining.batch`, `pretraining.workers`; 64 patches of each decoded image",
        ),
        Line(
            "checkpoints",
            "one for all workers, from rank 0",
            f"{checkpoint['bytes'] / MIB:.1f} MiB (`base`) every {every_s:.0f} s; all workers wait "
            f"{stall:.1f} s for it: {stall / (every_s + stall):.0%} of the time",
            "none of S3's; the waiting",
            "`pretraining.checkpoint_every`",
        ),
        Line(
            "checkpoints",
            "restart: all workers read the last one",
            f"{again['requests']:,.0f} requests and {again['bytes'] / GIB:.1f} GiB in {again['seconds']:.1f} s: "
            f"{again['requests_per_s']:,.0f}/s",
            f"{S3_READS:,.0f} reads/s: {scenario.gpus * S3_READS / again['requests_per_s']:,.0f} workers",
            "`pretraining.workers`; tries again smooth more",
        ),
    ]
    return lines, {"reading": read, "restart": again, "checkpoint_stall_s": stall}


def search_lines(scenario: Scenario, costs: dict[str, Any]) -> tuple[list[Line], dict[str, Any]]:
    """A study of many trials."""
    per_trial, lines, told = costs["experiment"]["per_trial"], [], {}
    for sampler, points in costs["head"]["suggestion_s"].items():
        found = told[sampler] = events.search(scenario, points, per_trial)
        lines.append(
            Line(
                "search",
                f"suggestions of `{sampler}`, one after the other on the head",
                f"the last of {scenario.trials:,} takes {found['last_suggestion_s']:.2f} s; {found['hours']:.1f} h in "
                f"all, GPUs busy {found['gpu_share']:.0%}",
                f"one process: {scenario.trial_s / found['last_suggestion_s']:.0f} trials at once at the end",
                "`search.sampler`, `search.trials`, `search.concurrent_trials`",
            )
        )
    lines.append(
        Line(
            "search",
            "requests of a trial",
            f"{requests(per_trial):.1f} ("
            + ", ".join(f"{per_trial[k]:.1f} {k}" for k in KINDS if k in per_trial)
            + ")",
            f"{S3_WRITES:,.0f} writes/s of a prefix: never near",
            "none needed",
        )
    )
    messages = 2 + 3 * Finetuning().evaluations
    rate = messages * scenario.gpus / scenario.trial_s + ANSWERS_PER_S
    lines.append(
        Line(
            "head",
            "messages to the progress actor",
            f"{messages} a trial: {rate:.0f}/s with {scenario.gpus} trials at once, {ANSWERS_PER_S:.0f}/s of them the "
            "display's; pretraining 2 every `report_every` steps, from rank 0",
            "thousands of calls/s of one actor",
            "`finetuning.evaluations`, `pretraining.report_every`",
        )
    )
    lines.append(
        Line(
            "head",
            "nodes, actors, tasks and placement groups of Ray",
            f"{scenario.nodes} nodes, up to {scenario.gpus + 10} actors and placement groups, "
            f"{2 * scenario.gpus + scenario.gpus} tasks",
            f"{RAY_NODES}+, {RAY_ACTORS:,}+ actors, {RAY_GROUPS:,}+ groups, {RAY_TASKS:,}+ tasks",
            "GPUs a node",
        )
    )
    return lines, told


def archive_lines(scenario: Scenario, costs: dict[str, Any]) -> tuple[list[Line], dict[str, Any]]:
    """Millions of scenes."""
    per_scene, head = costs["archive"]["per_scene"], costs["head"]
    planning, scene_us = head["planning_per_scene"], head["driver_us_per_scene"]
    part = min(scenario.scenes, SIMULATED_SCENES)
    found = events.archive(scenario, scene_us, planning["ledger_bytes"], part)
    rate = found["scenes_per_s"]
    head_rate = 1e6 / (scene_us + 3 * scenario.task_us)
    pages = 3 * scenario.scenes / KEYS_PER_LIST
    gib = scenario.scenes / GIB
    reads = per_scene.get("GET", 0) + per_scene.get("HEAD", 0) + per_scene.get("LIST", 0)
    writes = per_scene.get("PUT", 0) - per_scene.get("DELETE", 0)  # the ledger's small objects are removed again
    memory = planning["plan_bytes"] + planning["records_bytes"]
    return [
        Line(
            "archive",
            "scenes",
            f"{rate:.1f}/s, GPUs busy {found['gpu_share']:.0%}: {scenario.scenes / rate / 86400:.1f} days",
            f"driver: {head_rate:,.0f} scenes/s ({scene_us / 1000:.2f} ms and 3 tasks of Ray each): "
            f"{scenario.gpus / head_rate:.2f} s a scene on each of {scenario.gpus} GPUs",
            "several runs with `--side-by-side`, which share the scenes; larger scenes",
        ),
        Line(
            "archive",
            "requests and bytes of scenes",
            f"{reads * rate:,.0f} reads/s, {writes * rate:,.0f} writes/s; "
            f"{scenario.scene_bytes * rate / GIB:.1f} GiB/s in, {scenario.output_bytes * rate / GIB:.1f} GiB/s out",
            f"{S3_READS:,.0f} and {S3_WRITES:,.0f}/s of a prefix; "
            f"{scenario.nodes * scenario.node_bytes / GIB:.0f} GiB/s of all nodes' networks",
            "folders of outputs are prefixes, which S3 divides by itself",
        ),
        Line(
            "ledger",
            "growth",
            f"{planning['ledger_bytes']:,.0f} bytes a scene: {planning['ledger_bytes'] * gib:.1f} GiB; "
            f"{found['ledger_puts_per_scene']:.2f} PUT a scene, at most {found['ledger_writes_per_s_peak']:.0f} "
            "writes/s",
            f"{S3_WRITES:,.0f} writes/s; the driver waits for each",
            "none needed",
        ),
        Line(
            "ledger",
            "merges",
            f"one every {MERGED_EVERY} objects, {found['merges'] * scenario.scenes / part:,.0f} in all; the driver "
            f"waits {found['merge_s']:.0f} s for each",
            f"two scenes are ahead on each GPU: {2 * scenario.scene_s:.0f} s of work before it is idle",
            "larger scenes",
        ),
        Line(
            "archive",
            "start: lists of the archive and its outputs",
            f"{pages:,.0f} LIST of {KEYS_PER_LIST} keys one after the other (scenes, outputs and their items): "
            f"{pages * scenario.request_s / 60:.0f} min",
            "latency of S3",
            "parts of the archive as runs of their own (`OUTPUT/PART`)",
        ),
        Line(
            "archive",
            "start of a run that resumes: memory of the head",
            f"{memory:,.0f} bytes a scene: {memory * gib:.0f} GiB, and "
            f"{(planning['read_us'] + planning['plan_us']) * scenario.scenes / 6e7:.0f} min to read and plan",
            f"memory of the head: {64 * GIB / memory / 1e6:.1f} million scenes in 64 GiB",
            "parts of the archive as runs of their own; the head's memory",
        ),
    ], found


def simulated(scenario: Scenario, costs: dict[str, Any]) -> tuple[list[Line], dict[str, Any]]:
    """The whole table, and the numbers behind it."""
    pretraining, one = pretraining_lines(scenario, costs)
    search, two = search_lines(scenario, costs)
    archive, three = archive_lines(scenario, costs)
    return [*preflight_lines(scenario, costs), *pretraining, *search, *archive], one | {"search": two, "archive": three}


def page(result: dict[str, Any], lines: list[Line]) -> str:
    """The table as Markdown."""
    text = [f"# A large cluster, simulated, {result['date']}", "", f"Command: `{result['command']}`", ""]
    text += [f"Commit {result['commit']}. Assumptions:", ""]
    text += [f"- {name}: {value:g}" for name, value in result["scenario"].items()]
    text += ["", "| part | what | load | limit | setting |", "|---|---|---|---|---|"]
    text += ["| " + " | ".join(asdict(line).values()) + " |" for line in lines]
    return "\n".join(text) + "\n"


def scenario_of(options: argparse.Namespace) -> Scenario:
    """The scenario that the arguments name."""
    return Scenario(**{field.name: getattr(options, field.name) for field in fields(Scenario)})


def main() -> None:
    parser = make_parser(__doc__)
    for field in fields(Scenario):
        kind = type(field.default)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    parser.add_argument("--costs", type=Path, default=RESULTS, help="folder of the measured costs")
    add_out(parser)
    options = parser.parse_args()
    costs, scenario = newest(options.costs), scenario_of(options)
    if not costs:
        parser.error(f"there is no cluster-costs_*.json in {options.costs}; benchmarks.scaling.measure writes one")
    lines, numbers = simulated(scenario, costs)
    result = {
        "date": today(),
        "command": command("scaling.simulate"),
        "commit": commit(),
        "scenario": asdict(scenario),
        "numbers": numbers,
    }
    text = page(result, lines)
    write_results(options.out, "cluster-simulation", None, data=result, page=text)
    print(text)


if __name__ == "__main__":
    main()
