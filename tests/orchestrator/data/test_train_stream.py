"""How training images reach a worker."""

import numpy as np
import pytest

from orchestrator.data.shard_reader import read_split
from orchestrator.data.shards import build_shards
from orchestrator.data.train_stream import Ingest, direct
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile
from trainables.errors import ImageSetError
from trainables.images.codec import encode_png


@pytest.fixture
def shards(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "images"
    folder.mkdir()
    for number in range(11):
        (folder / f"{number}.png").write_bytes(encode_png(rng.integers(0, 256, (40, 50, 3), np.uint8)))
    source = Storage.at(str(folder))
    files = [SourceFile(source, facts, facts.path, False) for facts in source.files()]
    build_shards(files, {}, 32, Storage.at(str(tmp_path / "shards")), "ours")
    return Storage.at(str(tmp_path / "shards"))


def marks(images):
    return [image.tobytes() for image in images]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_have_equal_shares_that_no_two_of_them_have_in_common(shards, workers):
    shares = [marks(direct(shards, rank, workers)()) for rank in range(workers)]
    assert [len(share) for share in shares] == [11 // workers] * workers
    everything = marks(named.pixels for named in read_split(shards, "train"))
    assert [mark for share in shares for mark in share] == everything[: 11 // workers * workers]


def test_every_pass_is_the_same(shards):
    read = direct(shards, 1, 2, threads=2)
    assert marks(read()) == marks(read())


def test_more_workers_than_images_are_an_error(shards):
    with pytest.raises(ImageSetError, match="fewer training images than the 12 workers"):
        direct(shards, 0, 12)


def test_ray_data_is_asked_for_only_where_it_is_wanted(shards):
    assert Ingest(shards).datasets() == {}


def test_ray_data_reads_the_same_images(ray_session, shards):
    from orchestrator.data.train_stream import images_of

    parts = Ingest(shards, "ray_data").datasets()["train"].streaming_split(1, equal=True)
    assert sorted(marks(images_of(parts[0]))) == sorted(marks(direct(shards, 0, 1)()))
