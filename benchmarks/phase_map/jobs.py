"""All trainings of a map: which are planned, and what each needs."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.domain import source_place, write_source
from benchmarks.phase_map.images import Content
from benchmarks.phase_map.plan import DEGRADATIONS, Cell, Choice, Network, trainings
from benchmarks.phase_map.rows import MapTask, hardware
from benchmarks.phase_map.sources import source_model
from benchmarks.phase_map.table_file import key_of
from orchestrator.data.shard_reader import read_manifest
from orchestrator.foundation.model_store import FoundModel
from orchestrator.foundation.storage import Storage
from orchestrator.training.finetune import DomainJob
from trainables.loops.settings import Budget, TransferMethod

SCALE = 4
SOURCE_CONTENT = "natural"
"""The images that a source model is pretrained on where it is not packaged, and that replay draws from."""


class PhaseMap:
    """All trainings of a map.

    Args:
        options: The command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.out, self._options = Path(options.out), options
        root = Storage.at(options.root)
        root.check_readable()
        self._place = Storage.at(str(self.out))
        self._place.check_writable()
        names = dict.fromkeys([*options.contents, SOURCE_CONTENT])
        settings = root, self.out, SCALE, options.lr_patch, options.scenes
        self._contents = {name: Content(name, *settings) for name in names}
        for content in self._contents.values():
            _ = content.pairs
        self._photographs = self._contents[SOURCE_CONTENT].shards(None, real=False)
        self._sources: dict[Network, FoundModel] = {}

    def planned(self) -> list[tuple[Cell, Choice]]:
        """Every training in order."""
        counts = {name: len(self._contents[name].splits["train"]) for name in self._options.contents}
        every = trainings(counts, self._options.networks)
        return [(cell, choice) for cell, choice in every if cell.steps in self._options.steps]

    def key(self, cell: Cell, choice: Choice) -> tuple[Any, ...]:
        """What a row of that training has as its :func:`key_of`."""
        options = self._options
        row = {**asdict(cell), **choice.configuration.to_dict(), **asdict(choice)}
        row |= {"batch": options.batch, "lr_patch": options.lr_patch, "hardware": hardware(options.gpu)}
        return key_of(row)

    def task(self, cell: Cell, choice: Choice) -> MapTask:
        """One training; its images and source model are made unless they stand."""
        options, model = self._options, self._source(cell.network)
        real = cell.shift == "real pairs"
        shards = self._contents[cell.content].shards(cell.scenes, real)
        job = DomainJob(
            domain=cell.content,
            shards=shards,
            shards_digest=str(read_manifest(shards)["digest"]),
            source=source_place(self._place, model),
            source_digest=str(model.card["sha256"]),
            degradation=DEGRADATIONS[cell.shift],
            scale=SCALE,
            budget=Budget(steps=cell.steps, batch=options.batch, evaluations=1),
            lr_patch=options.lr_patch,
            validation_images=options.validation_images,
            validation_crop=options.validation_crop,
            threads=options.threads,
            on_gpu=options.gpu,
            method=TransferMethod(regularizer=choice.regularizer, adapter_rank=choice.adapter_rank),
            source_images=self._photographs,
        )
        return MapTask(cell, choice, job, self._place.child("rows"))

    def _source(self, network: Network) -> FoundModel:
        if network not in self._sources:
            device = torch.device("cuda" if self._options.gpu else "cpu")
            model = source_model(network, SCALE, self._photographs, self.out, device)
            write_source(self._place, model)
            self._sources[network] = model
        return self._sources[network]
