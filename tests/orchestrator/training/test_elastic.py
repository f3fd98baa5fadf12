"""Fewer workers than shares give the same training, and a resumed one draws what an unbroken one would."""

from pathlib import Path

import noise_images
import pytest
import tiny_experiment
import torch
from rich.console import Console
from torch import distributed, multiprocessing, nn

from orchestrator.data.shards import build_shards
from orchestrator.data.train_stream import Ingest
from orchestrator.experiment.feasibility import Resources, check_resources
from orchestrator.experiment.load import make_experiment
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.runtime.progress import Display
from orchestrator.runtime.progress_updates import NO_PROGRESS
from orchestrator.runtime.task_runner import in_process
from orchestrator.training.pretrain_worker import PretrainJob, new_net, pools_of_shares, train
from orchestrator.training.record import PretrainResult
from trainables.errors import UsageError
from trainables.loops.pretrain import Files, PretrainSettings, Shares, restore, step_of
from trainables.network.network import Architecture

CPU = torch.device("cpu")
SHARES = 3


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> PretrainJob:
    """Three shares of five images, of which a pool holds three: it replaces one after every 64 patches."""
    folder = tmp_path_factory.mktemp("shards")
    source = Storage.at(str(noise_images.write(folder / "images", [f"{i}.png" for i in range(15)], (48, 48))))
    files = [SourceFile(source, facts, facts.path, False) for facts in source.files()]
    shards = Storage.at(str(folder / "shards"))
    build_shards(files, {}, 32, shards, "ours")
    settings = PretrainSettings(
        steps=12, batch=24, learning_rate=1e-3, report_every=4, checkpoint_every=4, seed=1, precision="float32"
    )
    architecture = Architecture(scale=2, width=8, depth=1)
    return PretrainJob(architecture, settings, Ingest(shards), 8, 3, 1, NO_PROGRESS, SHARES)


def trained(job: PretrainJob, rank: int, processes: int, resume: Files | None = None) -> list[Files]:
    """Trains as one of several processes, all of which must do so; gives its checkpoints."""
    net, kept = new_net(job), list[Files]()
    shares = Shares.of(rank, processes, SHARES)
    parallel = nn.parallel.DistributedDataParallel(net) if processes > 1 else None
    pools = pools_of_shares(job, shares, CPU, step_of(resume) if resume else 0)

    def keep(step: int, loss: float, files: Files | None) -> None:
        kept.extend([files] if files else [])

    train(job, net, pools, keep, resume=resume, parallel=parallel, rank=rank, shares=shares)
    return kept


def _as_one_of_two(rank: int, job: PretrainJob, rendezvous: str, out: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    files = trained(job, rank, 2)
    if rank == 0:
        torch.save(files, out)
    distributed.destroy_process_group()


def weights(files: Files, job: PretrainJob) -> tuple[dict[str, torch.Tensor], list[tuple[int, float]]]:
    net = new_net(job)
    history = restore(files, net)
    return net.state_dict(), history.losses


def test_two_workers_of_three_shares_train_as_one_or_three_do(job: PretrainJob, tmp_path: Path) -> None:
    multiprocessing.spawn(_as_one_of_two, (job, str(tmp_path / "meet"), str(tmp_path / "two")), nprocs=2)
    two, two_losses = weights(torch.load(tmp_path / "two")[-1], job)
    one, one_losses = weights(trained(job, 0, 1)[-1], job)
    assert two_losses == [(step, pytest.approx(loss, rel=1e-4)) for step, loss in one_losses]
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-4, rtol=0, msg=name)
    assert [Shares.of(rank, 2, 3) for rank in range(2)] == [Shares((0, 2), 4 / 3), Shares((1,), 2 / 3)]


def test_a_resumed_training_draws_from_the_images_that_an_unbroken_one_holds(job: PretrainJob) -> None:
    checkpoints = trained(job, 0, 1)
    assert [step_of(files) for files in checkpoints] == [4, 8, 12]
    resumed, unbroken = weights(trained(job, 0, 1, checkpoints[1])[-1], job), weights(checkpoints[-1], job)
    assert resumed[1] == unbroken[1]
    assert all(torch.equal(resumed[0][name], value) for name, value in unbroken[0].items())


def test_passes_without_end_begin_at_any_image(job: PretrainJob) -> None:
    share = job.ingest.share(1, SHARES)
    images = [image.tobytes() for image in share()]
    assert len(share) == len(images) == 5
    for start in (0, 3, 5, 13):
        found = share.without_end(start)
        assert [next(found).tobytes() for _ in range(7)] == [images[(start + i) % 5] for i in range(7)]


def test_fewer_workers_than_asked_for_must_fit_and_no_more() -> None:
    section = {"workers": 8, "gpus_per_worker": 1, "least_workers": 2}
    experiment = make_experiment(tiny_experiment.settings("images", "runs", pretraining=section), "here")
    check_resources(experiment, Resources(8, 2, 2))
    with pytest.raises(UsageError, match=r"Pretraining asks for 2 workers × 1 GPU, but this cluster has 1;"):
        check_resources(experiment, Resources(8, 1, 1))
    for wrong, said in (({"least_workers": 9}, "lower least_workers"), ({"reading": "ray_data"}, "reading: direct")):
        with pytest.raises(UsageError, match=said):
            make_experiment(tiny_experiment.settings("images", "runs", pretraining=section | wrong), "here")


@pytest.mark.cluster
def test_on_ray_two_workers_begin_where_three_do_not_fit(ray_session: None, tmp_path: Path) -> None:
    tiny_experiment.write_images(tmp_path / "images")
    losses = {}
    for name, start in (("on-ray", None), ("here", in_process)):
        pretraining = {"workers": SHARES, "least_workers": 1}
        content = tiny_experiment.settings(str(tmp_path / "images"), str(tmp_path / name), pretraining=pretraining)
        experiment = make_experiment(content, "here")
        display = Display(Console(quiet=True))
        run_experiment(experiment, preflight(experiment), display, until="pretrain", start=start)
        record = experiment.home.child("source", "stage.json").read_json()
        losses[name] = PretrainResult.parse(record["result"]).loss
    assert losses["on-ray"] == [(step, pytest.approx(loss, rel=1e-4)) for step, loss in losses["here"]]
