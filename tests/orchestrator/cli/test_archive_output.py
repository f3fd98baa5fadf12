"""What an archive run says while it works."""

from orchestrator.archive.batch.archive_progress import Progress
from orchestrator.cli.archive_output import progress_line, watching
from orchestrator.runtime.gpu_demand import Joined


def test_notes_and_gpus_that_join_are_said_once(capsys):
    progress = Progress(scenes=9, notes=["There is no GPU."])
    with watching() as show:
        for joined in (None, Joined(0, 2), Joined(0, 2), Joined(1, 2), Joined(2, 2), Joined(2, 2)):
            progress.joined = joined
            show(progress)
    assert capsys.readouterr().err.splitlines() == [
        "There is no GPU.",
        "This cluster has 0 GPUs; 2 more are asked for.",
        "This cluster has 1 GPU; 1 more is asked for.",
        "This cluster has 2 GPUs.",
    ]


def test_gpus_that_are_waited_for_are_in_the_line():
    progress = Progress(scenes=9, joined=Joined(3, 8))
    assert "9 left, time unknown, waiting for 5 of 8 GPUs, none failed" in progress_line(progress)
    progress.joined = Joined(8, 8)
    assert "GPU" not in progress_line(progress)
