"""A folder that holds scenes and plain images."""

import archive_scenes
import noise_images
import pytest
import tiny_models


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--self-ensemble"], "--self-ensemble is not for scenes, which INPUT has"),
        (["--price-per-hour", "1e6", "--max-cost", "1e-6"], "--max-cost allows 1e-06"),
    ],
)
def test_options_that_scenes_do_not_allow_are_refused_before_any_work(rayscale, tmp_path, options, words):
    folder, out = tmp_path / "in", tmp_path / "out"
    noise_images.write(folder, ["a.png"], (24, 24))
    archive_scenes.write(folder / "b.tif", archive_scenes.pixels(3, 40, 50))
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    code, _, err = rayscale("upscale", folder, out, "--model", model, *options)
    assert code == 1
    assert words in err
    assert list(out.rglob("*.png")) + list(out.rglob("*.tif")) == []
    assert rayscale("upscale", folder, out, "--model", model)[0] == 0
    assert {path.name for path in out.iterdir()} >= {"a.png", "b.tif"}
