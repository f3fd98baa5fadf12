"""Mutation testing: a seeded sample of the mutants of the modules that guard data, and which of them survive.

    python tests/mutants/run.py --seed 0 --count 300

mutmut (configured in pyproject.toml) changes one operator, constant or argument of a function at a time and runs the
unit tests that reach it; a mutant that no test notices survives. Mutants that change the wording of a sentence alone
are left out of the sample. Survivors that change nothing that anybody can observe are listed in
``equivalent.json``, their diff with the reason, and do not count.

mutmut does not change functions with a decorator other than ``staticmethod`` and ``classmethod``, nor constants of a
module.
"""

import argparse
import json
import os
import platform
import random
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "results"
MUTMUT = [str(Path(sys.executable).with_name("mutmut"))]
FIRST = "trainables.inference.tiling.x_cut__mutmut_1"
"""Any mutant: running it alone makes mutmut write all of them."""

SENTENCE = re.compile(r"""[fr]*(["'])[^"']* [^"']*\1""")
SURVIVED, KILLED, NO_TESTS = 0, 1, 33


def mutmut(*arguments: str) -> str:
    """What mutmut prints; its exit code is of no use here, since survivors are no failure of the tool."""
    done = subprocess.run([*MUTMUT, *arguments], capture_output=True, text=True)
    return done.stdout + done.stderr


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
        if codes[name] not in (SURVIVED, NO_TESTS, None):
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
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    equivalent = json.loads((HERE / "equivalent.json").read_text(encoding="utf-8"))
    print(mutmut("run", FIRST)[-300:])
    chosen = sample(options.seed, options.count)
    print(f"{len(chosen)} mutants of {len(results())}")
    print(mutmut("run", *chosen)[-300:])
    text = table(options.seed, chosen, equivalent)
    file = options.out / f"mutants-seed{options.seed}_{datetime.now(UTC).date()}.md"
    file.write_text(text, encoding="utf-8")
    print(text)
    codes = results()
    alive = [n for n, lines in chosen.items() if codes[n] in (SURVIVED, NO_TESTS, None)]
    alive = [n for n in alive if " ".join(line.strip() for line in chosen[n]) not in equivalent]
    if len(alive) > 0.1 * len(chosen):
        sys.exit(1)


if __name__ == "__main__":
    main()
