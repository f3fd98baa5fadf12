"""The result as a markdown page; the JSON beside it holds the same numbers."""

from collections import Counter
from typing import Any

import numpy as np

from benchmarks.transfer.arms import FROM_INPUT, FROM_OUTPUT, INTERPOLATED, REGULARIZERS, ZERO_SHOT
from orchestrator.foundation.statistics import Interval

Json = dict[str, Any]


def describe(told: Json) -> str:
    """The page."""
    lines = [f"# Transfer methods, {told['date']}", "", f"Command: `{told['command']}`", ""]
    lines += [f"- {name}: {value}" for name, value in told["environment"].items()]
    lines += [
        f"- source model {told['model']}; {told['budget']}, LR patches of {told['lr_patch']}; seeds {told['seeds']}",
        f"- settings tried: {_grid(told['grid'])}",
        f"- {told['finished']} of {told['wanted']} combinations of domain and training scenes are finished; "
        f"{told['cpu_minutes']:.0f} CPU minutes of training",
        "",
        "Settings are chosen on validation scenes carved out of train/, with the first seed; then val/ is scored once. "
        "Gain: test PSNR over zero-shot in dB, mean of the seeds, 95 % bootstrap interval over scenes. Source: PSNR in "
        "dB on held-out source images under the source's own degradation. λ and depth as chosen.",
        "",
        *_summary(told),
    ]
    for entry in told["results"]:
        lines += _one(entry)
    return "\n".join(lines) + "\n"


def _grid(grid: Json) -> str:
    return "; ".join(f"{name.replace('_', ' ')} {', '.join(f'{v:g}' for v in values)}" for name, values in grid.items())


def _summary(told: Json) -> list[str]:
    """Means over what is finished: an arm counts everywhere or nowhere."""
    results = told["results"]
    if not results:
        return []
    lines = [
        "## Means over domains",
        "",
        "| arm | " + " | ".join(f"gain, {budget}" for budget in told["budgets"]) + " | source PSNR | CPU s, median |",
        "|---|" + "---:|" * (len(told["budgets"]) + 2),
    ]
    for arm in results[0]["arms"]:
        whole = [entry["arms"][arm] for entry in results if "test" in entry["arms"][arm]]
        cells = [_mean_gain(results, arm, budget) for budget in told["budgets"]]
        seconds = [each["training_cpu_s"] for each in whole if "training_cpu_s" in each]
        spent = f"{np.median(seconds):.1f}" if seconds and arm != INTERPOLATED else ""
        lines.append(f"| {arm} | {' | '.join(cells)} | {np.mean([e['source'] for e in whole]):.2f} | {spent} |")
    return [*lines, "", *_wins(results), ""]


def _mean_gain(results: list[Json], arm: str, budget: str) -> str:
    gains = [
        entry["arms"][arm]["test"] - entry["arms"][ZERO_SHOT]["test"]
        for entry in results
        if entry["budget"] == budget and "test" in entry["arms"][arm]
    ]
    return f"{np.mean(gains):+.3f} ({len(gains)})" if gains else ""


def _wins(results: list[Json]) -> list[str]:
    best = Counter(max(_scored(entry), key=lambda arm: entry["arms"][arm]["validation"]) for entry in results)
    told = ", ".join(f"{arm} {count}" for arm, count in best.most_common())
    return [f"Best on validation, of {len(results)}: {told}. In brackets: how many domains a mean is over."]


def _scored(entry: Json) -> list[str]:
    return [arm for arm, each in entry["arms"].items() if "validation" in each]


def _one(entry: Json) -> list[str]:
    lines = [
        f"## {entry['domain']}, {entry['budget']}",
        "",
        f"{entry['training_images']} training images of {entry['training_scenes']} scenes; "
        f"{entry['validation_images']} validation images of {entry['validation_scenes']}; test: {entry['images']} of "
        f"{entry['scenes']}, bicubic {entry['bicubic']['test']:.2f} dB; opened {entry['test_opened_at']}.",
        "",
        "| arm | learning rate | setting | validation | test | gain | | source |",
        "|---|---:|---|---:|---:|---:|---|---:|",
    ]
    for arm, each in entry["arms"].items():
        lines.append(f"| {arm} | {_setting(arm, each)} | {_scores(each)} |")
    return [*lines, ""]


def _setting(arm: str, each: Json) -> str:
    if "configuration" not in each:
        return " | "
    settings, told = each["configuration"], ""
    if arm in REGULARIZERS:
        told = f"λ {settings['lambda_']:g}"
    elif arm in (FROM_INPUT, FROM_OUTPUT):
        told = f"depth {settings['frozen_depth']}"
    elif arm == INTERPOLATED:
        told = "share " + ", ".join(f"{share:g}" for share in each["shares"])
    return f"{settings['learning_rate']:g} | {told}"


def _scores(each: Json) -> str:
    if "test" not in each:
        return "diverged | | | | "
    gain, verdict = "", ""
    if "gain" in each:
        interval = Interval(**each["gain"])
        gain, verdict = f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]", interval.verdict
    return f"{each['validation']:.3f} | {each['test']:.3f} | {gain} | {verdict} | {each['source']:.2f}"
