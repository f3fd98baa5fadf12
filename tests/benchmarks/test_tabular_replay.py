"""Policies replayed on tables whose best cell is known."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from benchmarks.search.tabular import replay as replay_script
from benchmarks.search.tabular.judging import (
    DEFAULT,
    data_budgets,
    expected_random_regret,
    questions,
    rank_correlations,
    regrets,
    seed_noise,
    stopping_effects,
)
from benchmarks.search.tabular.policies import STARTS, Policy, Trace, replay
from benchmarks.search.tabular.table import domain_tables, read_advice, read_table, write_table
from benchmarks.search.tabular.telling import describe
from orchestrator.experiment.settings import Search
from orchestrator.foundation.storage import Storage
from orchestrator.search.early_stopping import Stopping
from search_spaces import find_space
from trainables.errors import UsageError

RATES, LAMBDAS, DEPTHS = (3e-5, 3e-4, 3e-3), (0.0, 1e-5, 1e-1), (0, 4)
SHAPE = (3, 3, 2)
LOWEST = find_space("satellite").lambda_range[0]
SPACE = {
    "id": "satellite-v2",
    "learning_rate": [3e-5, 3e-3],
    "lambda_range": [LOWEST, 1e-1],
    "lambda_floor": 1e-5,
    "starts": [
        {"learning_rate": 1e-4, "lambda_": LOWEST, "frozen_depth": 0},
        {"learning_rate": 1e-3, "lambda_": 1e-4, "frozen_depth": 0},
    ],
}


def rows_of(domain, score, curve=None, part="full", seed=0):
    for rate, lambda_, depth in product(range(3), range(3), range(2)):
        final = score(rate, lambda_, depth)
        yield {
            "domain": domain,
            "part": part,
            "scenes": 9,
            "seed": seed,
            "learning_rate": RATES[rate],
            "lambda_": LAMBDAS[lambda_],
            "frozen_depth": DEPTHS[depth],
            "status": "finished",
            "psnr": final,
            "objective": final,
            "evaluations": 4,
            "curve": curve(rate, lambda_, depth) if curve else [final - 3, final - 2, final - 1, final],
            "interpolated": [final - 0.1, final + 0.1, final],
            "bicubic": 25.0,
            "zero_shot": 26.0,
            "seconds": 1.0,
            "cpu_seconds": 1.5,
        }


def facts_of(*domains):
    told = {"learning_rates": RATES, "lambdas": LAMBDAS, "frozen_depths": DEPTHS, "space": SPACE, "parts": {}}
    return {
        "command": "made up",
        "created": "now",
        "source": {"model": "none", "sha256": "0"},
        "budget": {"steps": 4, "batch": 1, "evaluations": 4},
        "lr_patch": 8,
        "validation": {"images": 1, "crop": 32},
        "rows": 18,
        "rows_wanted": 18,
        "domains": dict.fromkeys(domains, told),
    }


def table(score, curve=None):
    return domain_tables(list(rows_of("satellite", score, curve)), facts_of("satellite"))[0]


def bowl(rate, lambda_, depth):
    """The best cell is (1, 2, 0), no start is near it."""
    return 30.0 - abs(rate - 1) - 0.3 * abs(lambda_ - 2) - 0.7 * depth


def test_a_suggestion_counts_as_the_nearest_cell_in_log():
    of = table(bowl)

    def cell(rate, lambda_, depth):
        return of.cell_of({"learning_rate": rate, "lambda_": lambda_, "frozen_depth": depth})

    assert cell(3e-5, 1e-6, 0) == (0, 0, 0)
    assert cell(9e-5, 0.99e-5, 2) == (0, 0, 0)  # a depth in the middle goes to the lower
    assert cell(1e-4, 1e-5, 3) == (1, 1, 1)
    assert cell(9.6e-4, 9e-4, 4) == (2, 1, 1)
    assert cell(3e-3, 1.1e-3, 1) == (2, 2, 0)
    for position in np.ndindex(SHAPE):
        assert of.cell_of(of.point(position)) == position


def test_each_cell_has_its_exact_share_of_the_space():
    shares = table(bowl).shares
    assert shares.sum() == pytest.approx(1)
    assert shares.sum((1, 2)) == pytest.approx([0.25, 0.5, 0.25])
    assert shares.sum((0, 2)) == pytest.approx([0.25, 0.375, 0.375])
    assert shares.sum((0, 1)) == pytest.approx([0.6, 0.4])


def test_expected_regret_of_random_search_is_exact():
    of = table(bowl)
    shares, scores = of.shares.ravel(), of.objective.ravel()
    pairs = sum(
        p * q * max(a, b) for p, a in zip(shares, scores, strict=True) for q, b in zip(shares, scores, strict=True)
    )
    assert expected_random_regret(of, 2) == pytest.approx(of.best - pairs)
    assert expected_random_regret(of, 1) == pytest.approx(of.best - shares @ scores)


def test_random_search_has_the_regret_that_it_must_have():
    of = table(bowl)
    policy = Policy("random", "none")
    traces = {"satellite": [replay(of, policy, seed, 4) for seed in range(250)]}
    for trials in (1, 4):
        found = regrets([of], traces, trials)
        error = found.std() / np.sqrt(found.size)
        assert abs(found.mean() - expected_random_regret(of, trials)) < 4 * error
        assert error < 0.06


def test_a_start_at_the_optimum_leaves_no_regret_and_a_cold_search_some():
    of = table(bowl)
    warm = replay(of, Policy("tpe", "siblings"), 0, 3, siblings=((1, 2, 0), (1, 2, 0)))
    assert warm.cells[:2] == (of.cell_of(SPACE["starts"][0]), (1, 2, 0))
    assert of.best - warm.best[1] == 0
    assert warm.winners[-1] == of.best_cell == (1, 2, 0)
    assert replay(of, Policy("tpe", "space"), 0, 2).best[-1] < of.best


def test_advice_comes_after_the_default_and_before_the_space_s_own(tmp_path):
    place = Storage.at(str(tmp_path / "table.parquet"))
    points = [{"learning_rate": 3e-3, "lambda_": 0.0, "frozen_depth": 4}]
    Storage.at(str(tmp_path / "advice.json")).write_json({"domains": {"satellite": {"advice": {"points": points}}}})
    of = domain_tables(list(rows_of("satellite", bowl)), facts_of("satellite"), read_advice(place))[0]
    default, own = map(of.cell_of, SPACE["starts"])
    assert replay(of, Policy("random", "advice"), 0, 3).cells == (default, (2, 0, 1), own)
    assert replay(of, Policy("random", "space"), 0, 2).cells == (default, own)


def test_a_grid_repeats_nothing_and_ends_at_the_best():
    of = table(bowl)
    trace = replay(of, Policy("grid", "space"), 3, 18)
    assert trace.repeats == 0
    assert of.best - trace.best[-1] == 0
    again = replay(of, Policy("random", "none"), 0, 60)
    assert again.repeats >= 60 - 18
    assert again.cost == pytest.approx(range(1, 61))  # a repeated cell costs a whole trial again


def test_a_stopped_trial_costs_its_part_and_reaches_neither_the_winner_nor_the_sampler(monkeypatch):
    def score(rate, lambda_, depth):
        return {(1, 0, 0): 30.0, (2, 1, 0): 40.0}.get((rate, lambda_, depth), 31.0)

    def curve(rate, lambda_, depth):
        final = score(rate, lambda_, depth)
        slow = (rate, lambda_, depth) == (2, 1, 0)  # ends best, begins worst
        return [10.0 if slow else final - 3, final - 2, final - 1, final]

    of = table(score, curve)
    studies = []
    make = optuna.create_study
    monkeypatch.setattr(optuna, "create_study", lambda **settings: studies.append(make(**settings)) or studies[-1])
    trace = replay(of, Policy("random", "siblings", Stopping(2, 1)), 0, 3, siblings=((2, 1, 0), (0, 1, 0)))
    assert trace.cells == ((1, 0, 0), (2, 1, 0), (0, 1, 0))
    assert trace.cost == (1.0, 1.25, 2.25)
    assert trace.best == (30.0, 30.0, 31.0)
    told = studies[0].trials
    assert [trial.state for trial in told] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert [trial.value for trial in told] == [30.0, None, 31.0]

    late = replay(of, Policy("random", "siblings", Stopping(2, 2)), 0, 3, siblings=((2, 1, 0), (0, 1, 0)))
    assert late.cost == (1.0, 2.0, 2.5)  # the first rung comes when the slow trial is ahead; it stops the third
    assert late.best[-1] == 40.0


def test_what_stopping_saves_and_costs_is_measured_against_the_same_policy():
    of = table(bowl)

    def trace(best, cost):
        return Trace(((0, 0, 0),) * 2, best, cost, ((0, 0, 0),) * 2)

    results = {
        Policy("tpe", "space"): {"satellite": [trace((29.0, 30.0), (1, 2))]},
        Policy("tpe", "space", Stopping(2, 1)): {"satellite": [trace((29.0, 29.5), (1, 1.25))]},
    }
    (told,) = stopping_effects([of], results, 2)
    assert (told["mean_regret_added_db"], told["saved"], told["cost"]) == (0.5, 0.375, 1.25)


@pytest.mark.parametrize(
    ("own", "random", "expected"),
    [(29.99, 29.95, True), (29.99, 29.985, False), (29.97, 29.8, False), (29.9, 29.95, False)],
)
def test_the_answers_come_from_the_replays(own, random, expected):
    of = table(bowl)

    def traces(best):
        return {"satellite": [SimpleNamespace(best=(best,) * 24)]}

    results = {DEFAULT: traces(own), Policy("random", "none"): traces(random)}
    first, second = questions([of], results, 24)
    assert first["answer"] is expected
    assert second["answer"] is None
    results |= {Policy("gp", "siblings"): traces(29.8), Policy("gp", "none"): traces(29.8 if expected else 29.9)}
    assert questions([of], results, 24)[1]["answer"] is expected
    assert [each["answer"] for each in questions([of], results, 8)] == [None, None]


def test_the_default_policy_is_the_search_s_own():
    assert (DEFAULT.sampler, DEFAULT.startup_trials) == (Search().sampler, Search().startup_trials)


def test_rank_correlation_tells_a_crossing_from_an_orderly_rung():
    def curve(rate, lambda_, depth):
        final = bowl(rate, lambda_, depth)
        return [-final, 0.5 * final, final - 1, final]

    first, second, *_, last = rank_correlations(table(bowl, curve))
    assert first["spearman"] == pytest.approx(-1)
    assert second["spearman"] == last["kendall"] == pytest.approx(1)


def test_noise_and_data_budgets_are_taken_from_the_rows():
    rows = [
        *rows_of("satellite", bowl),
        *rows_of("satellite", lambda *cell: bowl(*cell) + 0.2, part="second seed", seed=1),
        *rows_of("satellite", lambda *cell: bowl(*cell) - 1, part="4 scenes"),
    ]
    assert seed_noise(rows, "satellite") == pytest.approx(0.2 / np.sqrt(2))
    assert seed_noise(rows, "art") is None
    told = {each["part"]: each for each in data_budgets(rows, "satellite")}
    assert set(told) == {"full", "4 scenes"}
    assert told["full"]["over_zero_shot"] == pytest.approx(4)
    assert told["4 scenes"]["over_zero_shot"] == pytest.approx(3)
    assert told["full"]["lambda_brings"] == pytest.approx(0.6)
    assert told["full"]["interpolation_brings"] == pytest.approx(0.1)


def test_a_whole_replay_writes_what_it_measured(tmp_path):
    domains = ("satellite", "art")
    rows = [row for name in domains for row in rows_of(name, bowl)]
    write_table(Storage.at(str(tmp_path / "table.parquet")), rows, facts_of(*domains))
    options = SimpleNamespace(
        table=str(tmp_path / "table.parquet"), samplers=["tpe", "random"], seeds=2, trials=8, jobs=1
    )
    assert {policy.starts for policy in replay_script.policies(["gp"], advised=False)} == {"none", "space", "siblings"}
    assert replay_script.policies(["gp"], advised=True)[0] == DEFAULT
    points = [{"learning_rate": 8e-4, "lambda_": 0.0, "frozen_depth": 0}]
    advice = {"domains": {name: {"advice": {"points": points}} for name in domains}}
    Storage.at(str(tmp_path / "advice.json")).write_json(advice)
    told = replay_script.judge(options)
    kinds = {(each["sampler"], each["starts"]) for each in told["policies"]}
    assert kinds == {(sampler, starts) for sampler in ("tpe", "random") for starts in STARTS}
    for each in told["policies"]:
        assert each["regret"]["8"]["median"] <= each["regret"]["4"]["median"]
        assert each["cost"]["8"] == 8
    assert {each["saved"] >= 0 for each in told["stopping"]} == {True}
    page = describe(told)
    assert "**not known" in page
    assert "| satellite | 30.000 | 3.00e-04 | 1.00e-01 | 0 |" in page


def test_a_table_that_is_none_is_refused_clearly(tmp_path):
    def refuse(words):
        with pytest.raises(UsageError, match=words):
            read_table(Storage.at(str(tmp_path / "table.parquet")))

    refuse("There is no table")
    (tmp_path / "table.parquet").write_bytes(b"PAR1 cut short")
    refuse("not a whole Parquet file")
    of = list(rows_of("satellite", bowl))
    with pytest.raises(UsageError, match="17 of the 18 rows of satellite's full grid"):
        domain_tables(of[1:], facts_of("satellite"))
