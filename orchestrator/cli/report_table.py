"""The report's table on a terminal."""

from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.confirm.record import Difference
from orchestrator.foundation.vocabulary import Verdict
from orchestrator.report.schema import DomainReport, Report
from orchestrator.report.tables import COMPARED, find_arm, front_lines, gain, interval, psnr, settings_of, signed
from orchestrator.report.verdicts import strongest_classical

_SHADES: dict[Verdict, tuple[str, str]] = {
    "better": ("better", "green"),
    "no difference that matters": ("no difference\nthat matters", "dim"),
    "tie": ("tie", "dim"),
    "worse": ("worse", "red"),
    "too few scenes": ("too few scenes", "yellow"),
    "too few scenes to exclude rare harm": ("too few scenes to\nexclude rare harm", "yellow"),
}
"""A verdict as its cell has it, and its colour."""


SHOWN_REMARKS = 3
"""Remarks of a domain that the terminal shows, those that change a decision; the page has all."""


def terminal_table(report: Report, page: str = "index.html") -> Table:
    """Builds a table with a row per domain that fits 100 columns, with the verdicts in sentences below it.

    Args:
        report: What to show.
        page: Where the report's page lies, which has all remarks.
    """
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
            "\n".join(settings_of(domain.configuration)),
            "\n".join(psnr(arm.psnr) for arm in plain),
            *(psnr(arm.psnr) if arm else "–" for arm in arms),
            *(_gain_cell(gain(domain, baseline)) for baseline in COMPARED),
        )
        verdicts.append(f"{name}: ", "bold").append(f"{domain.verdict}\n")
        for warning in domain.study.warnings if domain.study else ():
            verdicts.append(f"{warning}\n", "yellow")
        for flag in domain.flags:
            verdicts.append(f"{flag}\n", "bold red")
        for line in front_lines(domain.front) if domain.front else ():
            verdicts.append(f"{line}\n")
        for remark in domain.remarks[:SHOWN_REMARKS]:
            verdicts.append(f"{remark}\n", "dim")
    if further := sum(map(_further_remarks, report.domains.values())):
        verdicts.append(f"{further} further {'remark' if further == 1 else 'remarks'}: {page}\n", "dim")
    for device in dict.fromkeys(domain.front.device for domain in report.domains.values() if domain.front):
        verdicts.append(f"MP/s of output on {device}.\n")
    if any(strongest_classical(domain.arms) for domain in report.domains.values()):
        verdicts.append("Below bicubic: of all baselines without a network, the best on validation. ")
    verdicts.append("[ , ] is the 95 % interval over scenes and seeds of the mean paired difference over test images.")
    table.caption = verdicts
    return table


def _further_remarks(domain: DomainReport) -> int:
    """Number of sentences on a domain that the page alone has."""
    return max(0, len(domain.remarks) - SHOWN_REMARKS) + sum(map(bool, (domain.advice, domain.search_worth)))


def _gain_cell(difference: Difference | None) -> Text:
    """A gain in lines, because a verdict beside its number would be too wide for the table."""
    if difference is None:
        return Text("–")
    text = Text(f"{signed(difference.mean)}\n").append(*_SHADES[difference.verdict])
    return text.append(f"\n{interval(difference)}")
