"""The confirm stage: what a user reads of the winner."""

from confirmations import confirmed
from test_extend_search import experiment, trained  # noqa: F401

from orchestrator.pipeline.stages import confirm as confirm_stage


def test_a_winner_that_changes_constant_fields_is_named(rayscale, experiment, monkeypatch):  # noqa: F811
    errors = {"medical": -0.0126, "satellite": 0.001}

    def confirm(job, runner):
        return confirmed(job).model_copy(update={"constant_fields": errors[job.domain.domain]})

    monkeypatch.setattr(confirm_stage, "drive_confirmation", confirm)
    code, out, err = rayscale("confirm", experiment)
    assert code == 0, err
    named = (
        "confirm medical: done, the winner is default\n  Constant fields come back up to 1.26% of the range too dark"
    )
    assert named in out
    assert out.count("Constant fields") == 1
