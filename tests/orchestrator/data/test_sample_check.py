"""A set of unusable files is refused before anything is spent; one with some is used, and they are counted."""

import noise_images
import pytest

from orchestrator.data import sample_check
from orchestrator.data.sample_check import check_sample
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files
from trainables.errors import ImageSetError

SHARES = {"validation": 0.2, "test": 0.2}


@pytest.fixture
def listed(tmp_path):
    def of(test_images=None):
        return list_files(ImageSet(images="images"), Storage.at(str(tmp_path)), test_images)

    return of


def spoil(tmp_path, count, folder="images"):
    (tmp_path / folder).mkdir(exist_ok=True)
    for number in range(count):
        (tmp_path / folder / f"bad{number:03d}.png").write_bytes(noise_images.sixteen_bit_png())


def test_a_set_of_usable_images_passes_without_a_word(tmp_path, listed):
    noise_images.write(tmp_path / "images", [f"{n}.png" for n in range(30)])
    assert check_sample(listed(), 80, SHARES) == ([], 1)


def test_a_set_without_any_usable_image_is_refused_with_the_reasons(tmp_path, listed):
    spoil(tmp_path, 30)
    with pytest.raises(ImageSetError, match=r"images': none of its images can be used \(left out: 30 × .*16") as error:
        check_sample(listed(), 80, SHARES)
    assert "\n" not in str(error.value)


def test_images_that_are_all_too_small_are_refused(tmp_path, listed):
    noise_images.write(tmp_path / "images", ["a.png", "b.png"], (64, 64))
    with pytest.raises(ImageSetError, match=r"none of its images can be used \(left out: 2 × smaller than the 80×80"):
        check_sample(listed(), 80, SHARES)


def test_a_set_with_some_unusable_images_is_used_and_they_are_counted(tmp_path, listed):
    noise_images.write(tmp_path / "images", ["a.png", "b.png", "c.png"])
    spoil(tmp_path, 1)
    (line,) = check_sample(listed(), 80, SHARES).lines
    assert line.startswith(f"{tmp_path}/images: 1 of its images cannot be used (left out: 1 × ")


def test_a_few_usable_images_among_many_are_looked_for(tmp_path, listed):
    spoil(tmp_path, 60)
    # None of them is among the first that are decoded.
    noise_images.write(tmp_path / "images", ["bad000a.png", "bad000b.png", "bad001a.png"])
    (line,) = check_sample(listed(), 80, SHARES).lines
    assert line.startswith(f"{tmp_path}/images: 60 of its images cannot be used")


def test_no_more_than_some_are_decoded(tmp_path, listed, monkeypatch):
    monkeypatch.setattr(sample_check, "SAMPLED", 4)
    monkeypatch.setattr(sample_check, "SAMPLED_AT_MOST", 10)
    noise_images.write(tmp_path / "images", [f"{n}.png" for n in range(20)])
    files, seen = listed(), []
    read = sample_check.read_sample
    monkeypatch.setattr(sample_check, "read_sample", lambda file, *args: (seen.append(file), read(file, *args))[1])
    check_sample(files, 80, SHARES)
    assert len(seen) == 4
    monkeypatch.undo()
    monkeypatch.setattr(sample_check, "SAMPLED", 4)
    monkeypatch.setattr(sample_check, "SAMPLED_AT_MOST", 10)
    with pytest.raises(ImageSetError, match=r"none of 1[0-9] images tried, of 20, can be used"):
        check_sample(files, 800, SHARES)


def test_a_folder_of_test_images_is_a_set_of_its_own(tmp_path, listed):
    noise_images.write(tmp_path / "images", ["a.png", "b.png", "c.png"])
    spoil(tmp_path, 2, "held-out")
    with pytest.raises(ImageSetError, match=r"held-out': none of its images can be used"):
        check_sample(listed("held-out"), 80, SHARES)


def test_a_set_with_too_few_usable_scenes_is_refused(tmp_path, listed):
    noise_images.write(tmp_path / "images", ["a.png", "b.png"])
    spoil(tmp_path, 3)
    with pytest.raises(
        ImageSetError, match=r"has usable images of 2 scenes; at least 3 scenes are needed.*left out: 3"
    ):
        check_sample(listed(), 80, SHARES)
    assert len(check_sample(listed(), 80, {"validation": 0.2}).lines) == 1
