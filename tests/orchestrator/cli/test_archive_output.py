"""What an archive run says while it works."""

from orchestrator.archive.batch.archive_progress import Progress
from orchestrator.cli.archive_output import print_estimate, progress_line, watching
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


def test_an_estimate_names_failures_of_the_sample(capsys):
    estimate = {
        "scenes": 9,
        "finished": 1,
        "not_tried": 0,
        "sampled": 3,
        "sampled_failed": {"unreadable": 1, "corrupt": 1},
        "sampled_share": 0.25,
        "core_hours": 2.0,
        "hours": 2.0,
        "price": None,
        "price_per_1000_km2": None,
        "megapixels": 1234.5,
        "output_bytes": 5_000_000,
        "scratch_bytes": 2_000_000_000,
        "area_km2": None,
        "workers": 1,
    }
    print_estimate(estimate)
    assert capsys.readouterr().out.splitlines() == [
        "9 scenes to upscale, 1 finished; 3 sampled, failed 2 (corrupt 1, unreadable 1); 25 % of the pixels upscaled",
        "Time: 2 h 00 min with 1 worker, 2 core-hours for 1,234 MP",
        "Bytes: 5 MB of outputs, 2 GB of scratch",
        "Price: give --price-per-hour for an estimate.",
    ]
