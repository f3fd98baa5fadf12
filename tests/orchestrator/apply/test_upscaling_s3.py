"""Upscaling from a bucket to a bucket, with a model that lies in one."""

from pathlib import Path

import noise_images
import pytest
import tiny_models

from orchestrator.apply.upscale import Settings, upscale_images
from orchestrator.foundation.storage import Storage
from trainables.errors import UsageError
from trainables.images.codec import decode

pytestmark = pytest.mark.s3


def quiet(done: int, of: int) -> None:
    """No progress."""


def test_images_model_and_outputs_may_all_lie_in_a_bucket(s3_bucket: str, tmp_path: Path) -> None:
    tiny_models.write(tmp_path / "model", tiny_models.net(2))
    place = Storage.at(s3_bucket)
    for path in (tmp_path / "model").iterdir():
        place.child("model", path.name).write_bytes(path.read_bytes())
    for name in ("a.png", "deep/b.png"):
        place.child("photos", name).write_bytes(noise_images.png(name, (20, 24)))
    place.child("photos", "bad.png").write_bytes(b"no image")
    model, photos, out = (f"{s3_bucket}/{name}" for name in ("model", "photos", "out"))
    told = upscale_images(model, photos, out, Settings(), quiet)
    assert (told["written"], told["skipped"], [entry["file"] for entry in told["failed"]]) == (2, 0, ["bad.png"])
    assert decode(place.child("out", "deep", "b.png").read_bytes()).pixels.shape == (40, 48, 3)
    again = upscale_images(model, photos, out, Settings(), quiet)
    assert (again["written"], again["skipped"], len(again["failed"])) == (0, 2, 1)
    one = upscale_images(model, f"{photos}/a.png", f"{s3_bucket}/one/big.jpg", Settings(), quiet)
    assert (one["written"], place.child("one", "big.jpg").exists()) == (1, True)
    with pytest.raises(UsageError, match="must lie outside INPUT"):
        upscale_images(model, photos, f"{photos}/big", Settings(), quiet)
    with pytest.raises(UsageError, match="There is no file or folder 's3://"):
        upscale_images(model, f"{s3_bucket}/nothing", out, Settings(), quiet)
