"""An archive from its listing to its ledger in this process, without Ray."""

from contextlib import nullcontext
from dataclasses import replace

import archive_scenes
import numpy as np
import pytest
import rasterio
import ray
import tiny_models
from archive_without_gpu import on_cpu

from benchmarks.archive import scene_files
from orchestrator.archive.batch import run
from orchestrator.archive.batch.ledger import read_events
from orchestrator.archive.batch.listing import list_archive
from orchestrator.archive.batch.run import Options, upscale_archive
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.experiment.feasibility import Resources
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.task_runner import HERE, InProcessRunner, in_process
from trainables.errors import RunError, UsageError


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))


def test_scenes_are_upscaled_a_bad_one_is_named_and_none_is_done_again(tmp_path):
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    source, out = tmp_path / "in", tmp_path / "out"
    for number in range(2):
        scene_files.write(source / f"{number}.tif", (40, 36))
    scene_files.write_bad(source, "empty.tif")

    def upscale():
        scenes = list_archive(str(source), str(out), "cog").scenes
        settings = SceneSettings(precision="float32", blocksize=128)
        return upscale_archive(model, scenes, str(out), settings, Options(), lambda _: None, start=in_process)

    told = upscale()
    assert (told["written"], [failure["file"] for failure in told["failed"]]) == (2, ["empty.tif"])
    with rasterio.open(out / "0.tif") as output:
        assert output.shape == (80, 72)
    kinds = [event["event"] for event in read_events(Storage.at(str(out)))]
    assert (kinds.count("attempt"), kinds.count("scene")) == (3, 3)
    again = upscale()
    assert (again["written"], again["skipped"]) == (0, 2)


def test_four_bands_of_16_bits_need_no_word_beyond_the_models_card(tmp_path):
    names = archive_scenes.REFLECTANCE
    card = {"band_names": names, "band_map": {"4": [[1, 2, 3, 4]]}, "value_range": {"uint16": [0, 10000]}}
    model = tiny_models.write(tmp_path / "model", tiny_models.of_bands(*names, scale=2), **card)
    source, out, values = tmp_path / "in", tmp_path / "out", archive_scenes.pixels(4, 40, 36, "uint16")
    source.mkdir()
    archive_scenes.write(source / "plain.tif", values)
    archive_scenes.write(source / "turned.tif", values[[3, 0, 1, 2]], names=["nir", "red", "green", "blue"])
    archive_scenes.write(source / "short.tif", values[:3], names=names[:3])
    scenes = list_archive(str(source), str(out), "cog").scenes
    settings = SceneSettings(precision="float32", blocksize=128)
    told = upscale_archive(model, scenes, str(out), settings, Options(), lambda _: None, start=in_process)
    assert told["written"] == 2
    (failure,) = told["failed"]
    assert (failure["file"], failure["error"]) == ("short.tif", "model_mismatch")
    plain, turned = archive_scenes.read(out / "plain.tif"), archive_scenes.read(out / "turned.tif")
    assert plain.shape == (4, 80, 72)
    np.testing.assert_array_equal(turned[[1, 2, 3, 0]], plain)
    events = {event["name"]: event for event in read_events(Storage.at(str(out))) if event["event"] == "scene"}
    assert (events["turned.tif"]["band_map"], events["plain.tif"]["band_map"]) == ("2,3,4,1", "1,2,3,4")
    assert events["plain.tif"]["normalisation"] == "0 to 10000 (the model's card)"


class Growing(InProcessRunner):
    """This process as a cluster that gets its first GPU when it has been looked at so often."""

    def __init__(self, looks):
        super().__init__(Resources(2, 1, 1))
        self.looks = looks

    def nodes(self):
        self.looks -= 1
        return {HERE: {"CPU": 2.0, "GPU": float(self.looks < 0)}}


def test_the_first_gpu_is_waited_for_unless_nothing_is_left_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(run.time, "sleep", lambda seconds: None)
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    scene_files.write(tmp_path / "in" / "a.tif", (40, 36))
    scenes = list_archive(str(tmp_path / "in"), str(tmp_path / "out"), "cog").scenes

    def upscale(looks, said=lambda progress: None, **settings):
        options = Options(address="auto", gpus=1)
        start = lambda cluster: nullcontext(Growing(looks))  # noqa: E731
        settings = SceneSettings(blocksize=128, **settings)
        return upscale_archive(model, scenes, str(tmp_path / "out"), settings, options, said, on_cpu, start)

    waited = []
    with pytest.raises(RunError, match="PyTorch cannot use it there"):  # which the first GPU then says
        upscale(9, lambda progress: waited.append(str(progress.joined)))
    assert set(waited) == {"This cluster has 0 GPUs; 1 more is asked for."}
    assert upscale(0, precision="float32")["written"] == 1
    again = upscale(10**9, lambda progress: pytest.fail("it waits"))
    assert (again["written"], again["skipped"], again["precision"]) == (0, 1, "float32")


@pytest.mark.parametrize(("first", "reads"), [("a.tif", ["a.tif"]), ("gone.tif", [])])
def test_nodes_of_a_cluster_show_that_they_can_read_and_write_before_work(tmp_path, monkeypatch, first, reads):
    """A first scene that nobody can read is the fault of no node."""
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    scene_files.write(tmp_path / "in" / "a.tif", (40, 36))
    scenes = list_archive(str(tmp_path / "in"), str(tmp_path / "out"), "cog").scenes
    scenes[0] = replace(scenes[0], source=str(tmp_path / "in" / first))
    checked = []

    def check(runner, place, *, reads):
        checked.append((place, reads))
        raise UsageError("Node 10.0.0.2 cannot write.")

    monkeypatch.setattr(run, "check_nodes", check)
    runner = InProcessRunner(Resources(2, 0, 0))
    runner.distributed = True
    start = lambda cluster: nullcontext(runner)  # noqa: E731
    with pytest.raises(UsageError, match=r"Node 10\.0\.0\.2 cannot write\."):
        upscale_archive(
            model, scenes, str(tmp_path / "out"), SceneSettings(), Options(address="auto"), print, start=start
        )
    assert checked == [(Storage.at(str(tmp_path / "out")), [str(tmp_path / "in" / name) for name in reads])]
    assert not (tmp_path / "out" / "a.tif").exists()
