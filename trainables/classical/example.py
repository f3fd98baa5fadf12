"""Learning from examples: anchored neighbourhood regression on patches, with one linear map for each anchor.

After A+ (Timofte, De Smet & Van Gool, ACCV 2014): an LR patch, its mean removed, chooses the anchor it is most
correlated with; that anchor's map, a ridge regression on its nearest training patches, gives the HR detail of the 3×3
LR pixels in the middle, and overlapping details are averaged. Here a patch is its LR pixels, not filtered pixels of the
interpolated image, and anchors are cluster centres of unit patches rather than atoms of a sparse dictionary.

Shapes: K anchors, S patches, D = patch² LR pixels, r the scale factor, B = (3·r)² HR pixels of a detail.
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from scipy.cluster.vq import kmeans2
from torch import Tensor
from torch.nn import functional

from trainables.classical.luma import planes, with_detail
from trainables.errors import UsageError
from trainables.network.network import interpolate

PATCH = 5
"""Side of an LR patch in pixels."""

_DETAIL = 3
"""Side of what a patch explains, in LR pixels."""

_PER_IMAGE = 128
_PER_ANCHOR = 40
_ITERATIONS = 15
_CHUNK = 8192
_FLAT = 1e-3
"""Patches of a smaller norm on the [0, 1] scale count as flat and are not blown up to unit norm."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Training patches: ``patches`` (S, D), their means removed, and ``details`` (S, B) beyond interpolation."""

    patches: Tensor
    details: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class AnchoredRegression:
    """An upscaler learnt from examples.

    Attributes:
        anchors: (K, D), of unit norm.
        maps: (K, B, D), from a patch to the HR detail in its middle.
    """

    anchors: Tensor
    maps: Tensor

    @property
    def scale(self) -> int:
        """Scale factor r."""
        return math.isqrt(self.maps.shape[1]) // _DETAIL

    def __call__(self, lr: Tensor) -> Tensor:
        """Upscales a batch (N, C, H, W) to (N, C, r·H, r·W); values may leave [0, 1] slightly.

        Raises:
            UsageError: If ``lr`` is no batch of float images.
        """
        return with_detail(lr, self.scale, self._detail)

    def pack(self) -> bytes:
        """The two tensors as a safetensors file."""
        return save({"anchors": self.anchors.contiguous(), "maps": self.maps.contiguous()})

    @classmethod
    def unpack(cls, data: bytes) -> "AnchoredRegression":
        """The inverse of :meth:`pack`.

        Raises:
            UsageError: If ``data`` is something else.
        """
        try:
            tensors = load(data)
        except SafetensorError as error:
            raise UsageError(f"This is no safetensors file of an anchored regression: {error}.") from None
        shapes = {name: tuple(tensors[name].shape) for name in sorted(tensors)}
        match shapes:
            case {"anchors": (count, size), "maps": (same, details, also)} if (count, size) == (same, also):
                if size == PATCH**2 and math.isqrt(details // _DETAIL**2) ** 2 * _DETAIL**2 == details:
                    return cls(tensors["anchors"], tensors["maps"])
        raise UsageError(
            f"An anchored regression has anchors (K, {PATCH**2}) and maps (K, 9·r², {PATCH**2}), found {shapes}."
        )

    def _detail(self, y: Tensor) -> Tensor:
        height, width = y.shape[-2:]
        anchors, maps = self.anchors.to(y), self.maps.to(y)
        blocks = torch.stack([_mapped(patches, anchors, maps) for patches in _patches(_padded(y))])
        size = (height * self.scale, width * self.scale)
        how = {"kernel_size": _DETAIL * self.scale, "stride": self.scale, "padding": self.scale}
        covered = functional.fold(torch.ones_like(blocks[:1].mT), size, **how)
        return functional.fold(blocks.mT, size, **how) / covered


def collect_examples(batches: Iterable[tuple[Tensor, Tensor]], scale: int, seed: int) -> Examples:
    """Cuts training patches from pairs of LR (N, C, P, P) and HR (N, C, r·P, r·P), P being 5 or more.

    Args:
        batches: Pairs as :class:`trainables.images.patch_pool.PatchPool` draws them.
        scale: Scale factor r.
        seed: Chooses the patches.
    """
    generator = torch.Generator().manual_seed(seed)
    patches, details = [], []
    inner = PATCH // 2 - _DETAIL // 2
    for lr, hr in batches:
        y = planes(lr)
        beyond = planes(hr) - interpolate(y, scale)
        cut = inner * scale
        found = _patches(y)
        answers = functional.unfold(beyond[..., cut:-cut, cut:-cut], _DETAIL * scale, stride=scale).mT
        some = torch.randperm(found.shape[1], generator=generator)[: max(1, _PER_IMAGE * len(lr) // len(y))]
        patches.append(found[:, some].flatten(0, 1))
        details.append(answers[:, some].flatten(0, 1))
    return Examples(torch.cat(patches), torch.cat(details))


def find_anchors(examples: Examples, count: int, seed: int) -> Tensor:
    """Anchors (K, D) of unit norm: k-means on unit patches, those of opposite sign counting as one.

    By SciPy's k-means, on one thread: the sums of scikit-learn's depend on the order in which threads end.
    """
    chosen = np.random.default_rng(seed).permutation(len(examples.patches))[: count * _PER_ANCHOR]
    units = _units(examples.patches[torch.from_numpy(chosen)])
    # A linear map treats a patch and its negative alike, so both should find the same anchor.
    largest = units.gather(1, units.abs().argmax(1, keepdim=True))
    alike = torch.where(largest < 0, -units, units).numpy()
    with warnings.catch_warnings():
        # Where patches repeat, a cluster may stay empty; it keeps its centre.
        warnings.simplefilter("ignore", UserWarning)
        centres, _ = kmeans2(alike, alike[:count], iter=_ITERATIONS, minit="matrix")
    return _units(torch.from_numpy(centres))


def learn(examples: Examples, anchors: Tensor, neighbours: int, ridges: Sequence[float]) -> list[AnchoredRegression]:
    """Fits every anchor's map to its nearest patches, each weighted by 1/norm², as A+ does.

    Args:
        examples: Training patches.
        anchors: (K, D) of unit norm.
        neighbours: Training patches of each anchor.
        ridges: λ of the ridge regression, more than 0; each gives a fit of its own, and all share the search for
            neighbours, which is most of the work.
    """
    size = examples.patches.shape[1]
    norms = _norms(examples.patches)
    patches, details = examples.patches / norms, examples.details / norms
    maps: list[list[Tensor]] = [[] for _ in ridges]
    for anchor in anchors:
        nearest = (patches @ anchor).abs().topk(min(neighbours, len(patches))).indices
        x, t = patches[nearest], details[nearest]
        gram, moments = x.T @ x, x.T @ t
        for ridge, found in zip(ridges, maps, strict=True):
            found.append(torch.linalg.solve(gram + ridge * torch.eye(size), moments).T)
    return [AnchoredRegression(anchors, torch.stack(found)) for found in maps]


def _mapped(patches: Tensor, anchors: Tensor, maps: Tensor) -> Tensor:
    """Each patch under its anchor's map: (S, D) to (S, B)."""
    # An anchor at a time: one product of (S, B, D) gathered maps would be gigabytes.
    chosen = torch.cat([(some @ anchors.T).abs().argmax(1) for some in torch.split(patches, _CHUNK)])
    order = chosen.argsort(stable=True)
    counts = chosen.bincount(minlength=len(anchors)).tolist()
    details = torch.empty(len(patches), maps.shape[1], dtype=patches.dtype, device=patches.device)
    for places, linear in zip(torch.split(order, counts), maps, strict=True):
        details[places] = patches[places] @ linear.T
    return details


def _padded(y: Tensor) -> Tensor:
    return functional.pad(y, [PATCH // 2] * 4, mode="replicate")


def _patches(y: Tensor) -> Tensor:
    """All patches of images (N, 1, H, W), their means removed: (N, S, D)."""
    patches = functional.unfold(y, PATCH).mT
    return patches - patches.mean(-1, keepdim=True)


def _units(patches: Tensor) -> Tensor:
    return patches / _norms(patches)


def _norms(patches: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(patches, dim=1, keepdim=True)
    return norms.clamp_min(_FLAT)
