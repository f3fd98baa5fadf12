"""Output of the command line: results as tables and lines, JSON for scripts, and progress bars."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from orchestrator.foundation.quantities import duration, plural
from orchestrator.foundation.task_progress import CountCallback
from orchestrator.runtime.terminal import speaks_unicode
from trainables.errors import printable

if TYPE_CHECKING:
    from orchestrator.analysis.record import Analysis, SignalRecord
    from orchestrator.analysis.search_worth import SearchWorth
    from orchestrator.apply.adapt import AdaptResult
    from orchestrator.apply.export import ExportResult
    from orchestrator.data.manifest import Manifest
    from orchestrator.estimate.plan import Plan
    from orchestrator.experiment.settings import Experiment
    from orchestrator.finish.finetune_images import FinetuneResult
    from orchestrator.foundation.summaries import PassedOver, UpscaleSummary
    from orchestrator.report.schema import Report

_NARROWEST = 60
_OTHER_ARMS = ("bilinear", "lanczos")
_MEASURES = {
    "psnr": ("PSNR", "{:.2f}"),
    "ssim": ("SSIM", "{:.4f}"),
    "scc": ("SCC", "{:.4f}"),
    "sam": ("SAM °", "{:.3f}"),
    "ergas": ("ERGAS", "{:.3f}"),
}
"""Columns of tables of images that are no plain ones, by measure, and how its values are shown."""
_DOUBTS = {
    "too few scenes": ", on average: too few scenes to be sure",
    "too few scenes to exclude rare harm": ", on the scenes held out: too few to exclude rare harm",
}
_NAMED = 5
"""Most files passed over, such as links, that are listed one by one; ``--json`` has them all."""


def print_report(report: "Report", place: str, as_json: bool) -> None:
    """Prints the results and the next commands, or one JSON document."""
    from orchestrator.cli.report_table import terminal_table

    if as_json:
        print_json(json.loads(report.model_dump_json()))
        return
    wide_console().print(terminal_table(report, f"{place}/index.html"))
    for domain, reason in report.missing.items():
        print(f"{domain}: missing, it failed in {reason}.")
    print(f"\nReport: {place}/index.html (and report.json, best.yaml, table.md)")
    print("Next:")
    for command in report.next_commands:
        print(f"  {command}")


def print_upscaled(summary: "UpscaleSummary") -> None:
    """Prints the numbers of written, skipped and failed images, with notes and reasons."""
    print(f"{_images(summary['written'])} upscaled x{summary['scale']} with {summary['model']}, in {summary['output']}")
    if summary["skipped"]:
        print(f"{_images(summary['skipped'])} skipped: already there (--overwrite makes them again)")
    for note in summary["notes"]:
        print(f"{printable(note['file'])}: {note['note']}")
    for failure in summary["failed"]:
        print(f"failed: {printable(failure['file'])}: {failure['reason']}")
    if summary["failed"]:
        print(f"{_images(len(summary['failed']))} failed")
    print_passed_over(summary.get("passed_over"))


def print_passed_over(passed_over: "PassedOver | None") -> None:
    """Prints the files of INPUT that are not images to upscale."""
    if passed_over is None:
        return
    if passed_over["summary"]:
        print(f"passed over: {passed_over['summary']}")
    for entry in passed_over["files"][:_NAMED]:
        print(f"  {printable(entry['file'])}: {printable(entry['reason'])}")


def print_evaluation(evaluation: Any) -> None:
    """Prints a row for each set of plain images, and for each upscaler of a set of other images."""
    title = ", ".join(
        word for word in (evaluation["model"], f"x{evaluation['scale']}", evaluation["degradation"]) if word
    )
    title += ", self-ensemble" if evaluation["self_ensemble"] else ""
    plain = [image_set for image_set in evaluation["sets"] if not image_set.keys() & {"scenes", "protocol"}]
    scenes = [image_set for image_set in evaluation["sets"] if "scenes" in image_set]
    deep = [image_set for image_set in evaluation["sets"] if "protocol" in image_set]
    if plain:
        _print_plain_sets(title, plain)
    if scenes:
        _print_scene_sets(title, scenes)
    if deep:
        _print_deep_sets(title, deep)
    for image_set in evaluation["sets"]:
        for entry in image_set["skipped"]:
            print(f"left out of {image_set['name']}: {printable(entry['file'])}: {entry['reason']}")
        if image_set["passed_over"]["summary"]:
            print(f"passed over in {image_set['name']}: {image_set['passed_over']['summary']}")


def _print_plain_sets(title: str, sets: list[Any]) -> None:
    columns = ("images", "bicubic\nPSNR", "model\nPSNR", "bicubic\nSSIM", "model\nSSIM", "gain in dB, 95 % interval")
    table = Table("set", title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for image_set in sets:
        psnr, ssim = ([image_set[arm][metric] for arm in ("bicubic", "model")] for metric in ("psnr", "ssim"))
        cells = [*(f"{value:.2f}" for value in psnr), *(f"{value:.4f}" for value in ssim), _gain(image_set)]
        table.add_row(image_set["name"], str(image_set["images"]), *cells)
    wide_console().print(table)
    for image_set in sets:
        for arm in _OTHER_ARMS:
            if arm in image_set:
                print("{} by {}: {psnr:.2f} dB, {ssim:.4f}".format(image_set["name"], arm, **image_set[arm]))
        if "lpips" in image_set["model"]:
            values = (image_set[arm]["lpips"] for arm in ("bicubic", "model"))
            bicubic, model = ("none, too small" if value is None else f"{value:.4f}" for value in values)
            print(f"{image_set['name']}: LPIPS (AlexNet; 0 is equal) bicubic {bicubic}, model {model}")


def _print_scene_sets(title: str, sets: list[Any]) -> None:
    _print_by_upscaler(title, "scenes", sets, _MEASURES)
    for image_set in sets:
        print(f"{image_set['name']}: LR {image_set['lr']}; 0 and 1 are {' or '.join(image_set['normalisation'])}")
        if image_set["bands"] > 1:
            _print_bands(image_set)


def _print_deep_sets(title: str, sets: list[Any]) -> None:
    _print_by_upscaler(title, "images", sets, {name: shown for name, shown in _MEASURES.items() if name != "scc"})
    for image_set in sets:
        print(f"{image_set['name']}: {image_set['protocol']}; LR by {image_set['degradation']}")
        for note in image_set["notes"]:
            print(note)
        if len(image_set["bands"]) > 1:
            _print_bands(image_set)


def _print_by_upscaler(title: str, of: str, sets: list[Any], measures: dict[str, tuple[str, str]]) -> None:
    table = Table("set", title=title, title_justify="left")
    for column in (of, "by", *(column for column, _ in measures.values()), "gain in dB,\n95 % interval"):
        table.add_column(column, justify="left" if column == "by" else "right", no_wrap=True)
    for image_set in sets:
        for arm in ("bicubic", *_OTHER_ARMS, "model"):
            if arm in image_set:
                cells = [
                    "" if image_set[arm][name] is None else form.format(image_set[arm][name])
                    for name, (_, form) in measures.items()
                ]
                first = [image_set["name"], str(image_set["images"])] if arm == "bicubic" else ["", ""]
                table.add_row(*first, arm, *cells, _gain(image_set) if arm == "model" else "")
    wide_console().print(table)


def _print_bands(image_set: Any) -> None:
    for arm in ("bicubic", "model"):
        bands = ", ".join("none" if band is None else f"{band:.2f}" for band in image_set[arm]["psnr_by_band"])
        print(f"{image_set['name']}: PSNR by band, {arm}: {bands}")


def _gain(image_set: Any) -> str:
    return "{mean:+.2f} [{low:+.2f}, {high:+.2f}]".format(**image_set["gain"])


def print_adaptation(result: "AdaptResult", images: str) -> None:
    """Prints the scores of adapted and source model on held-out cross-scale pairs, and whether it was worth it."""
    print(f"{result['model']}, x{result['scale']}, adapted to {_images(result['images'])} ({result['space']}, no HR)")
    print(
        "{bicubic:.2f} dB bicubic, {source:.2f} dB as it was, {adapted:.2f} dB adapted".format(**result["psnr"]), end=""
    )
    print(f": PSNR on cross-scale pairs of {_images(result['held_out'])} held out")
    if "values" in result:
        print(f"Values: {result['values']}; PSNR is the mean over bands, on that range.")
    interval = "{mean:+.2f} dB [{low:+.2f}, {high:+.2f}]".format(**result["gain"])
    if result["worth_it"]:
        doubt = _DOUBTS.get(result["verdict"], "")
        print(f"Worth it: {interval}{doubt}. What it brings at the images' own scale cannot be measured without HR.")
    else:
        print(f"Not worth it: {interval}, so upscale with {result['model']} as it is.")
    if result["written"]:
        print(f"Model: {result['output']}")
        print(f"Next:\n  rayscale upscale {images} upscaled --model {result['output']}")
    else:
        print("Nothing was written (--keep writes it all the same).")
    for note in result["notes"]:
        print(note)
    for entry in result["skipped"]:
        print(f"left out: {printable(entry['file'])}: {entry['reason']}")
    print_passed_over(result.get("passed_over"))


def print_finetuning(result: "FinetuneResult", images: str) -> None:
    """Prints the scores of fine-tuned and source model on validation images, and where the model is."""
    settings = ", ".join(f"{name} {value:g}" for name, value in result["configuration"].items())
    print(
        f"{result['model']}, x{result['scale']}, fine-tuned to {_images(result['images'])} as '{result['domain']}' of "
        f"{result['best']} ({settings}, {result['steps']} steps)"
    )
    print("{bicubic:.2f} dB bicubic, {source:.2f} dB as it was, {finetuned:.2f} dB fine-tuned".format(**result["psnr"]))
    interval = "{mean:+.2f} dB [{low:+.2f}, {high:+.2f}]".format(**result["gain"])
    print(f"Gain: {interval} ({result['verdict']}), PSNR on {_images(result['validation_images'])} for validation")
    if "values" in result:
        print(f"Values: {result['values']}; PSNR is the mean over bands, on that range.")
    if not result["worth_it"]:
        print(f"No gain is shown: {result['model']} as it is may be as good.")
    for note in result["notes"]:
        print(note)
    for entry in result["skipped"]:
        print(f"left out: {printable(entry['file'])}: {entry['reason']}")
    print(f"Model: {result['output']}")
    print(f"Next:\n  rayscale upscale {images} upscaled --model {result['output']}")


def print_export(result: "ExportResult") -> None:
    """Prints where the file is, how far it is from torch, and how long both take."""
    latency = result["latency"]
    print(
        f"{result['model']}, x{result['scale']}, {plural(result['bands'], 'band')}: {result['output']} "
        f"({result['bytes'] / 1e6:.1f} MB, opset {result['opset']})"
    )
    print(f"Halo of tiles: {result['halo']} LR pixels")
    print(f"Largest difference from torch: {result['largest_difference']:.1g}, where black to white is 1")
    print(
        f"{latency['height']}×{latency['width']} LR pixels on one thread: {latency['onnxruntime_ms']:.0f} ms with ONNX "
        f"Runtime, {latency['torch_ms']:.0f} ms with torch ({latency['processor']})"
    )


def print_analysis(analysis: "Analysis") -> None:
    """Prints the distances of every target, similarity by block, and the advice."""
    source = analysis["source"]
    print(f"{analysis['model']}, x{analysis['scale']}; source: {source['images_from']}, {source['degradation']}")
    columns = ("images /\nscenes", "Fréchet\n/ floor", "content\nalone", "MMD²\n(floor)", "proxy A\n(floor)")
    table = Table("domain", title="Distance from the source", title_justify="left")
    for column in (*columns, "spectral\nslope", "noise,\n8 bits"):
        table.add_column(column, no_wrap=True)
    table.add_row("source", _counts(source), "1", "1", "", "", _slope(source), _noise(source))
    for name, domain in analysis["targets"].items():
        distance = "{value:.1f}\n[{low:.1f}, {high:.1f}]".format(**domain["frechet_over_floor"])
        others = ("{value:.3f}\n({floor:.3f})".format(**distance) for distance in (domain["mmd"], domain["proxy_a"]))
        content, noise = f"{domain['content_frechet_over_floor']:.1f}", _noise(domain)
        table.add_row(name, _counts(domain), distance, content, *others, _slope(domain), noise)
    wide_console().print(table)
    for name, domain in analysis["targets"].items():
        if "values" in domain:
            print(f"{name}: {domain['values']}")
    blocks = Table("CKA after", *analysis["targets"], title="Linear CKA", title_justify="left")
    for number, block in enumerate(analysis["blocks"]):
        estimates = (domain["per_block"][number]["cka"] for domain in analysis["targets"].values())
        blocks.add_row(block, *("{value:.2f} [{low:.2f}, {high:.2f}]".format(**cka) for cka in estimates))
    wide_console().print(blocks)
    print("Advice: hypotheses from other networks, to be tried and not to be trusted (docs/analysis.md):")
    for name, domain in analysis["targets"].items():
        advice = domain["advice"]
        if advice is None:
            continue
        low, high = advice["frozen_depth"]
        print(f"{name}: {advice['reason']}; frozen depth {low} to {high} first; try")
        for point in advice["points"]:
            print("  lr {learning_rate:g}, λ {lambda_:g}, depth {frozen_depth}".format(**point))
    print("What a search is worth (docs/analysis.md):")
    targets = analysis["targets"].items()
    print_search_worth({name: domain["search_worth"] for name, domain in targets if "search_worth" in domain})


def _counts(signal: "SignalRecord") -> str:
    return f"{signal['images']} / {signal['scenes']}"


def _noise(signal: "SignalRecord") -> str:
    return f"{signal['noise']['mean']:.2f}" if signal["noise"] else "none"


def _slope(signal: "SignalRecord") -> str:
    slope = signal["spectral_slope"]
    return f"{slope['mean']:.2f} ± {slope['spread']:.2f}" if slope else "none"


def print_plan(experiment: "Experiment", plan: "Plan") -> None:
    """Prints the estimate of `rayscale plan`."""
    table = Table("stage", "work", "uses", "time", title=f"{experiment.name} → {experiment.home.uri}")
    for stage in plan.stages:
        table.add_row(stage.stage, stage.work, stage.uses, duration(stage.seconds) if stage.known else "unknown")
    wide_console().print(table)
    low, high = plan.seconds_range
    where = experiment.cluster.address or "a Ray of its own on this machine"
    print(f"{sum(plan.images.values())} images: {', '.join(f'{n} {name}' for name, n in plan.images.items())}")
    steps = ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in plan.step_seconds.items())
    print(f"On {where}, {plan.slots} trials at once. Measured here, on {plan.rates.machine}: ms a step: {steps}.")
    if plan.unknown:
        print(
            f"The time of {', '.join(plan.unknown)} is unknown: this machine lacks the GPUs for it. Run `rayscale "
            "plan` on a machine with the GPUs of the cluster to estimate it. The rest:"
        )
    print(f"Time: {duration(plan.seconds)}, give or take 30 %: {duration(low)} to {duration(high)}.")
    if plan.cost_range is None:
        print("Cost: set cluster.price_per_hour for an estimate.")
    else:
        print(f"Cost: {plan.cost_range[0]:.2f} to {plan.cost_range[1]:.2f} at {plan.price_per_hour:g} an hour.")
    for line in plan.not_used:
        print(line)
    print_search_worth(plan.search_worth)
    print("Nothing is missing.")


def print_search_worth(predicted: "Mapping[str, SearchWorth]") -> None:
    """Prints what a search of each target is predicted to be worth, and the evidence once."""
    for name, worth in predicted.items():
        print(f"{name}: {worth['sentences'][0]}")
    if predicted:
        print(next(iter(predicted.values()))["sentences"][1])


def print_shards(place: str, manifest: "Manifest", locked_test: "Manifest | None") -> None:
    """Prints the content of shards by split, and the files that were left out."""
    table = Table("split", "images", "scenes", "megapixels", "files", title=place)
    for shown in (manifest, locked_test) if locked_test else (manifest,):
        for split, count in shown["images"].items():
            files = sum(part["split"] == split for part in shown["files"])
            name = f"{split} (locked)" if shown is locked_test else split
            megapixels, scenes = shown["pixels"][split] / 1e6, len(shown["scenes"][split])
            table.add_row(name, str(count), str(scenes), f"{megapixels:.1f}", str(files))
    wide_console().print(table)
    for entry in manifest["skipped"]:
        print(f"left out: {entry['file']}: {entry['reason']}")


def print_json(value: object) -> None:
    """Prints one JSON document for scripts."""
    print(json.dumps(value, indent=2, ensure_ascii=not speaks_unicode()))


@contextmanager
def counter(word: str, unit: str = "image") -> Iterator[CountCallback]:
    """Shows a bar on a terminal and a line every half minute in a log; yields a callback of (done, all)."""
    from orchestrator.runtime.progress import Display

    with Display(Console(stderr=True)).line() as show:
        yield lambda done, of: show(done, of, f"{done} of {plural(of, unit)} {word}")


def _images(count: int) -> str:
    return plural(count, "image")


def wide_console() -> Console:
    """A console at least 100 columns wide, except on narrow terminals: logs have no width, some terminals report 0."""
    console = Console()
    return console if console.is_terminal and console.width >= _NARROWEST else Console(width=100)
