"""Times the full four-domain run and writes its table with all that is needed to repeat it.

    python benchmarks/four_domains.py --root DATA --storage runs/benchmark

DATA holds natural/, medical/, satellite/, surveillance/ and art/ as experiments/four-domains.yaml names them, with
manifest.csv. Every further argument goes to `rayscale run`, such as --set search.trials=24.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
EXPERIMENT = HERE.parent / "experiments" / "four-domains.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder or bucket of the images")
    parser.add_argument("--storage", required=True, help="folder or bucket of the artefacts")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the written table")
    known, further = parser.parse_known_args()
    settings = ["--set", f"root={known.root}", "--set", f"storage={known.storage}", *further]
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(EXPERIMENT), *settings, "--json"]
    start = time.monotonic()
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    minutes = (time.monotonic() - start) / 60
    storage = Path(known.storage) / told["experiment"] / "report" / "table.md"
    known.out.mkdir(exist_ok=True)
    day = datetime.now(UTC).date().isoformat()
    file = known.out / f"four-domains_{platform.machine()}-{told['environment']['driver'].split()[0]}cpu_{day}.md"
    file.write_text(describe(told, minutes, further, storage.read_text(encoding="utf-8")), encoding="utf-8")
    print(file)


def describe(told: dict, minutes: float, further: list[str], table: str) -> str:
    """The table with hardware, versions, seeds, times and command."""
    stages = "\n".join(f"| {name} | {seconds:.0f} |" for name, seconds in told["stage_seconds"].items())
    return f"""# Four domains, {told["created"][:10]}

Command: `python benchmarks/four_domains.py --root DATA --storage DIR {" ".join(further)}`

- whole run: {minutes:.1f} minutes of wall-clock time
- hardware: {told["environment"]["driver"]}, {_cpu_model()}; other work may have shared the cores
- versions: {", ".join(f"{name} {value}" for name, value in told["environment"].items() if name != "driver")}
- confirmation seeds: {told["seeds"]}; trials per domain: {[len(d["trials"]) for d in told["domains"].values()]}
- commit: {_commit()}

{table}

{chr(10).join(f"- {name}: {domain['verdict']}" for name, domain in told["domains"].items())}

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
