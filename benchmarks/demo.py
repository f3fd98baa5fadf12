"""Times `rayscale demo` from an empty folder: python benchmarks/demo.py [--size smallest]."""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

OUT = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="standard")
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory() as storage:
        start = time.monotonic()
        command = [sys.executable, "-m", "orchestrator.cli.app", "demo", "--size", size, "--storage", storage]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds = time.monotonic() - start
    begin = told.rindex("\n", 0, told.index("PSNR in dB"))
    table = told[begin:].partition("\nReport:")[0]
    OUT.mkdir(exist_ok=True)
    cpus = len(os.sched_getaffinity(0))
    file = OUT / f"demo-{size}_{platform.machine()}-{cpus}cpu_{datetime.now(UTC).date().isoformat()}.md"
    head = (
        f"# rayscale demo --size {size}\n\n{seconds:.0f} s of wall-clock time on {cpus} CPUs, {platform.machine()}.\n"
    )
    file.write_text(f"{head}\n```\n{table.strip()}\n```\n", encoding="utf-8")
    print(file)


if __name__ == "__main__":
    main()
