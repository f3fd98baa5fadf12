"""A worker's fine-tuning: the method of its job, and what the network has forgotten of the source."""

from dataclasses import replace

import pytest
import tiny_models
import torch

from orchestrator.data import source_images
from orchestrator.data.shard_reader import read_manifest
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files
from orchestrator.training.finetune import DomainJob, load_source, run_finetuning, source_degradation, source_psnr
from orchestrator.training.finetune import _training_images as training_images
from orchestrator.training.finetune import validation_pairs as pairs_of
from trainables import samples
from trainables.degradation import Degradation
from trainables.errors import RunError
from trainables.loops.settings import Budget, TransferConfiguration, TransferMethod
from trainables.samples import write_samples

CONFIGURATION = TransferConfiguration(learning_rate=1e-3, lambda_=1e-2, frozen_depth=1)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    home = tmp_path_factory.mktemp("job")
    for domain in ("natural", "satellite"):
        write_samples(home / domain, domain, 4, 1, seed=5, size=(96, 96))
        files = list_files(ImageSet(images=str(home / domain)), Storage.at("."))
        build_shards(files, {"validation": 0.3}, 64, Storage.at(str(home / "shards" / domain)), "CC0")
    shards = Storage.at(str(home / "shards" / "satellite"))
    source = Storage.at(tiny_models.write(home / "model", tiny_models.net(4), degradation=None))
    return DomainJob(
        domain="satellite",
        shards=shards,
        shards_digest=str(read_manifest(shards)["digest"]),
        source=source,
        source_digest="tiny",
        degradation=Degradation(blur=(0.4, 0.4)),
        scale=4,
        budget=Budget(steps=2, batch=1, evaluations=1),
        lr_patch=12,
        validation_images=1,
        validation_crop=64,
        threads=1,
        on_gpu=False,
        source_images=Storage.at(str(home / "shards" / "natural")),
    )


def trained(job, method, seed=0):
    return run_finetuning(replace(job, method=method), CONFIGURATION, seed, lambda *_: None)[0].state_dict()


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_each_method_trains_another_network_and_the_default_is_l2_sp(job):
    methods = [
        TransferMethod(),
        TransferMethod(generator="fresh"),
        TransferMethod(frozen_from="output"),
        *(TransferMethod(regularizer=name) for name in ("l2", "features", "replay")),
    ]
    found = [trained(job, method) for method in methods]
    assert equal(found[0], run_finetuning(job, CONFIGURATION, 0, lambda *_: None)[0].state_dict())
    different = [(i, k) for i in range(len(found)) for k in range(i) if not equal(found[i], found[k])]
    assert len(different) == 15


@pytest.mark.parametrize("method", [TransferMethod(regularizer=name) for name in ("l2-sp", "features", "replay")])
def test_a_shortened_network_is_trained_from_the_source_s_first_blocks_and_tied_to_them(job, method):
    many = replace(job, method=method, budget=Budget(steps=8, batch=1, evaluations=1))
    whole, source = load_source(job), load_source(job, 3)
    moved = {}
    for lambda_ in (0.0, 100.0):
        short = replace(CONFIGURATION, kept_blocks=3, lambda_=lambda_)
        net = run_finetuning(many, short, 0, lambda *_: None)[0]
        assert net.architecture == source.architecture == replace(whole.architecture, depth=3)
        assert torch.equal(net.features.stem.weight, whole.features.stem.weight)  # the frozen depth is 1
        weights = source.state_dict()
        moved[lambda_] = sum(float((v - weights[k]).square().sum()) for k, v in net.state_dict().items())
    assert moved[0.0] > 0
    if method.regularizer == "l2-sp":
        assert moved[100.0] < 0.5 * moved[0.0]
    else:
        assert moved[100.0] != moved[0.0]
    assert load_source(job).architecture == whole.architecture, "the source that a worker holds was cut"


