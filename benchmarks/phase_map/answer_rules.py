"""Compares rules that choose a confirmation's answer: each chooses on half of a cell's scenes; the others judge.

    python -m benchmarks.phase_map.answer_rules --table benchmarks/tables/phase_map.parquet

Candidates are the source model as it is and the configurations that were trained in the cell, in the order from simple
to complex of ``orchestrator/confirm/answer.py`` and with its intervals. Every cell counts twice, with its halves
exchanged. The map has no averaged weights and no feature transfer, and one training of most configurations.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from benchmarks.common.arguments import add_out, command, make_parser, one_sentence
from benchmarks.common.environment import environment
from benchmarks.common.results import ONE_THREAD, today, write_results
from benchmarks.phase_map.plan import DEFAULT
from benchmarks.phase_map.rows import Row, half_of
from benchmarks.phase_map.table_file import read_table
from benchmarks.phase_map.worth import FEWEST_SCENES, rows_by_cell
from orchestrator.confirm.answer import Contender, choose
from orchestrator.confirm.record import Candidate, Standing
from orchestrator.confirm.run_record import Images
from orchestrator.foundation.statistics import FEWEST_SCENES as FEWEST_FOR_INTERVALS
from orchestrator.foundation.storage import Storage
from trainables.loops.settings import TransferConfiguration

MARGINS = (0.0, 0.01, 0.02, 0.05, 0.1)
"""Shortfalls in dB of the mean behind the best mean that a simpler answer may have."""
LARGE_LOSS = 0.05
"""dB behind the best mean's choice from which an answer counts as a bad one."""
_SOURCE, _DEFAULT = "zero_shot", "default"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: the answer is the simplest candidate that passes.

    Attributes:
        ties: Whether the interval of its difference to the best mean must hold zero.
        margin: How far its mean may lie below the best one, in dB; None for as far as it likes.
    """

    ties: bool
    margin: float | None

    def __str__(self) -> str:
        within = f"mean within {self.margin:g} dB of the best" if self.margin else "best mean"
        return within if not self.ties else "interval holds zero" + (f", {within}" if self.margin else "")

    def answer(self, standings: Sequence[Standing]) -> str:
        """Name of the first candidate that passes, from simple to complex; the best mean always does."""
        passes = (
            standing.name
            for standing in standings
            if (not self.ties or standing.low <= 0) and (self.margin is None or standing.mean <= self.margin)
        )
        return next(passes)


RULES = (*(Rule(False, margin) for margin in MARGINS), *(Rule(True, margin) for margin in (*MARGINS[2:], None)))


@dataclass(frozen=True, slots=True)
class Chosen:
    """A rule's choice in one half of a cell, judged on the other.

    Attributes:
        scenes: Scenes that chose.
        answer: Name of the candidate.
        over_best_mean: dB on the other half over the candidate with the best mean in this one.
        over_default: dB there over the default fine-tune.
        over_source: dB there over the source model as it is.
    """

    scenes: int
    answer: str
    over_best_mean: float
    over_default: float
    over_source: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What is stated of a rule's choices.

    Attributes:
        choices: How many there are.
        over_best_mean: Their mean gain in dB over the choice of the best mean.
        bad: Choices that lie :data:`LARGE_LOSS` or more behind it.
        worst: Their largest loss behind it in dB.
        over_default: Mean gain in dB over the default fine-tune.
        over_source: Mean gain in dB over the source model as it is.
        source_model: Choices of the source model.
        default_fine_tune: Choices of the default fine-tune.
    """

    choices: int
    over_best_mean: float
    bad: int
    worst: float
    over_default: float
    over_source: float
    source_model: int
    default_fine_tune: int


def main() -> None:
    options = _parsed()
    with one_sentence():
        rows, _ = read_table(Storage.at(str(options.table)))
        found = compare(rows)
        text = command("phase_map.answer_rules", ["--table", "benchmarks/tables/phase_map.parquet"])
        figures = {str(rule): asdict(_figures(chosen)) for rule, chosen in found.items()}
        data = {"date": today(), "command": text, "environment": environment("numpy"), "rules": figures}
        page = "\n".join(_page(found, text, data["environment"]["commit"])) + "\n"
        print(write_results(options.out, "answer-rules", ONE_THREAD, data=data, page=page))


def compare(rows: Iterable[Row]) -> dict[Rule, list[Chosen]]:
    """What each rule chooses in both halves of every cell that has the default fine-tune and enough scenes."""
    found: dict[Rule, list[Chosen]] = {rule: [] for rule in RULES}
    for of_cell in rows_by_cell(row for row in rows if row["image_psnr"]):
        halves = half_of(of_cell[0]["image_scenes"])
        if len(halves) < FEWEST_SCENES:
            continue
        for choosing, judging in (("choosing", "judging"), ("judging", "choosing")):
            there, elsewhere = (_contenders(of_cell, halves, half) for half in (choosing, judging))
            if _DEFAULT in there and len(there) > 2:
                for rule, chosen in _choices(there, elsewhere).items():
                    found[rule].append(chosen)
    return found


