"""Times the full four-domain run and writes its table with all that is needed to repeat it.

    python benchmarks/four_domains.py --root DATA --storage runs/benchmark

DATA holds natural/train, and train/ and val/ of medical/, satellite/, surveillance/ and art/, whose val/ is the test
split. Its manifest.csv has a row for each file, with columns `file` and `scene_group`.
Every further argument goes to `rayscale run`, such as --set search.trials=24.
"""

import argparse
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from domain_images import DOMAINS, PAINTER

from orchestrator.report.schema import Report
from orchestrator.report.tables import markdown_table

HERE = Path(__file__).parent
EXPERIMENT = HERE.parent / "experiments" / "four-domains.yaml"

BY_TABLE = "{table: manifest.csv, scene_column: scene_group%s}"
WITHOUT_YEAR = f", pattern: '{PAINTER}'"
SPLITS = ["source.images=natural/train", "source.scenes=" + BY_TABLE % ""]
for domain in DOMAINS:
    SPLITS += [f"targets.{domain}.images={domain}/train", f"targets.{domain}.test_images={domain}/val"]
    SPLITS += [f"targets.{domain}.scenes=" + BY_TABLE % (WITHOUT_YEAR if domain == "art" else "")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder or bucket of the images")
    parser.add_argument("--storage", required=True, help="folder or bucket of the artefacts")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the written table")
    known, further = parser.parse_known_args()
    command = [sys.executable, "-m", "orchestrator.cli.app", "run", str(EXPERIMENT), "--json"]
    for setting in (f"root={known.root}", f"storage={known.storage}", *SPLITS):
        command += ["--set", setting]
    command += further
    start = time.monotonic()
    report = Report.model_validate_json(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    minutes = (time.monotonic() - start) / 60
    known.out.mkdir(exist_ok=True)
    cpus, day = report.environment["driver"].split()[0], datetime.now(UTC).date().isoformat()
    file = known.out / f"four-domains_{platform.machine()}-{cpus}cpu_{day}.md"
    file.write_text(describe(report, minutes, further), encoding="utf-8")
    print(file)


def describe(report: Report, minutes: float, further: list[str]) -> str:
    """The table with hardware, versions, seeds, times and command."""
    stages = "\n".join(f"| {name} | {seconds:.0f} |" for name, seconds in report.stage_seconds.items())
    versions = ", ".join(f"{name} {value}" for name, value in report.environment.items() if name != "driver")
    trials = {name: len(domain.trials) for name, domain in report.domains.items()}
    verdicts = "\n".join(f"- {name}: {domain.verdict}" for name, domain in report.domains.items())
    return f"""# Four domains, {report.created[:10]}

Command: `python benchmarks/four_domains.py --root DATA {" ".join(["--storage DIR", *further])}`

- whole run: {minutes:.1f} minutes of wall-clock time
- hardware: {report.environment["driver"]}, {_cpu_model()}; other work may have shared the cores
- versions: {versions}
- seeds of the confirmation: {report.seeds}; trials: {trials}
- commit: {_commit()}

{markdown_table(report)}
{verdicts}

| stage | seconds |
|---|---|
{stages}
"""


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def _commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
