"""A portfolio chosen on other domains, and policies judged by another seed than they chose by."""

import numpy as np
import pytest
from test_tabular_replay import bowl, facts_of, rows_of

from benchmarks.search.tabular import held_out
from benchmarks.search.tabular.table import domain_tables, write_table
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError

SCORES = {
    "medical": bowl,
    "satellite": lambda rate, lambda_, depth: 30.0 - abs(rate - 2) - lambda_ - depth,
    "art": lambda rate, lambda_, depth: 28.0 - abs(rate - 1) - lambda_ - depth,
}


def later(score):
    return lambda *cell: score(*cell) + 0.5 - 0.2 * (cell == (1, 0, 0))


@pytest.fixture
def tables():
    rows = [row for name, score in SCORES.items() for row in rows_of(name, score)]
    return domain_tables(rows, facts_of(*SCORES))


def test_the_portfolio_is_the_pair_with_the_least_mean_regret(tables):
    assert held_out.portfolio_of(tables[1:]) == ((1, 0, 0), (2, 0, 0))
    assert held_out.portfolio_of(tables[1:], 1) in (((1, 0, 0),), ((2, 0, 0),))


def test_a_cell_that_was_trained_once_is_moved_by_the_mean_difference_of_the_seeds(tables):
    rows = [row for row in rows_of("medical", later(bowl), part="second seed", seed=1) if row["frozen_depth"] == 0]
    judge = held_out.judge_of(tables[0], rows)
    assert judge.score(tables[0], (2, 0, 0)) == pytest.approx(bowl(2, 0, 0) + 0.5)
    assert judge.score(tables[0], (1, 0, 0)) == pytest.approx(bowl(1, 0, 0) + 0.3)
    assert judge.score(tables[0], (1, 0, 1)) == pytest.approx(bowl(1, 0, 1) + 0.5 - 0.2 / 9)
    with pytest.raises(UsageError, match="no second seed of art"):
        held_out.judge_of(tables[2], rows)


def test_paused_trials_win_by_their_final_scores_alone(tables):
    seen = [held_out.paused(tables[0], [(1, 0, 0)], seed, 8, 1, 2, perfect) for seed in range(9) for perfect in (0, 1)]
    scores = [tables[0].objective[cell] for cell in seen]
    assert min(scores) >= bowl(1, 0, 0)
    assert np.mean(scores[1::2]) >= np.mean(scores[::2])


def test_the_page_of_a_small_table(tmp_path, capsys, monkeypatch):
    rows = [row for name, score in SCORES.items() for row in rows_of(name, score)]
    rows += [row for name, score in SCORES.items() for row in rows_of(name, later(score), part="second seed", seed=1)]
    write_table(Storage.at(str(tmp_path)).child("table.parquet"), rows, facts_of(*SCORES))
    monkeypatch.setattr(held_out, "POLICIES", {"random": held_out.POLICIES["random"]})
    monkeypatch.setattr(held_out, "PAUSES", ((2, 2, 1),))
    monkeypatch.setattr(
        "sys.argv", ["held_out", str(tmp_path / "table.parquet"), "--seeds", "1", "--out", str(tmp_path)]
    )
    held_out.main()
    page = capsys.readouterr().out
    assert "| portfolio | 2 | **" in page
    assert "held out: satellite: (0.0003, " in page
    assert len(list(tmp_path.glob("tabular-held-out_*"))) == 2
