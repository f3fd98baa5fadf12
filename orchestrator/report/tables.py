"""A report as a Markdown table, its best configurations as YAML, and the number formats of both."""

from collections.abc import Iterator

import yaml

from orchestrator.confirm.record import Difference
from orchestrator.foundation.vocabulary import ArmName
from orchestrator.report.finished_yaml import finished_yaml
from orchestrator.report.schema import Arm, DomainReport, Front, FrontPoint, Report
from trainables.loops.settings import TransferConfiguration

AS_IT_IS = "use the source model as it is"
COMPARED: tuple[ArmName, ...] = ("zero_shot", "default")
"""Baselines that the answer is compared with first."""

_YAML_HEADER = """\
# The best transfer configuration found for each domain, confirmed once on its locked test split.
# PSNR in dB; a gain is best minus baseline, mean over test images with its 95 % interval over scenes and seeds.
"""


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
                label = f"**{label}** ({', '.join(settings_of(domain.configuration))})"
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


def front_lines(front: Front) -> Iterator[str]:
    """Describes each point of the front of quality and speed in a line."""
    for point in front.points:
        line, d = f"{_kept(front, point)}: {point.megapixels_per_second:.3g} MP/s, ", point.difference
        if point.test_psnr is None:
            yield line + f"{psnr(point.search_psnr)} dB on validation, not scored on test"
        elif point.is_best or d is None:
            yield line + f"{psnr(point.test_psnr)} dB on test" + ", the answer" * point.is_best
        else:
            yield line + f"{psnr(point.test_psnr)} dB on test, best − this {signed(d.mean)} {interval(d)}, {d.verdict}"


def _kept(front: Front, point: FrontPoint) -> str:
    return f"{point.kept_blocks} of {front.blocks} blocks kept"


def best_yaml(report: Report) -> str:
    """Writes the best configuration of each domain, with the scores that support it, as YAML."""
    domains = {}
    for name, domain in report.domains.items():
        found = domain.configuration
        entry: dict[str, object] = {"fine_tune": found is not None}
        if found:
            entry["configuration"] = found.to_dict()
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
        entry |= finished_yaml(domain)
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


def _front_yaml(front: Front) -> dict[str, object]:
    points = [
        {
            "kept_blocks": point.kept_blocks,
            "megapixels_per_second": point.megapixels_per_second,
            "configuration": point.configuration.to_dict(),
            "test_psnr": point.test_psnr,
            "model": point.model,
        }
        for point in front.points
    ]
    return {"device": front.device, "points": points}


def best_arm(domain: DomainReport) -> Arm:
    """Returns the arm of the domain's best configuration; every report has it."""
    return next(arm for arm in domain.arms if arm.name == "best")


def gain(domain: DomainReport, baseline: ArmName, metric: str = "psnr") -> Difference | None:
    """Returns the difference of the domain's best arm and a baseline, or None if there is none."""
    return next((d for d in gains(domain, metric) if d.baseline == baseline), None)


def gains(domain: DomainReport, metric: str = "psnr") -> Iterator[Difference]:
    """Every difference of the domain's best arm and a baseline."""
    return (d for d in domain.differences if d.arm == "best" and d.metric == metric)


def find_arm(domain: DomainReport, name: ArmName) -> Arm | None:
    """The arm of that name, or None if the domain lacks it."""
    return next((arm for arm in domain.arms if arm.name == name), None)


def settings_of(configuration: TransferConfiguration | None) -> list[str]:
    """Writes each setting of a configuration, such as ``lr 3.2e-4``."""
    if configuration is None:
        return [AS_IT_IS]
    return [
        f"lr {setting(configuration.learning_rate)}",
        f"λ {setting(configuration.lambda_)}",
        f"depth {configuration.frozen_depth}",
        *([] if configuration.kept_blocks is None else [f"blocks {configuration.kept_blocks}"]),
    ]


def setting(value: float) -> str:
    """Writes a setting with three digits: 0.00032 as 3.2e-4, but exactly 0 as 0."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def psnr(value: float | None) -> str:
    """Writes PSNR with two digits; a dash for None."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def signed(value: float, digits: int = 3) -> str:
    """Writes a number with its sign."""
    return f"{value:+.{digits}f}".replace("-", "−")


def interval(difference: Difference) -> str:
    """Writes both ends of the interval, with the digits of its metric."""
    digits = 3 if difference.metric == "psnr" else 4
    return f"[{signed(difference.low, digits)}, {signed(difference.high, digits)}]"


def _markdown(text: str) -> str:
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return plain.replace("|", "\\|")
