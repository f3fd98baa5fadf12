"""Times the full four-domain run and writes its table with all that is needed to repeat it.

    python -m benchmarks.pipeline.four_domains --root DATA --storage runs/benchmark

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
    parser.add_argument("--root", required=True, help="folder or bucket of the images")
    parser.add_argument("--storage", required=True, help="folder or bucket of the artefacts")
    add_out(parser)
    known, further = parser.parse_known_args()
    command = [sys.executable, "-m", "orchestrator.cli.app", "run", str(EXPERIMENT), "--json"]
    for setting in (f"root={known.root}", f"storage={known.storage}", *SPLITS):
        command += ["--set", setting]
    command += further
    start = time.monotonic()
    report = Report.model_validate_json(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    minutes = (time.monotonic() - start) / 60
    cpus = report.environment["driver"].split()[0]
    print(write_results(known.out, "four-domains", f"{cpus}cpu", page=describe(report, minutes, further)))


def describe(report: Report, minutes: float, further: list[str]) -> str:
    """The table with hardware, versions, seeds, times and command."""
    stages = "\n".join(f"| {name} | {seconds:.0f} |" for name, seconds in report.stage_seconds.items())
    versions = ", ".join(f"{name} {value}" for name, value in report.environment.items() if name != "driver")
    trials = {name: len(domain.trials) for name, domain in report.domains.items()}
    verdicts = "\n".join(f"- {name}: {domain.verdict}" for name, domain in report.domains.items())
    return f"""# Four domains, {report.created[:10]}

Command: `python -m benchmarks.pipeline.four_domains --root DATA {" ".join(["--storage DIR", *further])}`

- whole run: {minutes:.1f} minutes of wall-clock time
- hardware: {report.environment["driver"]}, {cpu_model()}; other work may have shared the cores
- versions: {versions}
- seeds of the confirmation: {report.seeds}; trials: {trials}
- commit: {commit()}

{markdown_table(report)}
{verdicts}

| stage | seconds |
|---|---|
{stages}
"""


if __name__ == "__main__":
    main()
