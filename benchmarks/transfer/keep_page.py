"""The benchmark of forgetting as a markdown page; the JSON beside it holds the same numbers."""

from typing import Any

from benchmarks.transfer.keep_judging import WISE_FT
from orchestrator.foundation.statistics import Interval

Json = dict[str, Any]


def describe(facts: Json) -> str:
    """The page."""
    lines = [f"# A limit on forgetting, {facts['date']}", "", f"Command: `{facts['command']}`", ""]
    lines += [f"- {name}: {value}" for name, value in facts["environment"].items()]
    lines += [
        f"- source model {facts['model']}; {facts['budget']}, LR patches of {facts['lr_patch']}; {facts['trials']} "
        f"trials per search, {facts['seeds']} fresh seeds; the source may lose {facts['keep_source']:g} dB",
        f"- {len(facts['results'])} of {facts['wanted']} domains are finished",
        "",
        "Everything is chosen on validation scenes carved out of train/ and on held-out source images; then val/ is "
        "scored once. Gain: test PSNR over zero-shot in dB, mean of the seeds. Over WiSE-FT: the same over the winner "
        "of the search without a limit, averaged with the source's weights up to the limit. 95 % intervals over "
        "scenes. Loss: source PSNR lost in dB, on the held-out images that the limit was set on, and on others that "
        "chose nothing. Share: of tuned weights in the average with the source's.",
        "",
    ]
    for entry in facts["results"]:
        lines += _domain(entry)
    return "\n".join(lines) + "\n"


def _domain(entry: Json) -> list[str]:
    scenes = entry["training_scenes"]
    lines = [
        f"## {entry['domain']}, {scenes} training scenes",
        "",
        f"Test: {entry['images']} images of {entry['scenes']} scenes, zero-shot {entry['zero_shot']:.2f} dB; opened "
        f"{entry['test_opened_at']}.",
        "",
        "| arm | learning rate | λ | depth | share | loss | loss, others | gain | over WiSE-FT | |",
        "|---|---:|---:|---:|---:|---:|---:|---|---|---|",
    ]
    for name, arm in entry["arms"].items():
        over = Interval(**arm["over_wise_ft"])
        verdict = "" if name == WISE_FT else over.verdict
        lines.append(
            f"| {name} | {_setting(arm)} | {arm['share']:g} | {_chosen_loss(arm):.2f} | "
            f"{arm['source_loss']:.2f} | "
            f"{_text(Interval(**arm['gain']))} | {'' if name == WISE_FT else _text(over)} | {verdict} |"
        )
    return [*lines, ""]


def _setting(arm: Json) -> str:
    settings = arm["configuration"]
    if settings is None:
        return "no feasible trial | | "
    return f"{settings['learning_rate']:.3g} | {settings['lambda_']:.2g} | {settings['frozen_depth']}"


def _chosen_loss(arm: Json) -> float:
    """Loss on the images of the choice; 0 of the source model as it is."""
    return next((loss for share, _, loss in arm["by_share"] if share == arm["share"]), 0.0)


def _text(interval: Interval) -> str:
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
