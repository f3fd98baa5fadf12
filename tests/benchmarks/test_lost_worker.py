"""What a killed worker cost, as it follows from the log of all processes."""

import pytest

from benchmarks.training.lost_worker import StepLog, describe, notes, recovery

KILL = {"at": 100.0, "step": 30, "process": 1}


def lines():
    before = [{"at": 90.0 + 0.3 * step, "process": 1, "event": "step", "step": step} for step in range(20, 31)]
    reads = [{"at": 95.0, "process": 1, "event": "read", "bytes": 7}]
    reads += [{"at": 108.5, "process": process, "event": "read", "bytes": 10} for process in (3, 4)]
    moments = [
        {"at": 101.5, "process": 2, "event": "line", "line": "a worker was lost"},
        {"at": 107.0, "process": 3, "event": "start"},
        {"at": 108.0, "process": 4, "event": "start"},
    ]
    after = [{"at": 109.0 + 0.5 * (step - 21), "process": 3, "event": "step", "step": step} for step in range(21, 40)]
    return sorted([*before, *reads, *moments, *after], key=lambda line: line["at"])


def test_times_count_from_the_kill_and_rays_share_ends_where_the_last_worker_starts():
    cost = recovery(lines(), KILL, 2)
    assert (cost["noticed_s"], cost["started_s"], cost["first_step_s"], cost["new_step_s"]) == (1.5, 8.0, 9.0, 14.0)
    assert cost["ray_share"] == pytest.approx(8 / 14)


def test_steps_after_the_checkpoint_are_made_again_and_images_read_again():
    cost = recovery(lines(), KILL, 2)
    assert (cost["steps_again"], cost["images_read_again"], cost["bytes_read_again"]) == (10, 2, 20)


def test_steps_of_the_killed_process_that_were_logged_late_do_not_count():
    late = [{"at": 100.1, "process": 1, "event": "step", "step": 31}]
    assert recovery(sorted([*lines(), *late], key=lambda line: line["at"]), KILL, 2)["new_step_s"] == 14.0


def test_only_steps_and_lines_of_the_channel_are_noted(tmp_path):
    log = StepLog(str(tmp_path / "log"))
    log.report("pretraining", 0, 9, "starting workers")
    log.report("pretraining", 3, 9, "loss 0.1")
    log.log("pretraining: a worker was lost")
    assert [line["event"] for line in notes(log.log_file)] == ["step", "line"]


def test_the_page_has_each_kill_and_the_median():
    measured = {
        "workers": 2,
        "images": 9,
        "step_s": 0.5,
        "images_read_before": 18,
        "kills": [recovery(lines(), KILL, 2)],
    }
    page = describe({"date": "d", "command": "c", "environment": {}, "measured": measured})
    assert "| 1 | 1.5 | 8.0 | 9.0 | 14.0 | 57% | 10 | 2 | 20 |" in page
    assert "| median |" in page