def test_training_from_scratch_knows_no_method(job):
    plain, other = (
        run_finetuning(replace(job, method=method), replace(CONFIGURATION, lambda_=0.0), 0, lambda *_: None, True)[0]
        for method in (TransferMethod(), TransferMethod(frozen_from="output"))
    )
    assert equal(plain.state_dict(), other.state_dict())


def test_arms_share_their_validation_images(job):
    assert pairs_of(job) is pairs_of(replace(job, method=TransferMethod(regularizer="l2")))
    assert pairs_of(job) is pairs_of(replace(job, device_count=2))


@pytest.mark.parametrize("regularizer", ["l2-sp", "features", "replay"])
def test_devices_that_share_a_batch_train_as_one_does(job, regularizer):
    runs = {}
    for count in (1, 2):
        budget, certificates = Budget(steps=4, batch=3, evaluations=2), []
        shared = replace(job, budget=budget, method=TransferMethod(regularizer=regularizer), device_count=count)
        net, curve = run_finetuning(shared, CONFIGURATION, 3, lambda *_: None, certify=certificates.append)
        runs[count] = net.state_dict(), curve, certificates
    (one, curve, certificate), (two, shared_curve, shared_certificate) = runs[1], runs[2]
    assert certificate == shared_certificate
    assert shared_curve == [(step, pytest.approx(value, abs=1e-3)) for step, value in curve]
    moved = max(float((one[name] - value).abs().max()) for name, value in load_source(job).state_dict().items())
    assert moved > 1e-3
    assert all(torch.allclose(one[name], two[name], atol=moved / 50) for name in one)


def test_devices_are_the_gpus_that_the_worker_sees(job, monkeypatch):
    cpu, gpu = torch.device("cpu"), replace(job, on_gpu=True)
    assert job.devices == (cpu,)
    assert replace(job, device_count=2).devices == (cpu, cpu)
    assert gpu.devices == (torch.device("cuda"),)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert replace(gpu, device_count=2).devices == (torch.device("cuda", 0), torch.device("cuda", 1))
    with pytest.raises(RunError, match=r"needs 3 GPUs \(search.gpus_per_trial\), but its process sees 2: check .*"):
        run_finetuning(replace(gpu, device_count=3), CONFIGURATION, 0, lambda *_: None)


def test_source_psnr_is_of_the_held_out_source_shards(job, monkeypatch):
    monkeypatch.setattr(samples, "generate", None)  # not needed where there are shards
    net = load_source(job)
    before = source_psnr(job, net)
    with torch.no_grad():
        net.generator.conv.weight.add_(0.1)
    assert source_psnr(job, net) < before - 1


def test_generated_images_that_nothing_trains_on_stand_in_for_shards(job, monkeypatch):
    seeds = []

    def generate(domain, seed, size):
        seeds.append((domain, seed))
        return drawn(domain, seed, (64, 64))

    drawn = samples.generate
    monkeypatch.setattr(samples, "generate", generate)
    monkeypatch.setattr(source_images, "GENERATED", 2)
    without = replace(job, source_images=None, validation_crop=48)
    trained(without, TransferMethod(regularizer="replay"))
    assert seeds == [("natural", 0), ("natural", 1)]
    source_psnr(without, load_source(without))
    assert seeds[2:] == [("natural", 1_000_000)]


def test_a_card_without_a_degradation_means_plain_bicubic(job):
    assert source_degradation(job) == Degradation()


def test_a_finished_model_learns_from_validation_images_too(job):
    both = replace(job, splits=("train", "validation"))
    digests = {
        splits: {image.pixels.tobytes() for image in training_images(replace(job, splits=splits))}
        for splits in (("train",), ("validation",), both.splits)
    }
    assert digests["train",] | digests["validation",] == digests[both.splits]
    assert not digests["train",] & digests["validation",]
    assert not equal(trained(job, TransferMethod()), trained(both, TransferMethod()))
    assert pairs_of(both) is pairs_of(replace(job, budget=Budget(steps=9, batch=1, evaluations=1)))
