"""Turns a report into what people read: a web page, tables for terminal and Markdown, and ready settings.

Nothing is computed here that could change a conclusion: numbers, verdicts and sentences come from the report.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator import plots
from orchestrator.report import Arm, ArmName, Configuration, Difference, DomainReport, Report

AS_IT_IS = "use the source model as it is"
_ARMS: tuple[ArmName, ...] = ("bicubic", "zero_shot", "scratch", "default", "best")
_COMPARED: tuple[ArmName, ...] = ("zero_shot", "default")
_SHADES = {"better": "green", "tie": "dim", "worse": "red", "too few scenes": "yellow"}
_YAML_HEADER = """\
# The best transfer configuration found for each domain, confirmed once on its locked test split.
# PSNR in dB; a gain is best minus baseline, mean over test images with its 95 % bootstrap interval over scenes.
"""


def render_html(report: Report, pictures: Path) -> str:
    """Renders the whole report as one page that needs no network and no other file.

    Args:
        report: What to show.
        pictures: The folder that the panels' files are in; a missing picture is named in its place.

    Returns:
        The page's HTML.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        psnr=_psnr,
        ssim="{:.4f}".format,
        signed=_signed,
        interval=_interval,
        setting=_setting,
        duration=_duration,
        mean=_mean,
    )
    return environment.get_template("report.html.j2").render(
        report=report,
        domains=[_view(index, *item) for index, item in enumerate(report.domains.items(), 1)],
        arm_rows=_arm_rows(report),
        compared=_COMPARED,
        picture=lambda file: _data_uri(pictures, file),
        loss_plot=Markup(plots.loss_curve(report.source.loss, "source-loss")) if report.source.loss else None,
        best_yaml=best_yaml(report),
        as_it_is=AS_IT_IS,
        mean=fmean,
    )


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
    for heading in ("bicubic", "zero-\nshot", "scratch", "default", "best"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("zero-shot", "default"):
        table.add_column(f"best −\n{heading}", justify="right", no_wrap=True)
    verdicts = Text()
    for name, domain in report.domains.items():
        arms = (_arm(domain, arm) for arm in _ARMS)
        table.add_row(
            Text(name),
            "\n".join(_settings(domain.configuration)),
            *(_psnr(arm.psnr) if arm else "–" for arm in arms),
            *(_gain_cell(gain(domain, baseline)) for baseline in _COMPARED),
        )
        verdicts.append(f"{name}: ", "bold").append(f"{domain.verdict}\n")
        for warning in domain.study.warnings if domain.study else ():
            verdicts.append(f"  {warning}\n", "yellow")
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
                compared = [_signed(difference.mean), _interval(difference), difference.verdict]
            cells = [name, label, _psnr(arm.psnr), f"{arm.ssim:.4f}", *compared]
            lines.append("| " + " | ".join(_markdown(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def best_yaml(report: Report) -> str:
    """Writes the configuration to use for each domain, with what backs it, as YAML."""
    domains = {}
    for name, domain in report.domains.items():
        found = domain.configuration
        entry: dict[str, Any] = {"fine_tune": found is not None}
        if found:
            entry["configuration"] = found.model_dump()
        entry |= {
            "space": domain.space,
            "model": domain.model,
            "test_psnr": best_arm(domain).psnr,
            "gains": {
                d.baseline: {"mean": d.mean, "low": d.low, "high": d.high, "scenes": d.scenes, "verdict": d.verdict}
                for d in _gains(domain)
            },
            "trials": {
                "finished": sum(t.status == "finished" for t in domain.trials),
                "stopped": sum(t.status == "stopped" for t in domain.trials),
                "diverged": sum(t.status == "diverged" for t in domain.trials),
            },
            "verdict": domain.verdict,
        }
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


def best_arm(domain: DomainReport) -> Arm:
    """Returns the arm that the domain's answer stands for; every report has it."""
    return next(arm for arm in domain.arms if arm.name == "best")


def gain(domain: DomainReport, baseline: ArmName, metric: str = "psnr") -> Difference | None:
    """Returns the difference of the domain's best arm and a baseline, or None where none was taken."""
    return next((d for d in _gains(domain, metric) if d.baseline == baseline), None)


def _gains(domain: DomainReport, metric: str = "psnr") -> Iterator[Difference]:
    return (d for d in domain.differences if d.arm == "best" and d.metric == metric)


def _arm(domain: DomainReport, name: ArmName) -> Arm | None:
    return next((arm for arm in domain.arms if arm.name == name), None)


def _view(index: int, name: str, domain: DomainReport) -> dict[str, Any]:
    """Gathers what the page shows of a domain beside the report's own fields."""
    labels = {arm.name: arm.label for arm in domain.arms}
    rows: dict[str, dict[str, Any]] = {}
    for d in domain.differences:
        title = f"{labels.get(d.arm, d.arm)} − {labels.get(d.baseline, d.baseline)}"
        rows.setdefault(title, {"title": title, "psnr": None, "ssim": None})[d.metric] = d
    drawn = [(row["title"], row["psnr"]) for row in rows.values() if row["psnr"]]
    key = f"domain-{index}"
    origins = [t.origin for t in domain.trials]
    return {
        "key": key,
        "name": name,
        "report": domain,
        "gains": list(_gains(domain)),
        "differences": list(rows.values()),
        "winner": plots.winning_trial(domain),
        "origins": {origin: origins.count(origin) for origin in ("default", "advice", "start", "sibling", "sampler")},
        "diverged": sum(t.status == "diverged" for t in domain.trials),
        "stopped": sum(t.status == "stopped" for t in domain.trials),
        "interval_plot": Markup(plots.interval_plot(domain, drawn, f"{key}-intervals")) if drawn else None,
        "history": Markup(plots.search_history(domain, f"{key}-history")),
        "curves": Markup(plots.learning_curves(domain, f"{key}-curves")),
        "settings": [Markup(plots.setting_scatter(domain, setting, f"{key}-{setting}")) for setting in plots.SETTINGS],
    }


def _arm_rows(report: Report) -> list[dict[str, Any]]:
    """Lines up the arms of all domains: per arm its label and, for each domain, the arm and best's gain."""
    labels: dict[ArmName, str] = {}
    for domain in report.domains.values():
        for arm in domain.arms:
            labels.setdefault(arm.name, arm.label)
    domains = report.domains.values()
    return [
        {
            "label": label,
            "arms": [_arm(d, name) for d in domains],
            "gains": [gain(d, name) for d in domains],
        }
        for name, label in labels.items()
    ]


def _data_uri(folder: Path, file: str) -> str | None:
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return None
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _gain_cell(difference: Difference | None) -> Text:
    """Three lines, because the longest verdict beside a number would not fit the table's width."""
    if difference is None:
        return Text("–")
    text = Text(f"{_signed(difference.mean)}\n").append(difference.verdict, _SHADES[difference.verdict])
    return text.append(f"\n{_interval(difference)}")


def _settings(configuration: Configuration | None) -> list[str]:
    if configuration is None:
        return [AS_IT_IS]
    return [
        f"lr {_setting(configuration.learning_rate)}",
        f"λ {_setting(configuration.lambda_)}",
        f"depth {configuration.frozen_depth}",
    ]


def _setting(value: float) -> str:
    """Writes a setting with three digits: 0.00032 as 3.2e-4, but 0 as 0, which is a case of its own."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _psnr(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def _signed(value: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _mean(difference: Difference) -> str:
    return _signed(difference.mean, 3 if difference.metric == "psnr" else 4)


def _interval(difference: Difference) -> str:
    digits = 3 if difference.metric == "psnr" else 4
    return f"[{_signed(difference.low, digits)}, {_signed(difference.high, digits)}]"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min {rest:02} s"


def _markdown(text: str) -> str:
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return plain.replace("|", "\\|")
