"""LR-HR pairs made from generated images with the domains' own degradations, and ones that are wrong in a known way."""

from dataclasses import replace
from functools import lru_cache

import torch
from torch.nn import functional

from search_spaces import art, ct, medical, satellite, surveillance
from trainables.network.network import interpolate
from trainables.samples import generate

DEGRADATIONS = {space.SPACE.domain: space.SPACE.degradation for space in (art, ct, medical, satellite, surveillance)}
IMAGES, SIDE = 4, 320


@lru_cache(maxsize=64)
def image(domain, seed):
    """A generated HR image (3, SIDE, SIDE) in [0, 1]."""
    pixels = generate("medical" if domain == "ct" else domain, seed, (SIDE, SIDE))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def degraded(domain, hr, scale, seed, **changes):
    """An LR image as the domain's degradation makes it, with changed settings."""
    gray = torch.tensor([domain in ("ct", "medical")])
    generator = torch.Generator().manual_seed(seed)
    return replace(DEGRADATIONS[domain], **changes)(hr[None], scale, gray, generator)[0]


def good(domain, hr, scale, seed):
    return hr, degraded(domain, hr, scale, seed)


def with_jitter(domain, hr, scale, seed):
    return hr, degraded(domain, hr, scale, seed, jitter=0.5)


def displaced(domain, hr, scale, seed, by=2):
    """LR shows what lies `by` LR pixels further up and left than HR does."""
    lr = degraded(domain, hr, scale, seed)
    return hr[:, by * scale :, by * scale :], lr[:, :-by, :-by]


def displaced_by_two_hr_pixels(domain, hr, scale, seed):
    side = hr.shape[1] - scale
    return hr[:, 2 : side + 2, :side], degraded(domain, hr[:, :side, :side], scale, seed)


def half_the_scale(domain, hr, scale, seed):
    """LR of half the scale factor, cut to the size that would fit."""
    lr = degraded(domain, hr, scale // 2, seed)
    side = hr.shape[1] // scale
    return hr, lr[:, side // 2 : side // 2 + side, side // 2 : side // 2 + side]


def enlarged(domain, hr, scale, seed):
    """LR of twice the scale factor, enlarged to the size that fits."""
    return hr, interpolate(degraded(domain, hr, 2 * scale, seed)[None], 2)[0].clamp(0, 1)


def magnified(domain, hr, scale, seed, by=1.02):
    lr = degraded(domain, hr, scale, seed)
    side = lr.shape[1]
    larger = functional.interpolate(lr[None], scale_factor=by, mode="bicubic")[0].clamp(0, 1)
    start = (larger.shape[1] - side) // 2
    return hr, larger[:, start : start + side, start : start + side]


def brighter(domain, hr, scale, seed):
    return hr, (degraded(domain, hr, scale, seed) + 0.06).clamp(0, 1)


def of_more_contrast(domain, hr, scale, seed):
    return hr * 0.8, degraded(domain, hr, scale, seed)
