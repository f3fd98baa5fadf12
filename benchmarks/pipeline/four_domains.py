"""Times the full four-domain run and writes its table with all that is needed to repeat it.

    python -m benchmarks.pipeline.four_domains --root DATA --storage runs/benchmark
    python -m benchmarks.pipeline.four_domains --from report.json    # the page of a finished run

DATA holds natural/train, and train/ and val/ of medical/, satellite/, surveillance/ and art/, whose val/ is the test
split. Its manifest.csv has a row for each file, with columns `file` and `scene_group`.
Every further argument goes to `rayscale run`, such as --set search.trials=24.
"""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common.arguments import add_out, make_parser
from benchmarks.common.domain_images import DOMAINS, PAINTER
from benchmarks.common.environment import commit, cpu_model
from benchmarks.common.results import write_results
from benchmarks.pipeline.parts import parts_table, stage_minutes
from orchestrator.report.schema import Report
from orchestrator.report.tables import markdown_table

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "four-domains.yaml"

BY_TABLE = "{table: manifest.csv, scene_column: scene_group%s}"
WITHOUT_YEAR = f", pattern: '{PAINTER}'"
SPLITS = ["source.images=natural/train", "source.scenes=" + BY_TABLE % ""]
for domain in DOMAINS:
    SPLITS += [f"targets.{domain}.images={domain}/train", f"targets.{domain}.test_images={domain}/val"]
    SPLITS += [f"targets.{domain}.scenes=" + BY_TABLE % (WITHOUT_YEAR if domain == "art" else "")]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--root", help="folder or bucket of the images")
    parser.add_argument("--storage", help="folder or bucket of the artefacts")
    parser.add_argument("--from", dest="report", type=Path, help="report.json of a finished run, which is not repeated")
    parser.add_argument("--minutes", type=float, help="wall-clock minutes of that run, if known")
    add_out(parser)
    known, further = parser.parse_known_args()
    if known.report:
        report, minutes = Report.model_validate_json(known.report.read_bytes()), known.minutes
    elif known.root and known.storage:
        report, minutes = run(known.root, known.storage, further)
    else:
        parser.error("expected --root and --storage, or --from")
    cpus = report.environment["driver"].split()[0]
    print(write_results(known.out, "four-domains", f"{cpus}cpu", page=describe(report, minutes, further)))


def run(root: str, storage: str, further: list[str]) -> tuple[Report, float]:
    """Runs the experiment; returns its report, and wall-clock time in minutes.

    Raises:
        SystemExit: If the run fails, with its exit code; it has said why.
    """
    command = [sys.executable, "-m", "orchestrator.cli.app", "run", str(EXPERIMENT), "--json"]
    for setting in (f"root={root}", f"storage={storage}", *SPLITS):
        command += ["--set", setting]
    start = time.monotonic()
    done = subprocess.run(command + further, check=False, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.returncode)
    return Report.model_validate_json(done.stdout), (time.monotonic() - start) / 60


def describe(report: Report, minutes: float | None, further: list[str]) -> str:
    """The table with hardware, versions, seeds, times and command, and what each part is worth.

    Args:
        report: Of the run.
        minutes: Wall-clock time of the whole run; None if unknown.
        further: Arguments of `rayscale run`.
    """
    stages = "\n".join(f"| {name} | {seconds:.0f} |" for name, seconds in report.stage_seconds.items())
    longest = stage_minutes(report)
    by_stage = ", ".join(f"{stage} {spent:.1f}" for stage, spent in longest.items())
    whole = _whole(sum(longest.values()), minutes)
    versions = ", ".join(f"{name} {value}" for name, value in report.environment.items() if name != "driver")
    trials = {name: len(domain.trials) for name, domain in report.domains.items()}
    verdicts = "\n".join(f"- {name}: {domain.verdict}" for name, domain in report.domains.items())
    return f"""# Four domains, {report.created[:10]}

Command: `python -m benchmarks.pipeline.four_domains --root DATA {" ".join(["--storage DIR", *further])}`

- whole run: {whole}
- minutes by stage, those of its longest domain: {by_stage}
- hardware: {report.environment["driver"]}, {cpu_model()}; other work may have shared the cores
- versions: {versions}
- seeds of the confirmation: {report.seeds}; trials: {trials}
- commit: {commit()}

## What each part is worth

Gains of PSNR in dB, with the report's 95 % intervals over scenes and seeds where it has them. Those on validation are
of one training each, and the best of several is partly luck.

{parts_table(report)}
## All arms

{markdown_table(report)}
{verdicts}

| stage | seconds |
|---|---|
{stages}
"""


def _whole(stages: float, minutes: float | None) -> str:
    """Time of the run in words; a call that took less than its stages went on from an earlier one."""
    if minutes is None:
        return f"{stages:.1f} minutes in the stages below"
    if minutes < stages:
        return f"{stages:.1f} minutes in the stages below; it was interrupted, and the last call took {minutes:.1f}"
    return f"{minutes:.1f} minutes of wall-clock time"


if __name__ == "__main__":
    main()
