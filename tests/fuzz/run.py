"""Fuzzing of every parser of ours: python tests/fuzz/run.py [--seed 0] [--share 1.0] [--out FOLDER].

Each target runs in processes of its own, two at a time. A case is a finding if it ends in an exception that is not an
error of ours, if its result is unsound, if it takes over 20 s, kills its process, takes its process over 1 GB, writes
outside its folder, or starts a process or a connection. Findings are written to FOLDER with what raised them.
"""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from sandbox import Sandbox  # noqa: E402
from targets import TARGETS  # noqa: E402

from trainables.errors import RayScaleError  # noqa: E402

HANG_SECONDS, PEAK_BYTES, START_SECONDS = 20.0, 10**9, 180.0


@dataclass
class Result:
    """What became of a target's cases."""

    target: str
    cases: int = 0
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    peak: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)


def run_cases(name: str, seed: int, first: int, last: int, folder: Path, journal: Path | None = None) -> Result:
    """Runs some cases of a target in this process.

    Args:
        name: Of the target.
        seed: Of all randomness; a case depends on it, the target and the case's number alone.
        first: Number of the first case.
        last: Number behind the last one.
        folder: An empty folder, the only one that may be written to.
        journal: File that names the case under way, for whoever watches this process.
    """
    target, result = TARGETS[name][0](folder), Result(name)
    target.prepare()
    for number in range(20):  # what is imported late may start processes and fill caches
        with suppress(Exception):
            target.run(target.case(random.Random(f"{name} {number}")))
    sandbox = Sandbox(folder)
    for number in range(first, last):
        case = target.case(random.Random(f"{name} {seed} {number}"))
        if journal is not None:
            journal.write_text(str(number))
        start, problem = time.monotonic(), ""
        try:
            with sandbox.closed():
                target.run(case)
            result.accepted += 1
        except RayScaleError as error:
            result.refused += 1
            problem = "" if str(error).strip() else "an error without a message"
        except (Exception, SystemExit) as error:
            problem = (
                f"{type(error).__name__}: {error!s:.200}\n{''.join(traceback.format_tb(error.__traceback__)[-3:])}"
            )
        taken = time.monotonic() - start
        problems = [problem] if problem else []
        problems += sandbox.violations[:3]
        sandbox.violations.clear()
        if taken > HANG_SECONDS:
            problems.append(f"took {taken:.0f} s")
        result.cases += 1
        result.seconds += taken
        result.slowest = max(result.slowest, taken)
        result.findings += [{"number": number, "problem": text, "case": case.hex()} for text in problems]
    result.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return result


def watch(name: str, seed: int, count: int) -> Result:
    """Runs a target in processes of its own; one that hangs or dies is a finding, and the next goes on behind it."""
    total, first = Result(name), 0
    with tempfile.TemporaryDirectory(prefix="rayscale-fuzz-") as place:
        while first < count:
            folder, journal, report = (Path(place) / f"{kind}-{first}" for kind in ("work", "journal", "report"))
            folder.mkdir()
            command = [sys.executable, str(HERE / "run.py"), "--worker", name, "--seed", str(seed)]
            command += ["--first", str(first), "--last", str(count), "--out", str(report), "--folder", str(folder)]
            command += ["--journal", str(journal)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder)
            ended = _hang(process, journal)
            said = (process.stderr.read() if process.stderr else b"").decode(errors="replace")
            if report.exists():
                part = Result(**json.loads(report.read_text()))
                for key in ("cases", "accepted", "refused", "seconds"):
                    setattr(total, key, getattr(total, key) + getattr(part, key))
                total.slowest, total.peak = max(total.slowest, part.slowest), max(total.peak, part.peak)
                total.findings += part.findings
                break
            number = int(journal.read_text()) if journal.exists() else first
            total.findings.append({"number": number, "problem": f"{ended}: {said[-1500:]}", "case": ""})
            total.cases += number + 1 - first
            first = number + 1
    if total.peak > PEAK_BYTES:
        total.findings.append({"number": -1, "problem": f"peak of {total.peak / 1e9:.2f} GB", "case": ""})
    return total


def _hang(process: "subprocess.Popen[bytes]", journal: Path) -> str:
    """Waits for a process; ends it where its case goes on for too long."""
    began = time.time()
    while process.poll() is None:
        time.sleep(0.5)
        since = time.time() - (journal.stat().st_mtime if journal.exists() else began)
        if since > (2 * HANG_SECONDS if journal.exists() else START_SECONDS):
            process.kill()
            process.wait()
            return "hangs"
    return f"ended with exit code {process.returncode}"


def table(results: list[Result], seed: int, seconds: float) -> str:
    """The result as Markdown."""
    total = sum(result.cases for result in results)
    rows = [
        f"| {r.target} | {r.cases:,} | {r.refused:,} | {r.accepted:,} | {r.slowest:.2f} | {r.peak / 1e6:.0f} | "
        f"{len(r.findings)} |"
        for r in results
    ]
    return "\n".join(
        [
            f"{total:,} cases in {seconds / 60:.1f} minutes, {datetime.now(UTC).date()}, {os.cpu_count()} CPUs "
            f"({platform.machine()}), Python {platform.python_version()}, seed {seed}.",
            "",
            "| parser | cases | refused | accepted | slowest (s) | peak of the process (MB) | findings |",
            "| :-- | --: | --: | --: | --: | --: | --: |",
            *rows,
            "",
        ]
    )


def main() -> None:
    """Runs all targets, prints the table and exits with 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the cases of a long run")
    parser.add_argument("--only", choices=TARGETS, action="append")
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"))
    for name in ("worker", "first", "last", "folder", "journal"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        done = run_cases(
            options.worker,
            options.seed,
            int(options.first),
            int(options.last),
            Path(options.folder),
            Path(options.journal),
        )
        options.out.write_text(json.dumps(asdict(done)))
        return
    start = time.monotonic()
    # The longest first, so that none is left over at the end.
    names = [name for name in reversed(TARGETS) if name in (options.only or TARGETS)]
    with ThreadPoolExecutor(2) as pool:
        work = [pool.submit(watch, name, options.seed, max(1, int(TARGETS[name][1] * options.share))) for name in names]
        results = [each.result() for each in reversed(work)]
    print(table(results, options.seed, time.monotonic() - start))
    found = [(result.target, finding) for result in results for finding in result.findings]
    for target, finding in found:
        options.out.mkdir(parents=True, exist_ok=True)
        stem = f"{target.replace(' ', '-')}-{finding['number']}"
        (options.out / f"{stem}.case").write_bytes(bytes.fromhex(finding["case"]))
        (options.out / f"{stem}.txt").write_text(finding["problem"], encoding="utf-8")
        print(f"{target}, case {finding['number']}: {finding['problem']}"[:600])
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