def _choices(there: Mapping[str, Contender], elsewhere: Mapping[str, Contender]) -> dict[Rule, Chosen]:
    choice = choose(list(there.values()))
    judged = {name: float(contender.per_image().mean()) for name, contender in elsewhere.items()}
    found = {}
    for rule in RULES:
        answer = rule.answer(choice.standings)
        over = (judged[answer] - judged[name] for name in (choice.best_mean, _DEFAULT, _SOURCE))
        found[rule] = Chosen(choice.scenes, answer, *over)
    return found


def _contenders(rows: Sequence[Row], halves: Mapping[str, str], half: str) -> dict[str, Contender]:
    """Candidates by name with their scores on the images of one half."""
    by_name: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["seed"]):
        by_name[_name(row)].append(row)
    scored = {name: [_images(row, row["image_psnr"], halves, half) for row in of] for name, of in by_name.items()}
    scored[_SOURCE] = [_images(rows[0], rows[0]["image_zero_shot"], halves, half)]
    return {
        name: Contender(
            candidate=Candidate(
                name=name,
                label=name,
                configuration=None if name == _SOURCE else _configuration(by_name[name][0]),
                validation_psnr=[],
                search_psnr=None,
            ),
            runs=(name,),
            images=tuple(images),
        )
        for name, images in scored.items()
    }


def _name(row: Row) -> str:
    method = "" if row["regularizer"] == "l2-sp" else f" {row['regularizer']}"
    method += f" adapters {row['adapter_rank']}" if row.get("adapter_rank") else ""
    configuration = _configuration(row)
    return _DEFAULT if configuration == DEFAULT.configuration and not method else f"{configuration}{method}"


def _configuration(row: Row) -> TransferConfiguration:
    return TransferConfiguration(
        learning_rate=row["learning_rate"], lambda_=row["lambda_"], frozen_depth=row["frozen_depth"]
    )


def _images(row: Row, scores: Sequence[float], halves: Mapping[str, str], half: str) -> Images:
    scored = zip(row["image_scenes"], scores, strict=True)
    return [(str(i), scene, psnr) for i, (scene, psnr) in enumerate(scored) if halves[scene] == half]


def _figures(chosen: Sequence[Chosen]) -> Figures:
    behind = [-each.over_best_mean for each in chosen]
    return Figures(
        choices=len(chosen),
        over_best_mean=round(-fmean(behind), 4),
        bad=sum(loss >= LARGE_LOSS for loss in behind),
        worst=round(max(behind), 4),
        over_default=round(fmean(each.over_default for each in chosen), 4),
        over_source=round(fmean(each.over_source for each in chosen), 4),
        source_model=sum(each.answer == _SOURCE for each in chosen),
        default_fine_tune=sum(each.answer == _DEFAULT for each in chosen),
    )


def _page(found: Mapping[Rule, Sequence[Chosen]], text: str, commit: str) -> Iterator[str]:
    yield "# Rules that choose the answer"
    yield ""
    yield f"{today()}, `{text}`, commit {commit}."
    yield ""
    yield (
        "Each rule takes the simplest candidate that passes. It chooses on one half of a cell's validation scenes and "
        "is judged on the other; both ways count. Gains are means in dB; a bad choice lies "
        f"{LARGE_LOSS} dB or more behind the best mean's, on the scenes that judge."
    )
    for few, title in ((True, f"Fewer than {FEWEST_FOR_INTERVALS}"), (False, f"{FEWEST_FOR_INTERVALS} or more")):
        chosen = {
            rule: [each for each in of if (each.scenes < FEWEST_FOR_INTERVALS) is few] for rule, of in found.items()
        }
        count = len(next(iter(chosen.values())))
        if not count:
            continue
        yield ""
        yield f"## {title} scenes chose ({count} choices)"
        yield ""
        yield "| rule | − best mean | bad | worst loss | − default | − source | source model | default fine-tune |"
        yield "|---|---:|---:|---:|---:|---:|---:|---:|"
        for rule, of in chosen.items():
            figures = _figures(of)
            yield (
                f"| {rule} | {figures.over_best_mean:+.3f} | {figures.bad / count:.0%} | {figures.worst:.2f} "
                f"| {figures.over_default:+.3f} | {figures.over_source:+.3f} "
                f"| {figures.source_model / count:.0%} | {figures.default_fine_tune / count:.0%} |"
            )


def _parsed() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--table", required=True, type=Path, help="Parquet file that table.py made")
    add_out(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
