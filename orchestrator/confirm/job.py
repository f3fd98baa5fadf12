"""Input of a domain's confirmation, and the networks and images that its tasks share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from orchestrator.confirm.ablation import Ablation
from orchestrator.confirm.classical import classical_upscaler
from orchestrator.confirm.record import Candidate
from orchestrator.data.locked_test import open_test
from orchestrator.foundation.model_store import read_model
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.vocabulary import CLASSICAL, ZERO_SHOT
from orchestrator.runtime.progress_updates import ProgressUpdates
from orchestrator.search.trial_record import TrialRecord
from orchestrator.training.finetune import DomainJob, source_as_it_is, zero_shot
from trainables.loops.settings import TransferConfiguration
from trainables.metrics.evaluation import Pair, Upscaler, make_pairs
from trainables.network.model_files import WEIGHTS
from trainables.network.network import SuperResolutionNet


@dataclass(frozen=True, slots=True)
class FrontRun:
    """A point of the front of quality and speed that is confirmed; it wins only if it is a candidate too.

    Attributes:
        kept: Residual blocks that it keeps.
        trial: Number of its trial.
        configuration: Configuration of its runs.
        name: Name of its runs; that of a candidate with the same configuration.
        speed: Megapixels of output per second.
    """

    kept: int
    trial: int
    configuration: TransferConfiguration
    name: str
    speed: float

    @property
    def arm(self) -> str:
        """Name of its scores."""
        return f"kept-{self.kept}"


@dataclass(frozen=True, slots=True)
class ConfirmJob:
    """One domain's confirmation.

    Attributes:
        domain: Training data, source model and budget of every run.
        candidates: Configurations of which one wins.
        scratch: Configuration of training from scratch.
        ablation: The steps between zero-shot and the winner; None to leave them out.
        classical: Folder of the fitted classical baselines; None to leave out all but bicubic.
        seeds: Fresh seeds, the same for every arm.
        test: The locked test split.
        opening: Record that opens it.
        runs: Folder of this confirmation's runs.
        model: Folder of the domain's best model.
        lineage: Digests for the model's card.
        cpus: CPUs of each run.
        gpus: GPUs of each run.
        progress: Channel of progress.
        front: Points of the front of quality and speed; none where speed was not searched.
        keep_source: Most PSNR in dB on held-out source images that the answer may lose; None for no limit.
        trials: The trial of each candidate that was one, by the candidate's name.
        stage: Name of the stage whose tasks they are, for the display and the log.
    """

    domain: DomainJob
    candidates: tuple[Candidate, ...]
    scratch: TransferConfiguration
    ablation: Ablation | None
    classical: Storage | None
    seeds: tuple[int, ...]
    test: Storage
    opening: Storage
    runs: Storage
    model: Storage
    lineage: dict[str, str]
    cpus: float
    gpus: float
    progress: ProgressUpdates
    front: tuple[FrontRun, ...] = ()
    keep_source: float | None = None
    trials: Mapping[str, TrialRecord] = field(default_factory=dict)
    stage: str = "confirm"


def facts_of(job: ConfirmJob, name: str, configuration: TransferConfiguration | None, seed: int) -> dict[str, object]:
    """Entries of a run's model card beside the architecture."""
    plain = configuration.to_dict() if configuration else None
    return {"name": name, "configuration": plain, "seed": seed, "lineage": job.lineage}


def soup_of(name: str) -> str:
    """Name of the run with the weights of a candidate's seeds averaged."""
    return f"{name}-soup"


def upscaler_of(job: ConfirmJob, run_name: str) -> Upscaler | None:
    """One run as an upscaler; None if it diverged."""
    if run_name in CLASSICAL:
        return classical_upscaler(job.domain, job.classical, run_name)
    if run_name == ZERO_SHOT:
        return zero_shot(job.domain)
    net = net_of(job, run_name)
    if net is None:
        return None
    device = job.domain.device
    net = net.to(device)
    return lambda lr: net(lr.to(device))


def net_of(job: ConfirmJob, run_name: str) -> SuperResolutionNet | None:
    """One run's network, or the source model's; None if it diverged."""
    return source_as_it_is(job.domain) if run_name == ZERO_SHOT else load_run(job, run_name)


def load_run(job: ConfirmJob, run_name: str) -> SuperResolutionNet | None:
    """The network of a run on storage; None if there is none."""
    place = job.runs.child(run_name)
    if not place.child(WEIGHTS).exists():
        return None
    return read_model(place)[0]


def test_pairs(job: ConfirmJob) -> list[Pair]:
    """The test images; an error before the choice is recorded."""
    return _opened(job.domain, job.test, job.opening)


@lru_cache(maxsize=1)
def _opened(domain: DomainJob, test: Storage, opening: Storage) -> list[Pair]:
    return make_pairs(open_test(test, opening), domain.degradation, domain.scale)
