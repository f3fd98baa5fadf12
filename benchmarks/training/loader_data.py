"""Training images in the format of every loader, in a folder or a bucket."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.training.loaders import SIDE
from trainables.images.codec import decode, encode_png

SHARD_BYTES = 2 * 2**20


def prepare(images: list[bytes], place: Path) -> None:
    """Writes the same encoded images as loose files and in each loader's format."""
    import litdata
    import webdataset as wds
    from streaming import MDSWriter

    from orchestrator.data.shards import build_shards
    from orchestrator.foundation.storage import Storage
    from orchestrator.image_sets.set_files import SourceFile

    (place / "files").mkdir(parents=True)
    for number, data in enumerate(images):
        (place / "files" / f"{number:06d}.jpg").write_bytes(data)
    files = Storage.at(str(place / "files"))
    sources = [SourceFile(files, facts, facts.path, False) for facts in files.files()]
    build_shards(sources, {}, SIDE, Storage.at(str(place / "shards")), "benchmark")
    (place / "wds").mkdir()
    with wds.ShardWriter(str(place / "wds" / "%05d.tar"), maxsize=SHARD_BYTES, verbose=0) as tar:
        for number, data in enumerate(images):
            tar.write({"__key__": f"{number:06d}", "jpg": data})
    with MDSWriter(out=str(place / "mds"), columns={"image": "bytes"}, size_limit=SHARD_BYTES) as mds:
        for data in images:
            mds.write({"image": data})
    litdata.optimize(
        fn=_read_file,
        inputs=[str(place / "files" / f"{n:06d}.jpg") for n in range(len(images))],
        output_dir=str(place / "litdata"),
        chunk_bytes=SHARD_BYTES,
        num_workers=1,
        verbose=False,
    )


def _read_file(path: str) -> bytes:
    return Path(path).read_bytes()


def upload(place: Path, bucket: str) -> str:
    """Puts a folder's files into a new bucket, and gives the place that readers take."""
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket=bucket)
    for path in sorted(place.rglob("*")):
        if path.is_file():
            client.upload_file(str(path), bucket, f"data/{path.relative_to(place)}")
    return f"s3://{bucket}/data"


def encoded_images(folder: Path | None) -> list[bytes]:
    """The folder's images that hold a patch; generated samples without a folder."""
    if folder is None:
        from trainables.samples import write_samples

        with tempfile.TemporaryDirectory() as made:
            return [path.read_bytes() for path in write_samples(Path(made), "natural", 192, 1, 0, (321, 481))]
    files = [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()]
    return [data for data in files if min(decode(data).pixels.shape[:2]) >= SIDE]


def flat_images(like: list[bytes]) -> list[bytes]:
    """Images of one colour each, which is their number, of as many bytes as ``like``, so that shards come out alike."""
    flat = [encode_png(np.full((321, 481, 3), (n % 256, n // 256, 0), np.uint8)) for n in range(len(like))]
    return [data + bytes(max(0, len(other) - len(data))) for data, other in zip(flat, like, strict=True)]
