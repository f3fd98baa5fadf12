"""The H.264-like codec against intra frames that x264 coded at the same QP.

To measure x264 again (needs `pip install av`): python tests/trainables/degradation/test_degradation_h264.py
"""

import io
from functools import cache

import numpy as np
import pytest
import torch

from trainables.degradation.blocks import from_blocks, to_blocks
from trainables.degradation.h264 import h264, quantization_step
from trainables.degradation.resampling import decimate
from trainables.samples import generate

QPS = (24, 28, 32, 36, 40)
# Mean luma PSNR in dB of four images without and with noise, PyAV 18.1.0's libx264, preset medium.
X264 = {"clean": (39.50, 36.98, 34.38, 31.76, 29.29), "noisy": (37.73, 34.59, 32.56, 30.61, 28.58)}


@cache
def scenes(noise):
    """Small surveillance images as a camera would code them, (4, 3, 128, 160)."""
    hr = np.stack([generate("surveillance", seed, (256, 320)) for seed in range(4)])
    lr = decimate(torch.from_numpy(hr).permute(0, 3, 1, 2).double() / 255, 2, "bicubic").numpy()
    lr += noise * np.random.default_rng(0).normal(size=lr.shape)
    return torch.from_numpy((lr.clip(0, 1) * 255).round() / 255).float()


def luma_psnr(coded, images):
    weights = torch.tensor([65.481, 128.553, 24.966])
    error = torch.tensordot(coded - images, weights, dims=([1], [0])).square().mean((1, 2))
    return float((10 * torch.log10(255**2 / error)).mean())


def same(qp):
    return torch.full((4,), qp)


@pytest.mark.parametrize(("kind", "noise"), [("clean", 0.0), ("noisy", 0.0275)])
def test_as_far_from_the_original_as_x264s_frames(kind, noise):
    images = scenes(noise)
    for qp, theirs in zip(QPS, X264[kind], strict=True):
        assert luma_psnr(h264(images, same(qp)), images) == pytest.approx(theirs, abs=0.6), qp


def test_six_more_double_the_step():
    steps = quantization_step(torch.tensor([4, 10, 16, 28]))
    assert steps.tolist() == pytest.approx([0.992, 1.984, 3.969, 15.87], rel=1e-3)


def test_each_image_has_its_own_qp():
    image = scenes(0.02)[:1].expand(3, -1, -1, -1)
    together = h264(image, torch.tensor([20, 30, 40]))
    for i, qp in enumerate((20, 30, 40)):
        assert torch.equal(together[i], h264(image[:1], torch.tensor([qp]))[0])
    errors = (together - image).square().mean((1, 2, 3))
    assert errors[2] > 1.5 * errors[1] > 2.25 * errors[0] > 0


def test_coarse_quantisation_shows_blocks_and_deblocking_is_off_at_fine_ones():
    """The mean step across block edges over that inside blocks."""

    def blockiness(images):
        steps = images.diff(dim=-1).abs().mean((0, 1, 2))
        return float(steps[3::4].mean() / np.delete(steps.numpy(), np.s_[3::4]).mean())

    images = scenes(0.0275)
    source, fine, coarse = blockiness(images), blockiness(h264(images, same(4))), blockiness(h264(images, same(38)))
    assert fine == pytest.approx(source, abs=0.02)
    assert coarse > source + 0.05


@pytest.mark.parametrize("size", [(1, 1), (3, 16), (17, 31)])
def test_any_size_and_a_flat_image_changes_by_less_than_a_step(size):
    coded = h264(torch.full((1, 3, *size), 96 / 255), torch.tensor([28]))
    assert coded.shape == (1, 3, *size)
    assert (coded - 96 / 255).abs().max() < 3.01 / 255


def test_gray_stays_gray():
    coded = h264(scenes(0)[:, :1].expand(-1, 3, -1, -1), same(30))
    assert torch.equal(coded[:, :1].expand_as(coded), coded)


def test_blocks_there_and_back():
    planes = torch.arange(2 * 2 * 8 * 12).view(2, 2, 8, 12).float()
    blocks = to_blocks(planes, 4)
    assert torch.equal(blocks[1, 0, :, 1, 2].view(4, 4), planes[1, 0, 4:8, 8:12])
    assert torch.equal(from_blocks(blocks, 4), planes)


def test_the_gradient_passes_straight_through():
    images = torch.full((1, 3, 16, 16), 0.5, requires_grad=True)
    h264(images, torch.tensor([30]))[0, :, 5, 6].sum().backward()
    expected = torch.zeros(16, 16)
    expected[5, 6] = 3
    torch.testing.assert_close(images.grad[0].sum(0), expected, atol=1e-4, rtol=0)


def through_x264(image, qp):
    import av

    pixels, file = (image * 255).round().byte().permute(1, 2, 0).contiguous().numpy(), io.BytesIO()
    colours = {"src_colorspace": "ITU601", "dst_colorspace": "ITU601"}
    with av.open(file, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
        # Without ipratio, x264 codes key frames three QP finer than asked.
        stream.options = {"qp": str(qp), "x264-params": "ipratio=1.0:keyint=1:threads=1"}
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(format="yuv420p", src_color_range="JPEG", dst_color_range="MPEG", **colours)
        container.mux([*stream.encode(frame), *stream.encode()])
    file.seek(0)
    with av.open(file, format="h264") as container:
        frame = next(container.decode(video=0))
    frame = frame.reformat(format="rgb24", src_color_range="MPEG", dst_color_range="JPEG", **colours)
    return torch.from_numpy(frame.to_ndarray()).permute(2, 0, 1) / 255


if __name__ == "__main__":
    for kind, noise in (("clean", 0.0), ("noisy", 0.0275)):
        images = scenes(noise)
        for qp in QPS:
            theirs = luma_psnr(torch.stack([through_x264(image, qp) for image in images]), images)
            print(kind, qp, f"x264 {theirs:.2f}, ours {luma_psnr(h264(images, same(qp)), images):.2f}")
