"""The network of a run on images: made ready once, and given one file after another."""

from collections.abc import Callable, Collection
from dataclasses import replace
from threading import Event, Lock
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from orchestrator.apply.device import chosen_device
from orchestrator.apply.file_outcome import Outcome, failed
from orchestrator.apply.images_to_upscale import Work
from orchestrator.apply.picture import available_memory, upscale_picture
from orchestrator.foundation.file_types import is_jpeg
from orchestrator.foundation.model_store import FoundModel
from trainables.errors import UnreadableImageError
from trainables.inference.prepare import Prepared, prepared

if TYPE_CHECKING:
    from orchestrator.apply.upscale import Settings


def ready_for_images(
    model: FoundModel, works: Collection[Work], settings: "Settings", stopped: Event
) -> tuple[Prepared, Callable[[Work], Outcome]]:
    """Makes a network ready.

    Args:
        model: The model.
        works: Images that it is to upscale, which may be plain pictures or deeper files.
        settings: Settings for upscaling.
        stopped: Once it is set, the network raises before the next tile, so that Ctrl-C ends a large image soon.

    Returns:
        The network, and a function that upscales one file; it can be called by several threads.

    Raises:
        UsageError: If the device does not exist.
    """
    device = chosen_device(settings.device)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    net, lock = _stoppable(prepared(model.net, device, settings.precision), stopped), Lock()
    deep = None
    if any(work.deep for work in works):
        from orchestrator.apply.deep_files import deep_upscaler

        precise = net
        if settings.precision == "auto":
            precise = _stoppable(prepared(model.net, device, "float32"), stopped)
        deep = deep_upscaler(model, precise, settings, lock)

    def upscale_file(work: Work) -> Outcome:
        return deep(work) if deep is not None and work.deep else _upscale_picture(net, work, settings, lock)

    return net, upscale_file


def _stoppable(net: Prepared, stopped: Event) -> Prepared:
    def run(lr: Tensor) -> Tensor:
        if stopped.is_set():
            raise RuntimeError("interrupted")
        return net.run(lr)

    return replace(net, run=run)


def _upscale_picture(net: Prepared, work: Work, settings: "Settings", lock: Lock) -> Outcome:
    try:
        if work.lost is not None:
            raise UnreadableImageError(work.lost)
        data = work.source.read_bytes()
        jpeg = is_jpeg(work.target.uri)
        picture = upscale_picture(data, net, jpeg, settings.tile, settings.ensemble, lock, available_memory())
        work.target.write_bytes(picture.data)
    except Exception as error:  # an error of one file must not end the run
        return failed(work, error)
    return Outcome(work.name, note=picture.note, pixels=picture.pixels)
