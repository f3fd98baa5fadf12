"""The generated sample images: reproducible, of the right kind, written once."""

import numpy as np
import pytest
from PIL import Image

from trainables.errors import UsageError
from trainables.samples import DOMAINS, generate, write_samples

SMALL = (64, 96)


def spectrum_slope(image):
    """Slope of log power over log frequency, radially averaged."""
    gray = image.mean(axis=2)
    height, width = gray.shape
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = np.abs(np.fft.fft2((gray - gray.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    edges = np.geomspace(4 / height, 0.45, 13)
    ring = np.digitize(frequency, edges)
    means = [power[ring == k].mean() for k in range(1, len(edges))]
    return np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(means), 1)[0]


@pytest.mark.parametrize("domain", DOMAINS)
def test_same_seed_same_image_other_seed_other_image(domain):
    first = generate(domain, 5, SMALL)
    assert first.shape == (*SMALL, 3)
    assert first.dtype == np.uint8
    assert first.std() > 10
    np.testing.assert_array_equal(first, generate(domain, 5, SMALL))
    assert np.mean(first != generate(domain, 6, SMALL)) > 0.1


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("size", [(16, 16), (33, 120)])
def test_odd_sizes(domain, size):
    for seed in range(3):
        assert generate(domain, seed, size).shape == (*size, 3)


def test_images_wider_than_a_noise_tile():
    for domain in ("natural", "art"):
        assert generate(domain, 0, (64, 560)).shape == (64, 560, 3)


def test_only_medical_is_gray():
    for domain in DOMAINS:
        image = generate(domain, 1, SMALL)
        assert (np.ptp(image, axis=2).max() == 0) == (domain == "medical")


def test_natural_spectra_fall_like_photographs_and_differ_like_them():
    """192 photographs have a median slope of -2.3, and 80 % of them lie between -2.75 and -1.85."""
    slopes = np.array([spectrum_slope(generate("natural", seed)) for seed in range(8)])
    assert -3.2 < np.median(slopes) < -2
    assert 0.25 < slopes.std() < 1


@pytest.mark.parametrize("domain", ["surveillance", "natural"])
def test_images_of_a_scene_are_closest_to_each_other(tmp_path, domain):
    paths = write_samples(tmp_path, domain, 4, 2, 0, (96, 96))
    images = [np.asarray(Image.open(path)) for path in paths]
    if domain == "surveillance":  # one camera: the same background, pixel by pixel
        features = [image.astype(float).ravel() for image in images]
    else:  # one palette
        features = [np.histogramdd(i.reshape(-1, 3), 6, [(0, 256)] * 3)[0].ravel() for i in images]
    distance = np.array([[np.abs(a - b).mean() for b in features] for a in features])
    within = distance[np.arange(0, 8, 2), np.arange(1, 8, 2)]
    assert (within > 0).all()
    scene = np.arange(8) // 2
    across = distance[scene[:, None] != scene]
    assert within.mean() < 0.7 * across.mean()


def test_medical_scenes_cycle_through_the_kinds(tmp_path):
    paths = write_samples(tmp_path, "medical", 6, 1, 0, SMALL)
    images = np.array([np.asarray(Image.open(path), float).ravel() for path in paths])
    distance = np.abs(images[:, None] - images).mean(axis=2) + 1e3 * np.eye(6)
    assert distance.argmin(axis=1).tolist() == [3, 4, 5, 0, 1, 2]


def test_names_and_first_image_of_a_set(tmp_path):
    paths = write_samples(tmp_path / "new", "art", 2, 3, 7, SMALL)
    names = [path.name for path in paths]
    assert names == [f"art-{scene:03d}-{index}.png" for scene in range(2) for index in range(3)]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names
    np.testing.assert_array_equal(np.asarray(Image.open(paths[0])), generate("art", 7, SMALL))
    contents = {path.read_bytes() for path in paths}
    assert len(contents) == 6


def test_writing_again_touches_nothing_and_enlarging_adds(tmp_path):
    paths = write_samples(tmp_path, "medical", 1, 2, 0, SMALL)
    paths[0].write_bytes(b"mine")
    paths[1].unlink()
    again = write_samples(tmp_path, "medical", 2, 2, 0, SMALL)
    assert again[:2] == paths
    assert paths[0].read_bytes() == b"mine"
    alone = write_samples(tmp_path / "other", "medical", 2, 2, 0, SMALL)
    assert [p.read_bytes() for p in again[1:]] == [p.read_bytes() for p in alone[1:]]


def test_wrong_arguments_say_what_is_right(tmp_path):
    with pytest.raises(UsageError, match=r"No samples for domain 'satelite'.*Did you mean 'satellite'\?"):
        generate("satelite", 0)
    with pytest.raises(UsageError, match="surveillance"):
        write_samples(tmp_path / "none", "underwater", 1, 1, 0)
    assert not (tmp_path / "none").exists()
    with pytest.raises(UsageError, match="not -1"):
        generate("art", -1)
    with pytest.raises(UsageError, match="8x64"):
        generate("art", 0, (8, 64))
