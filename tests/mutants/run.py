"""Mutation testing: a seeded sample of the mutants of the modules that guard data, and which of them survive.

    python tests/mutants/run.py --seed 0 --count 300
    python tests/mutants/run.py --seed 0 --count 300 --again    # the survivors alone, with the tests as they are now

mutmut (configured in pyproject.toml) changes one operator, constant or argument of a function at a time and runs the
unit tests that reach it; a mutant that no test notices survives. Mutants that change the wording of a sentence alone
are left out of the sample. Survivors that change nothing that anybody can observe are listed in
``equivalent.json``, their diff with the reason, and do not count.

mutmut forks its test processes, and a fork of a process that has run GDAL or PyTorch may wait for a lock for ever.
Such a process is ended, and its mutant is tested in a process of its own.

mutmut does not change functions with a decorator other than ``staticmethod`` and ``classmethod``, nor constants of a
module.
"""

import argparse
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "results"
MUTMUT = [str(Path(sys.executable).with_name("mutmut"))]
FIRST = "trainables.inference.tiling.x_cut__mutmut_1"
"""Any mutant: running it alone makes mutmut write all of them."""

SENTENCE = re.compile(r"""[fr]*(["'])[^"']* [^"']*\1""")
KILLED, NO_TESTS, TIMEOUT = 1, 33, -24
"""Exit codes of a mutant's tests; a mutant that runs for ever uses up its CPU time (SIGXCPU)."""

IDLE_SECONDS, LONGEST_SECONDS = 15, 600


def mutmut(*arguments: str) -> str:
    """What mutmut prints; its exit code is of no use here, since survivors are no failure of the tool."""
    done = subprocess.run([*MUTMUT, *arguments], capture_output=True, text=True)
    return done.stdout + done.stderr


