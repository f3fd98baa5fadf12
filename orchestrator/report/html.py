"""Turns a report into one web page.

Nothing is computed here that could change a conclusion: numbers, verdicts and sentences come from the report.
"""

from pathlib import Path
from statistics import fmean
from typing import get_args

from markupsafe import Markup

from orchestrator.confirm.record import Difference
from orchestrator.foundation.page import data_uri, page_environment
from orchestrator.foundation.vocabulary import STEPS, ArmName
from orchestrator.report import plots
from orchestrator.report.forgetting_plot import forgetting_plot
from orchestrator.report.schema import Arm, DomainReport, Report
from orchestrator.report.tables import (
    AS_IT_IS,
    COMPARED,
    best_yaml,
    find_arm,
    gain,
    gains,
    interval,
    psnr,
    setting,
    signed,
)
from orchestrator.report.verdicts import forgetting
from orchestrator.search.trial_record import TrialOrigin

SHOWN_SCENES = 12
"""Scenes with the largest losses that the page shows at once; the others can be opened."""


def render_html(report: Report, pictures: Path) -> str:
    """Renders the whole report as one page that needs no network and no other file.

    Args:
        report: What to show.
        pictures: The folder that the panels' files are in; a missing picture is named in its place.

    Returns:
        The page's HTML.
    """
    environment = page_environment(Path(__file__).parent / "templates")
    environment.filters.update(
        psnr=psnr,
        ssim="{:.4f}".format,
        signed=signed,
        interval=interval,
        setting=setting,
        rate=_rate,
        mean=_mean,
    )
    return environment.get_template("report.html.j2").render(
        report=report,
        domains=[_view(index, *item) for index, item in enumerate(report.domains.items(), 1)],
        arm_rows=_arm_rows(report),
        compared=COMPARED,
        picture=lambda file: _picture(pictures, file),
        loss_plot=Markup(plots.loss_curve(report.source.loss, "source-loss")) if report.source.loss else None,
        best_yaml=best_yaml(report),
        as_it_is=AS_IT_IS,
        shown_scenes=SHOWN_SCENES,
        mean=fmean,
    )


def _view(index: int, name: str, domain: DomainReport) -> dict[str, object]:
    """Derives the values that the page shows of a domain beside the report's own fields."""
    labels: dict[str, str] = {arm.name: arm.label for arm in domain.arms}
    rows: dict[str, dict[str, Difference]] = {}
    for d in domain.differences:
        title = f"{labels.get(d.arm, d.arm)} − {labels.get(d.baseline, d.baseline)}"
        rows.setdefault(title, {})[d.metric] = d
    drawn = [(title, row["psnr"]) for title, row in rows.items() if "psnr" in row]
    steps = [arm for arm in (find_arm(domain, name) for name in (*STEPS, "default", "interpolated")) if arm]
    key = f"domain-{index}"
    origins = [t.origin for t in domain.trials]
    return {
        "key": key,
        "name": name,
        "report": domain,
        "gains": list(gains(domain)),
        "differences": [{"title": title, "psnr": None, "ssim": None} | row for title, row in rows.items()],
        "compared": [arm for arm in domain.arms if domain.scenes and arm.name in domain.scenes[0].gains],
        "steps": [_step(domain, arm) for arm in steps],
        "winner": plots.winning_trial(domain),
        "origins": {origin: origins.count(origin) for origin in get_args(TrialOrigin)},
        "diverged": sum(t.status == "diverged" for t in domain.trials),
        "stopped": sum(t.status == "stopped" for t in domain.trials),
        "interval_plot": Markup(plots.interval_plot(domain, drawn, f"{key}-intervals")) if drawn else None,
        "history": Markup(plots.search_history(domain, f"{key}-history")),
        "curves": Markup(plots.learning_curves(domain, f"{key}-curves")),
        "front": Markup(plots.front_plot(domain, domain.front, f"{key}-front")) if domain.front else None,
        "forgetting": _forgetting(domain, f"{key}-forgetting"),
        "settings": [Markup(plots.setting_scatter(domain, setting, f"{key}-{setting}")) for setting in plots.SETTINGS],
    }


def _forgetting(domain: DomainReport, name: str) -> Markup | None:
    found = domain.forgetting
    return Markup(forgetting_plot(domain.space, found, name)) if found else None


def _step(domain: DomainReport, arm: Arm) -> dict[str, object]:
    """A row of the steps' table: the arm, its gain over the step before, and its forgetting."""
    chain = dict(zip(STEPS[1:], STEPS, strict=False)) | {"default": "zero_shot", "interpolated": "best"}
    before = chain.get(arm.name)
    found = (d for d in domain.differences if (d.arm, d.baseline, d.metric) == (arm.name, before, "psnr"))
    return {
        "arm": arm,
        "before": next((a.label for a in domain.arms if a.name == before), None),
        "added": next(found, None),
        "forgotten": forgetting(arm, domain.arms),
    }


def _arm_rows(report: Report) -> list[dict[str, object]]:
    """Rows of the overview: an arm's label and, for each domain, the arm and the best arm's gain over it."""
    labels: dict[ArmName, str] = {}
    for domain in report.domains.values():
        for arm in domain.arms:
            labels.setdefault(arm.name, arm.label)
    domains = report.domains.values()
    return [
        {
            "label": label,
            "arms": [find_arm(d, name) for d in domains],
            "gains": [gain(d, name) for d in domains],
        }
        for name, label in labels.items()
    ]


def _picture(folder: Path, file: str) -> str | None:
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return None
    return data_uri(path.read_bytes())


def _rate(speed: float | None) -> str:
    return "–" if speed is None else f"{speed:.3g}"


def _mean(difference: Difference) -> str:
    return signed(difference.mean, 3 if difference.metric == "psnr" else 4)
