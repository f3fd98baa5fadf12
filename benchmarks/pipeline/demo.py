"""Times `rayscale demo` from an empty folder: python -m benchmarks.pipeline.demo [--size smallest]."""

import subprocess
import sys
import tempfile
import time

from benchmarks.common.arguments import add_out, make_parser
from benchmarks.common.environment import environment
from benchmarks.common.results import CPUS, write_results


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--size", default="standard")
    add_out(parser)
    options = parser.parse_args()
    size = options.size
    with tempfile.TemporaryDirectory() as storage:
        start = time.monotonic()
        command = [sys.executable, "-m", "orchestrator.cli.app", "demo", "--size", size, "--storage", storage]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds = time.monotonic() - start
    begin = told.rindex("\n", 0, told.index("PSNR in dB"))
    table = told[begin:].partition("\nReport:")[0]
    machine = environment()["hardware"]
    head = f"# rayscale demo --size {size}\n\n{seconds:.0f} s of wall-clock time on {machine}.\n"
    print(write_results(options.out, f"demo-{size}", CPUS, page=f"{head}\n```\n{table.strip()}\n```\n"))


if __name__ == "__main__":
    main()
