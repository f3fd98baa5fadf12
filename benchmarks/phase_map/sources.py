"""Source models of the map: the packaged one, and others pretrained once in the run."""

from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.phase_map.plan import Network
from orchestrator.data.shard_reader import read_split
from orchestrator.foundation.model_store import FoundModel, find_model, write_model
from orchestrator.foundation.storage import Storage
from trainables.degradation import Degradation
from trainables.images.patch_pool import PatchPool
from trainables.loops.pretrain import PretrainSettings, pretrain
from trainables.loops.seeding import restart
from trainables.network.architecture import preset
from trainables.network.model_files import CARD
from trainables.network.network import SuperResolutionNet

PACKAGED: dict[Network, str] = {"base": "base-x4"}
PRETRAINING = {"tiny": 1500, "large": 20000}
"""Steps, of 8 patches of 24² LR pixels with Muon at 2e-3."""


def source_model(network: Network, scale: int, photographs: Storage, out: Path, device: torch.device) -> FoundModel:
    """The source model of a network.

    Args:
        network: Its preset.
        scale: Scale factor r.
        photographs: Shards of natural images, on which a network is pretrained that is not packaged.
        out: Folder in which that model is kept.
        device: Where it is trained.
    """
    if network in PACKAGED:
        return find_model(PACKAGED[network])
    place = Storage.at(str(out / "models" / f"{network}-x{scale}"))
    if place.child(CARD).read_json() is None:
        _pretrain(network, scale, photographs, place, device)
    return find_model(place.uri)


def _pretrain(network: Network, scale: int, photographs: Storage, place: Storage, device: torch.device) -> None:
    images = [image.pixels for image in read_split(photographs, "train")]
    settings = PretrainSettings(
        steps=PRETRAINING[network],
        batch=8,
        learning_rate=2e-3,
        report_every=250,
        checkpoint_every=PRETRAINING[network],
        seed=0,
    )
    restart(0, torch.get_num_threads())
    net = SuperResolutionNet(preset(network, scale)).to(device)
    pool = PatchPool(lambda: iter(images), scale=scale, lr_patch=24, degradation=Degradation(), seed=0, device=device)
    pretrain(net, settings, pool, lambda step, loss, _: print(f"{network}: step {step}, loss {loss:.4f}", flush=True))
    facts = {"name": f"{network}-x{scale}", "degradation": Degradation().to_dict(), "training": asdict(settings)}
    write_model(place, net.cpu(), facts)
