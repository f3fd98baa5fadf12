"""The protocol says which confirmations are of earlier versions, and what is different about them."""

import pytest
from report_fixture import example_report

from orchestrator.confirm.record import Choice, Standing
from orchestrator.report.build import _earlier


def choice(margin):
    best = Standing(name="trial-1", mean=0.0, low=0.0, high=0.0)
    return Choice(answer="trial-1", best_mean="trial-1", scenes=8, by="interval", margin=margin, standings=[best])


@pytest.mark.parametrize(("found", "is_named"), [(choice(0.02), False), (choice(None), True), (None, True)])
def test_an_answer_that_was_chosen_by_an_earlier_rule_is_named(tmp_path, found, is_named):
    name, domain = next(iter(example_report(tmp_path).domains.items()))
    differences = [difference.model_copy(update={"seed_sd": 0.01}) for difference in domain.differences]
    today = domain.model_copy(update={"choice": choice(0.02), "differences": differences})
    line = f"{name}: confirmed by an earlier version, so the answer need not lie within 0.02 dB of the best mean on "
    lines = _earlier({"other": today, name: today.model_copy(update={"choice": found})})
    assert lines == ([line + "validation."] if is_named else [])
