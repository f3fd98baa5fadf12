"""H.264-like intra compression, on the images' device.

Modelled: one intra frame at a fixed quantiser, as a surveillance camera's key frames are. Studio-range BT.601
YCbCr, 4:2:0; each 4×4 block is predicted from the row above and the column to the left (vertical, horizontal, mean:
the three modes that H.264 tries first); the residual's DCT is quantised with the flat step 0.625·2^(QP/6) and a dead
zone; chroma has the standard's own QP; the standard's deblocking filter smooths block edges (ITU-T H.264, clauses
8.3, 8.5, 8.7; Wiegand et al., IEEE Trans. CSVT 13(7), 2003).

Not modelled: motion and everything between frames, rate control, the diagonal modes and larger blocks, entropy
coding, and an encoder's psychovisual choices. A real encoder predicts block after block from what it has decoded;
here all blocks are predicted at once from a first pass. Rounding passes gradients straight through.

Own code, because an encoder's library (libx264) works on the CPU, a frame at a time, and passes no gradients.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from trainables.degradation.blocks import dct, from_blocks, from_planes, inverse_dct, to_blocks, to_planes

SIDE = 4

ROUNDING = 0.28
"""Rounding offset of the quantiser, 0.5 being no dead zone. Encoders choose it; the reference encoder takes 1/3 for
intra blocks. This value, tuned together with the three prediction modes, gives x264's PSNR within 0.6 dB.
"""

# fmt: off
_CHROMA_QP = (29, 30, 31, 32, 32, 33, 34, 34, 35, 35, 36, 36, 37, 37, 37, 38, 38, 38, 39, 39, 39, 39)  # of QP 30 to 51
_ALPHA = (4, 4, 5, 6, 7, 8, 9, 10, 12, 13, 15, 17, 20, 22, 25, 28, 32, 36, 40, 45, 50, 56, 63, 71, 80, 90, 101, 113,
          127, 144, 162, 182, 203, 226, 255, 255)  # of QP 16 to 51, as the two below
_BETA = (2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 16, 16,
         17, 17, 18, 18)
_CLIP = (0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 6, 6, 7, 8, 9, 10, 11, 13, 14, 16, 18, 20,
         23, 25)
# fmt: on


def h264(images: Tensor, qps: Tensor) -> Tensor:
    """Codes and decodes each image as one intra frame.

    Args:
        images: (N, 3, H, W) in [0, 1], multiples of 1/255.
        qps: (N,) integers from 0 to 51, the luma quantiser QP; +6 doubles the step.

    Returns:
        The decoded images, of the same shape and steps.
    """
    luma, chroma = to_planes(images, full_range=False)
    chroma_qps = _tables(qps.device, images.dtype)[0, qps]
    luma, chroma = _coded(luma, qps.to(images.dtype)), _coded(chroma, chroma_qps)
    luma, chroma = _deblocked(luma, qps), _deblocked(chroma, chroma_qps.long())
    height, width = images.shape[-2:]
    return from_planes(luma, chroma, full_range=False, size=(height, width))


def quantization_step(qps: Tensor) -> Tensor:
    """Step of the orthonormal DCT's coefficients in 8-bit levels."""
    return 0.625 * torch.exp2(qps / 6)


def _coded(planes: Tensor, qps: Tensor) -> Tensor:
    step = quantization_step(qps).view(-1, 1, 1, 1, 1)
    source = to_blocks(planes, SIDE)
    with torch.no_grad():
        decoded = _code_blocks(source, source, step)
        decoded = _code_blocks(source, decoded, step)
    coded = from_blocks(source + (decoded - source).detach(), SIDE)
    return coded.clamp(0, 255)


def _code_blocks(source: Tensor, neighbours: Tensor, step: Tensor) -> Tensor:
    """Predicts ``source`` from the blocks above and to the left in ``neighbours`` and codes the difference."""
    guess = _predicted(source, neighbours)
    levels = dct(source - guess, SIDE) / step
    levels = levels.sign() * (levels.abs() + ROUNDING).floor()
    return (guess + inverse_dct(levels * step, SIDE)).round()


def _predicted(source: Tensor, neighbours: Tensor) -> Tensor:
    """The best of three predictions for each block, (N, C, 16, h, w)."""
    pixels = neighbours.view(*neighbours.shape[:2], SIDE, SIDE, *neighbours.shape[3:])
    above = functional.pad(pixels[:, :, -1, :, :-1], (0, 0, 1, 0), value=128.0)  # N, C, 4, h, w
    left = functional.pad(pixels[:, :, :, -1, :, :-1], (1, 0), value=128.0)
    vertical = above.unsqueeze(2).expand(-1, -1, SIDE, -1, -1, -1).flatten(2, 3)
    horizontal = left.unsqueeze(3).expand(-1, -1, -1, SIDE, -1, -1).flatten(2, 3)
    mean = ((above + left).mean(2, keepdim=True) / 2).expand_as(vertical)
    guesses = torch.stack((mean, vertical, horizontal))
    best = (guesses - source).abs().sum(3, keepdim=True).argmin(0, keepdim=True)
    return guesses.gather(0, best.expand(-1, -1, -1, SIDE * SIDE, -1, -1))[0]


def _deblocked(planes: Tensor, qps: Tensor) -> Tensor:
    """The filter of block edges inside an intra frame (clause 8.7.2.3 with bS = 3), vertical edges first."""
    alpha, beta, clip = _tables(qps.device, planes.dtype)[1:, qps].view(3, -1, 1, 1, 1)
    return _smoothed(_smoothed(planes, alpha, beta, clip).mT, alpha, beta, clip).mT


def _smoothed(planes: Tensor, alpha: Tensor, beta: Tensor, clip: Tensor) -> Tensor:
    columns = planes.reshape(*planes.shape[:-1], -1, SIDE)
    p2, p1, p0 = columns[..., :-1, 1:].unbind(-1)
    q0, q1, q2 = columns[..., 1:, :3].unbind(-1)
    flat_p, flat_q = (p2 - p0).abs() < beta, (q2 - q0).abs() < beta
    edge = ((p0 - q0).abs() < alpha) & ((p1 - p0).abs() < beta) & ((q1 - q0).abs() < beta)
    limit = clip + flat_p.to(clip.dtype) + flat_q.to(clip.dtype)
    change = (((q0 - p0) * 4 + (p1 - q1)) / 8).clamp(-limit, limit).round() * edge
    before = functional.pad(change, (0, 1)).unsqueeze(-1)  # at the last pixel of each block but the last
    after = functional.pad(change, (1, 0)).unsqueeze(-1)  # at the first pixel of each block but the first
    rest = torch.zeros_like(before)
    return (columns + torch.cat((-after, rest, rest, before), dim=-1)).flatten(-2).clamp(0, 255)


@lru_cache(maxsize=8)
def _tables(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Chroma QP, alpha, beta and clipping limit, each by QP, (4, 52)."""
    with torch.inference_mode(False):
        by_qp = [(*range(30), *_CHROMA_QP), *((0,) * 16 + table for table in (_ALPHA, _BETA, _CLIP))]
        return torch.tensor(by_qp, device=device, dtype=dtype)
