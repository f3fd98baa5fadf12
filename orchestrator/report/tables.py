"""A report as tables for a terminal and for Markdown, and the settings that it found as YAML."""

from collections.abc import Iterator
from typing import Any

import yaml
from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.foundation.vocabulary import ArmName
from orchestrator.report.schema import Arm, Configuration, Difference, DomainReport, Front, FrontPoint, Report
from orchestrator.report.verdicts import strongest_classical

AS_IT_IS = "use the source model as it is"
COMPARED: tuple[ArmName, ...] = ("zero_shot", "default")
"""What the answer is set against first."""

_SHADES = {"better": "green", "tie": "dim", "worse": "red", "too few scenes": "yellow"}
_YAML_HEADER = """\
# The best transfer configuration found for each domain, confirmed once on its locked test split.
# PSNR in dB; a gain is best minus baseline, mean over test images with its 95 % bootstrap interval over scenes.
"""


def terminal_table(report: Report) -> Table:
    """Builds a table with a row per domain that fits 100 columns; verdict sentences stand below it."""
    table = Table(
        title=Text(
            f"{report.experiment}: PSNR in dB on the locked test split, ×{report.scale}"
            + (", generated samples" if report.generated_samples else "")
        ),
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        caption_style="",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=0,
        leading=1,
    )
    table.add_column("domain", overflow="fold", style="bold")
    table.add_column("best\nsetting", overflow="fold", min_width=10, max_width=12)
    for heading in ("bicubic\nclassic.", "zero-\nshot", "scratch", "default", "best"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("zero-shot", "default"):
        table.add_column(f"best −\n{heading}", justify="right", no_wrap=True)
    verdicts = Text()
    for name, domain in report.domains.items():
        arms = (find_arm(domain, arm) for arm in ("zero_shot", "scratch", "default", "best"))
        plain = [arm for arm in (find_arm(domain, "bicubic"), strongest_classical(domain.arms)) if arm]
        table.add_row(
            Text(name),
            "\n".join(_settings(domain.configuration)),
            "\n".join(psnr(arm.psnr) for arm in plain),
            *(psnr(arm.psnr) if arm else "–" for arm in arms),
            *(_gain_cell(gain(domain, baseline)) for baseline in COMPARED),
        )
        verdicts.append(f"{name}: ", "bold").append(f"{domain.verdict}\n")
        for warning in domain.study.warnings if domain.study else ():
            verdicts.append(f"{warning}\n", "yellow")
        for flag in domain.flags:
            verdicts.append(f"{flag}\n", "bold red")
        for line in _front_lines(domain.front) if domain.front else ():
            verdicts.append(f"{line}\n")
        for remark in (*domain.remarks, *([domain.advice.sentence] if domain.advice else [])):
            verdicts.append(f"{remark}\n", "dim")
    for device in dict.fromkeys(domain.front.device for domain in report.domains.values() if domain.front):
        verdicts.append(f"MP/s of output on {device}.\n")
    if any(strongest_classical(domain.arms) for domain in report.domains.values()):
        verdicts.append("Below bicubic: of all baselines without a network, the best on validation. ")
    verdicts.append("[ , ] is the 95 % bootstrap interval over scenes of the mean paired difference over test images.")
    table.caption = verdicts
    return table


def markdown_table(report: Report) -> str:
    """Writes a Markdown table with a row per domain and arm, for a README or a log."""
    lines = [
        "| Domain | Arm | Test PSNR (dB) | Test SSIM | Best − arm (dB) | 95 % interval | Best is |",
        "| :--- | :--- | ---: | ---: | ---: | :---: | :--- |",
    ]
    for name, domain in report.domains.items():
        for arm in domain.arms:
            difference = gain(domain, arm.name)
            label = arm.label
            if arm.name == "best":
                label = f"**{label}** ({', '.join(_settings(domain.configuration))})"
            compared = ["", "", ""]
            if difference:
                compared = [signed(difference.mean), interval(difference), difference.verdict]
            cells = [name, label, psnr(arm.psnr), f"{arm.ssim:.4f}", *compared]
            lines.append("| " + " | ".join(_markdown(cell) for cell in cells) + " |")
        for cells in _front_rows(name, domain.front) if domain.front else ():
            lines.append("| " + " | ".join(_markdown(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _front_rows(name: str, front: Front) -> Iterator[list[str]]:
    """A row for each point of the front that was scored on test."""
    for point in front.points:
        if point.test_psnr is None or point.test_ssim is None:
            continue
        d = None if point.is_best else point.difference
        compared = [signed(d.mean), interval(d), d.verdict] if d else ["", "", ""]
        label = f"{_kept(front, point)}, {point.megapixels_per_second:.3g} MP/s"
        yield [name, label, psnr(point.test_psnr), f"{point.test_ssim:.4f}", *compared]


def _front_lines(front: Front) -> Iterator[str]:
    """Each point of the front of quality and speed in a line."""
    for point in front.points:
        told, d = f"{_kept(front, point)}: {point.megapixels_per_second:.3g} MP/s, ", point.difference
        if point.test_psnr is None:
            yield told + f"{psnr(point.search_psnr)} dB on validation, not scored on test"
        elif point.is_best or d is None:
            yield told + f"{psnr(point.test_psnr)} dB on test" + ", the answer" * point.is_best
        else:
            yield told + f"{psnr(point.test_psnr)} dB on test, best − this {signed(d.mean)} {interval(d)}, {d.verdict}"


def _kept(front: Front, point: FrontPoint) -> str:
    return f"{point.kept_blocks} of {front.blocks} blocks kept"


def best_yaml(report: Report) -> str:
    """Writes the configuration to use for each domain, with what backs it, as YAML."""
    domains = {}
    for name, domain in report.domains.items():
        found = domain.configuration
        entry: dict[str, Any] = {"fine_tune": found is not None}
        if found:
            entry["configuration"] = found.model_dump(exclude_none=True)
        entry |= {
            "space": domain.space,
            "model": domain.model,
            "test_psnr": best_arm(domain).psnr,
            "gains": {
                d.baseline: {"mean": d.mean, "low": d.low, "high": d.high, "scenes": d.scenes, "verdict": d.verdict}
                for d in gains(domain)
            },
            "trials": {
                "finished": sum(t.status == "finished" for t in domain.trials),
                "stopped": sum(t.status == "stopped" for t in domain.trials),
                "diverged": sum(t.status == "diverged" for t in domain.trials),
            },
            "verdict": domain.verdict,
            "flags": domain.flags,
        }
        if domain.interpolation and domain.interpolation.model:
            entry["averaged_with_source"] = {
                "share_of_tuned_weights": domain.interpolation.share,
                "model": domain.interpolation.model,
            }
        if domain.front:
            entry["front"] = _front_yaml(domain.front)
        domains[name] = entry
    contents = {
        "rayscale": report.rayscale,
        "experiment": report.experiment,
        "created": report.created,
        "generated_samples": report.generated_samples,
        "scale": report.scale,
        "domains": domains,
    }
    return _YAML_HEADER + yaml.safe_dump(contents, sort_keys=False, allow_unicode=True, width=110)


def _front_yaml(front: Front) -> dict[str, Any]:
    points = [
        {
            "kept_blocks": point.kept_blocks,
            "megapixels_per_second": point.megapixels_per_second,
            "configuration": point.configuration.model_dump(exclude_none=True),
            "test_psnr": point.test_psnr,
            "model": point.model,
        }
        for point in front.points
    ]
    return {"device": front.device, "points": points}


def best_arm(domain: DomainReport) -> Arm:
    """Returns the arm that the domain's answer stands for; every report has it."""
    return next(arm for arm in domain.arms if arm.name == "best")


def gain(domain: DomainReport, baseline: ArmName, metric: str = "psnr") -> Difference | None:
    """Returns the difference of the domain's best arm and a baseline, or None where none was taken."""
    return next((d for d in gains(domain, metric) if d.baseline == baseline), None)


def gains(domain: DomainReport, metric: str = "psnr") -> Iterator[Difference]:
    """Every difference of the domain's best arm and a baseline."""
    return (d for d in domain.differences if d.arm == "best" and d.metric == metric)


def find_arm(domain: DomainReport, name: ArmName) -> Arm | None:
    """The arm of that name, or None where the domain lacks it."""
    return next((arm for arm in domain.arms if arm.name == name), None)


def _gain_cell(difference: Difference | None) -> Text:
    """Three lines, because the longest verdict beside a number would not fit the table's width."""
    if difference is None:
        return Text("–")
    text = Text(f"{signed(difference.mean)}\n").append(difference.verdict, _SHADES[difference.verdict])
    return text.append(f"\n{interval(difference)}")


def _settings(configuration: Configuration | None) -> list[str]:
    if configuration is None:
        return [AS_IT_IS]
    return [
        f"lr {setting(configuration.learning_rate)}",
        f"λ {setting(configuration.lambda_)}",
        f"depth {configuration.frozen_depth}",
        *([] if configuration.kept_blocks is None else [f"blocks {configuration.kept_blocks}"]),
    ]


def setting(value: float) -> str:
    """Writes a setting with three digits: 0.00032 as 3.2e-4, but 0 as 0, which is a case of its own."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def psnr(value: float | None) -> str:
    """Two digits; a dash where there is none."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign."""
    return f"{value:+.{digits}f}".replace("-", "−")


def interval(difference: Difference) -> str:
    """Both ends of the interval, with the digits of its metric."""
    digits = 3 if difference.metric == "psnr" else 4
    return f"[{signed(difference.low, digits)}, {signed(difference.high, digits)}]"


def _markdown(text: str) -> str:
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return plain.replace("|", "\\|")