def mutmut_watched(*arguments: str) -> None:
    """Runs mutmut, and ends those of its processes that have used no CPU time for a while."""
    process = subprocess.Popen([*MUTMUT, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen: dict[int, tuple[float, float]] = {}
    while process.poll() is None:
        time.sleep(3)
        now = time.monotonic()
        for child in psutil.Process(process.pid).children():
            with suppress(psutil.NoSuchProcess):
                used, since = seen.get(child.pid, (-1.0, now))
                if (current := child.cpu_times().user) != used:
                    seen[child.pid] = (current, now)
                elif now - since > IDLE_SECONDS:
                    child.kill()


def judge(name: str) -> int:
    """Exit code of a mutant's tests in a process of their own: all files with a test that reaches its function."""
    stats = json.loads(Path("mutants/mutmut-stats.json").read_text(encoding="utf-8"))["tests_by_mangled_function_name"]
    module = name.rpartition(".x")[0]
    own = "tests/" + "/".join([*module.split(".")[:-1], f"test_{module.rpartition('.')[2]}.py"])
    files = {test.split("::")[0] for test in stats.get(name.rpartition("__mutmut_")[0], ())}
    files |= {own} if Path(own).exists() else set()
    if not files:
        return NO_TESTS
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, *sorted(files, key=lambda file: (file != own, file))],
            cwd="mutants",
            env=os.environ | {"MUTANT_UNDER_TEST": name},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LONGEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TIMEOUT
    return done.returncode


def judge_again(chosen: Collection[str]) -> None:
    """Tests those mutants in processes of their own that mutmut has not seen killed."""
    codes = results()
    with ThreadPoolExecutor(2) as pool:
        names = [name for name in chosen if codes[name] not in (KILLED, TIMEOUT)]
        again = dict(zip(names, pool.map(judge, names), strict=True))
    for file in Path("mutants").rglob("*.py.meta"):
        content = json.loads(file.read_text(encoding="utf-8"))
        content["exit_code_by_key"] |= {n: again[n] for n in content["exit_code_by_key"] if n in again}
        file.write_text(json.dumps(content, indent=4), encoding="utf-8")


def copy_tests() -> None:
    """Puts the tests as they are now beside the mutants."""
    shutil.copytree("tests", "mutants/tests", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def results() -> dict[str, int | None]:
    """Exit code of each mutant's tests by its name; None where they have not run."""
    found: dict[str, int | None] = {}
    for file in sorted(Path("mutants").rglob("*.py.meta")):
        found |= json.loads(file.read_text())["exit_code_by_key"]
    return found


def changed_lines(name: str) -> list[str]:
    """The lines that a mutant takes away and puts in their place."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant  # reads its configuration when it is imported

    path = name.rpartition(".x")[0].replace(".", "/") + ".py"
    lines = get_diff_for_mutant(name, path=path).splitlines()
    return [line for line in lines if re.match(r"[-+](?![-+])", line)]


def only_wording(lines: list[str]) -> bool:
    """Whether a mutant's lines differ in the text of a sentence alone."""
    plain = {re.sub(r"\s+", "", SENTENCE.sub("''", line[1:])) for line in lines}
    return len(plain) < 2


def sample(seed: int, count: int) -> dict[str, list[str]]:
    """Changed lines of the sampled mutants, by name."""
    names = sorted(results())
    random.Random(seed).shuffle(names)
    chosen: dict[str, list[str]] = {}
    for name in names:
        if len(chosen) == count:
            break
        lines = changed_lines(name)
        if not only_wording(lines):
            chosen[name] = lines
    return chosen


def table(seed: int, chosen: dict[str, list[str]], equivalent: dict[str, str]) -> str:
    """The result as Markdown."""
    codes = results()
    all_by_module: Counter[str] = Counter()
    killed: Counter[str] = Counter()
    same: Counter[str] = Counter()
    survivors = []
    for name, lines in chosen.items():
        module = name.rpartition(".x")[0]
        diff = " ".join(line.strip() for line in lines)
        cell = f"`{diff}`".replace("|", "\\|")
        all_by_module[module] += 1
        if codes[name] in (KILLED, TIMEOUT):
            killed[module] += 1
        elif diff in equivalent:
            same[module] += 1
            survivors.append(f"| `{module}` | {cell} | equivalent: {equivalent[diff]} |")
        else:
            reason = "no test reaches it" if codes[name] == NO_TESTS else "survived"
            survivors.append(f"| `{module}` | {cell} | {reason} |")
    total, dead, alike = all_by_module.total(), killed.total(), same.total()
    rows = [
        f"| `{module}` | {count} | {killed[module]} | {same[module]} | {count - killed[module] - same[module]} |"
        for module, count in sorted(all_by_module.items())
    ]
    versions = f"mutmut {version('mutmut')}, Python {platform.python_version()}, {platform.machine()}"
    return "\n".join(
        [
            f"# Mutants, seed {seed}",
            "",
            f"{datetime.now(UTC).date()}, {versions}, {os.cpu_count()} CPUs: "
            f"`python tests/mutants/run.py --seed {seed} --count {total}`, from {len(codes)} mutants in all.",
            "",
            f"**{dead} of {total - alike} non-equivalent mutants killed, {100 * dead / max(total - alike, 1):.1f} %.**",
            "",
            "| module | sampled | killed | equivalent | survived |",
            "| :-- | --: | --: | --: | --: |",
            *rows,
            "",
            "| module | change | |",
            "| :-- | :-- | :-- |",
            *survivors,
            "",
        ]
    )


def main() -> None:
    """Samples, runs and writes the table; exit code 1 below 90 %."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--again", action="store_true", help="test the survivors of the last run again")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    equivalent = json.loads((HERE / "equivalent.json").read_text(encoding="utf-8"))
    if not options.again:
        print(mutmut("run", FIRST)[-300:], flush=True)
    chosen = sample(options.seed, options.count)
    print(f"{len(chosen)} mutants of {len(results())}", flush=True)
    if options.again:
        copy_tests()
    else:
        mutmut_watched("run", *chosen)
    judge_again(chosen)
    text = table(options.seed, chosen, equivalent)
    file = options.out / f"mutants-seed{options.seed}_{datetime.now(UTC).date()}.md"
    file.write_text(text, encoding="utf-8")
    print(text)
    codes = results()
    alive = [n for n in chosen if codes[n] not in (KILLED, TIMEOUT)]
    alive = [n for n in alive if " ".join(line.strip() for line in chosen[n]) not in equivalent]
    if len(alive) > 0.1 * len(chosen):
        sys.exit(1)


if __name__ == "__main__":
    main()
