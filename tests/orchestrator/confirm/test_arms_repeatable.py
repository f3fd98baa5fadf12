"""Every arm gives the same numbers in a process that did nothing before and in one that ran all the others."""

import hashlib
import json
import pickle
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import searched_experiment
import torch
from safetensors.torch import save
from searched_experiment import record, searched

from orchestrator.confirm import job as confirmation_job
from orchestrator.confirm import tasks as confirmation_runs
from orchestrator.confirm.ablation import Ablation
from orchestrator.confirm.record import Candidate
from orchestrator.data import source_images
from orchestrator.foundation.record import Record
from orchestrator.foundation.storage import Storage
from orchestrator.search import trial as trials
from orchestrator.training import finetune as finetuning
from trainables.classical import reconstruction
from trainables.loops.settings import TransferConfiguration, TransferMethod
from trainables.metrics.evaluation import NamedImage

DEFAULT = TransferConfiguration(learning_rate=1e-3, lambda_=0.0, frozen_depth=0)
FOUND = TransferConfiguration(learning_rate=2e-3, lambda_=1e-2, frozen_depth=1)
FOUND_CANDIDATE = Candidate(name="found", label="found", configuration=FOUND, validation_psnr=[], search_psnr=None)
CACHES = (
    finetuning._validation_pairs,
    finetuning._source_pairs,
    finetuning._held_images,
    finetuning._held_source,
    source_images._replayed,
    confirmation_job._opened,
)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arms")
    records = [record(number, 25.0 + number, each, origin="sampler") for number, each in enumerate((DEFAULT, FOUND))]
    jobs = searched(folder, 8, 0.4, records)
    made = jobs.confirmation("satellite")
    return replace(made, ablation=Ablation(model=DEFAULT, features=(DEFAULT,)), classical=Storage(str(folder / "c")))


@pytest.fixture(autouse=True)
def silent(monkeypatch):
    monkeypatch.setattr(source_images, "GENERATED", 2)
    monkeypatch.setattr(source_images, "drawn_image", drawn)


def drawn(seed, side):
    """A cheap stand-in for a generated image, which like it depends on its seed alone."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return NamedImage(f"drawn-{seed}", str(seed), pixels)


def digest(net):
    return hashlib.sha256(save({name: value.contiguous() for name, value in net.state_dict().items()})).hexdigest()


def trained(job, configuration, from_scratch=False, **method):
    changed = replace(job.domain, method=TransferMethod(**method))
    net, curve = finetuning.run_finetuning(changed, configuration, 3, lambda *_: None, from_scratch)
    return digest(net), curve


def averaged(job):
    runs = replace(job, runs=job.runs.child(f"averaged-{random.random()}"))
    runs = replace(runs, candidates=(FOUND_CANDIDATE,))
    for seed in runs.seeds:
        confirmation_runs.train_run(runs, "found", FOUND, seed)
    return confirmation_runs.choose_share(runs, FOUND_CANDIDATE)


def of_runs(job, name, configuration, start):
    runs = replace(job, runs=job.runs.child(f"{name}-{random.random()}"))
    value = confirmation_runs.train_run(runs, name, configuration, 3, start)
    return value, confirmation_runs.score_on_source(runs, f"{name}-seed3")


ARMS = {
    "zero_shot": confirmation_runs.validate_source,
    "scratch": lambda job: trained(job, DEFAULT, from_scratch=True),
    "scratch, shortened": lambda job: trained(job, replace(DEFAULT, kept_blocks=2), from_scratch=True),
    "default": lambda job: trained(job, DEFAULT),
    "best": lambda job: trained(job, FOUND),
    "l2": lambda job: trained(job, FOUND, regularizer="l2"),
    "features": lambda job: trained(job, FOUND, regularizer="features"),
    "replay": lambda job: trained(job, FOUND, regularizer="replay"),
    "feature transfer": lambda job: trained(job, DEFAULT, generator="fresh"),
    "shortened": lambda job: trained(job, replace(FOUND, kept_blocks=3)),
    "run of scratch": lambda job: of_runs(job, "scratch", DEFAULT, "nothing"),
    "run of feature transfer": lambda job: of_runs(job, "feature", DEFAULT, "features"),
    "run of the default": lambda job: of_runs(job, "default", DEFAULT, "source"),
    "averaged": averaged,
    "classical": lambda job: confirmation_runs.fit_classical(
        replace(job, classical=job.classical.child(str(random.random())))
    ),
    "penalty": lambda job: trials.bicubic_psnr(SimpleNamespace(domain=job.domain)),
}


def forget(seed):
    """Leaves the process as another one could be that has done nothing yet."""
    for cache in CACHES:
        cache.cache_clear()
    for cache in [value for value in vars(reconstruction).values() if hasattr(value, "cache_clear")]:
        cache.cache_clear()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    torch.set_num_threads(2)


def test_every_arm_is_the_same_cold_and_warm_and_in_any_order(job):
    cold = {}
    for seed, (name, arm) in enumerate(ARMS.items()):
        forget(100 + seed)
        cold[name] = json.loads(json.dumps(arm(job), default=Record.plain))
    warm = {name: json.loads(json.dumps(arm(job), default=Record.plain)) for name, arm in reversed(ARMS.items())}
    assert warm == cold
    assert cold["scratch"] != cold["default"]


SCRIPT = """
import pickle, sys
sys.path[:0] = {paths!r}
import test_arms_repeatable as arms
job = pickle.loads(bytes.fromhex(sys.stdin.read()))
arms.torch.set_num_threads(1)
print(repr(arms.ARMS["scratch"](job)))
"""


def test_scratch_in_a_process_of_its_own_is_the_scratch_of_a_worker_that_trained_before(job):
    trained(job, FOUND)
    paths = [str(Path(__file__).parent), str(Path(searched_experiment.__file__).parent)]
    command = [sys.executable, "-c", SCRIPT.format(paths=paths)]
    done = subprocess.run(command, input=pickle.dumps(job).hex(), capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == repr(ARMS["scratch"](job))
