"""Tasks of a finished model on workers: averaging the seeds, putting the model together, publishing it."""

import numpy as np
import torch

from orchestrator.confirm.job import ConfirmJob, facts_of, load_run
from orchestrator.confirm.publish import origin_of
from orchestrator.confirm.record import ArmScores
from orchestrator.confirm.tasks import forget_scores
from orchestrator.finish.job import ALL_SPLITS, FinishJob, run_name
from orchestrator.finish.record import FINISHED, Averaging, Decision
from orchestrator.foundation.model_store import read_model, write_model
from orchestrator.foundation.storage import Storage
from orchestrator.training.finetune import load_source, source_loss, validation_psnr
from trainables.errors import RunError
from trainables.metrics.constant_fields import constant_field_error
from trainables.network.model_files import CARD, WEIGHTS, pack_model
from trainables.network.network import SuperResolutionNet
from trainables.network.weight_average import averaged, interpolated

Assembled = tuple[list[int], tuple[str, ...]]
"""Seeds whose weights a finished model has, and the splits that it was trained on."""


def compare_averaging(job: FinishJob, steps: int) -> Averaging | None:
    """Scores the seeds' mean weights on validation beside single seeds; None if fewer than two seeds did not diverge.

    The networks are those of the chosen length that were trained on the training split alone.
    """
    torch.set_num_threads(job.confirmation.domain.threads)
    nets = list(_trained(job, steps).values())
    if len(nets) < 2:
        return None
    domain = job.confirmation.domain
    single = float(np.mean([validation_psnr(domain, net.to(domain.device)) for net in nets]))
    return Averaging(single_psnr=single, averaged_psnr=validation_psnr(domain, averaged(nets).to(domain.device)))


def mean_source_loss(job: FinishJob, steps: int) -> float:
    """Mean PSNR in dB on held-out source images that the trainings of one length lose."""
    torch.set_num_threads(job.confirmation.domain.threads)
    domain = job.confirmation.domain
    return float(np.mean([source_loss(domain, net.to(domain.device))[1] for net in _trained(job, steps).values()]))


def assemble(job: FinishJob, decision: Decision) -> Assembled:
    """Writes the finished model beside its trainings, for its scores.

    Where all trainings on the validation images too have diverged, those on the training split alone stand in.

    Raises:
        RunError: If their weights are missing.
    """
    full = job.training(decision.steps, ALL_SPLITS)
    seeds = job.seeds if decision.averages else job.seeds[:1]
    splits: tuple[str, ...] = ALL_SPLITS
    nets = _nets(job, full, run_name(decision.steps, ALL_SPLITS), seeds)
    if not nets:
        splits, nets = ("train",), _trained(job, decision.steps)
        nets = nets if decision.averages else dict(list(nets.items())[:1])
    if not nets:
        raise RunError(f"The weights of {job.winner} with {decision.steps} steps are missing; run again.")
    place = job.runs.child(FINISHED)
    files = pack_model(averaged(list(nets.values())), _facts(job, decision, list(nets), splits))
    if _weights(place) != files[WEIGHTS]:  # before they are written: the run may be killed in between
        forget_scores(full, FINISHED)
    for name, data in files.items():
        place.child(name).write_bytes(data)
    return list(nets), splits


def publish(job: FinishJob, decision: Decision, assembled: Assembled, scores: ArmScores) -> float:
    """Writes the finished model, with its scores on the test split, as the domain's model.

    Returns:
        Deviation of its constant fields, see :mod:`trainables.metrics.constant_fields`.
    """
    net, _ = read_model(job.runs.child(FINISHED))
    metrics = {"test_bicubic": job.confirmed.arms["bicubic"].plain(), "test": scores.plain()}
    facts = _facts(job, decision, *assembled) | origin_of(job.confirmation.domain, net) | {"metrics": metrics}
    write_model(job.model, net, facts)
    return constant_field_error(net)


def copy_confirmed(job: FinishJob) -> None:
    """Copies the confirmed model, which is the source model as it is, to the place of the finished one."""
    for file in (WEIGHTS, CARD):
        job.model.child(file).write_bytes(job.confirmation.model.child(file).read_bytes())


def _facts(job: FinishJob, decision: Decision, seeds: list[int], splits: tuple[str, ...]) -> dict[str, object]:
    facts = facts_of(job.confirmation, job.confirmation.domain.domain, decision.configuration, seeds[0])
    finished = {"steps": decision.steps, "seeds": seeds, "splits": list(splits), "winner": decision.winner}
    share = {} if job.share == 1 else {"share_of_tuned_weights": job.share}
    generator = {"generator": "fresh"} if job.start == "features" else {}
    return facts | {"finished": finished} | share | generator


def _trained(job: FinishJob, steps: int) -> dict[int, SuperResolutionNet]:
    """The networks that were trained for so many steps on the training split alone, by seed."""
    if steps == job.base_steps:
        return _nets(job, job.confirmation, job.base, job.seeds)
    return _nets(job, job.training(steps), run_name(steps), job.seeds)


def _nets(job: FinishJob, trained: ConfirmJob, name: str, seeds: tuple[int, ...]) -> dict[int, SuperResolutionNet]:
    """Networks of trainings by seed, averaged with the source's weights as the answer's are."""
    loaded = {seed: load_run(trained, f"{name}-seed{seed}") for seed in seeds}
    nets = {seed: net for seed, net in loaded.items() if net is not None}
    if job.share == 1:
        return nets
    kept = job.configuration.kept_blocks if job.configuration else None
    source = load_source(job.confirmation.domain, kept)
    return {seed: interpolated(source, net, job.share) for seed, net in nets.items()}


def _weights(place: Storage) -> bytes | None:
    file = place.child(WEIGHTS)
    return file.read_bytes() if file.exists() else None
