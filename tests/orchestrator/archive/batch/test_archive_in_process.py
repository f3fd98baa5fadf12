"""An archive from its listing to its ledger in this process, without Ray."""

import json
from contextlib import nullcontext
from dataclasses import replace

import archive_scenes
import numpy as np
import pytest
import rasterio
import ray
import tiny_models
import torch
from archive_without_gpu import on_cpu

from benchmarks.common import scene_files
from orchestrator.archive.batch import compute_nodes, run
from orchestrator.archive.batch.run import Options, upscale_archive
from orchestrator.archive.batch.worker import SceneWorker
from orchestrator.archive.ledger.ledger import read_events
from orchestrator.archive.places.listing import list_archive
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.experiment.feasibility import Resources
from orchestrator.foundation.storage import Storage
from orchestrator.runtime import node_check
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


def test_a_few_small_scenes_need_no_ray_are_resumed_and_do_not_set_this_process_back(tmp_path):
    """Ctrl-C in the second of three scenes; then the same again."""
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    source, out, begun, said = tmp_path / "in", tmp_path / "out", [], []
    for number in range(3):
        scene_files.write(source / f"{number}.tif", (40, 36))

    class Interrupted(SceneWorker):
        def begin(self, scene, workers):
            begun.append((scene.name, workers))
            if len(begun) == 2:
                raise KeyboardInterrupt
            return super().begin(scene, workers)

    def upscale():
        scenes = list_archive(str(source), str(out), "cog").scenes
        return upscale_archive(
            model,
            scenes,
            str(out),
            SceneSettings(precision="float32", blocksize=128),
            Options(cpus=3),
            lambda _: None,
            lambda worker: Interrupted(worker.context, worker.facts, worker.model),
            report_note=said.append,
        )

    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        upscale()
    assert said == ["3 small scenes: upscaled in this process, without starting Ray."]
    assert not (out / "_parts").exists()
    told = upscale()
    assert (told["written"], told["skipped"], told["failed"]) == (2, 1, [])
    assert torch.get_num_threads() == threads
    assert {workers for _, workers in begun} == {0}, "no scene is divided"
    rows = [event["name"] for event in read_events(Storage.at(str(out))) if event.get("status") == "ok"]
    assert sorted(rows) == ["0.tif", "1.tif", "2.tif"]


def test_the_number_of_threads_changes_no_byte(tmp_path, monkeypatch):
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    scene_files.write(tmp_path / "a.tif", (300, 200))
    made = []
    for threads in (1, 4):
        out = tmp_path / str(threads)
        monkeypatch.setattr(run, "threads_here", lambda *_, threads=threads: threads)
        scenes = list_archive(str(tmp_path / "a.tif"), str(out), "cog").scenes
        settings = SceneSettings(precision="float32")
        told = upscale_archive(model, scenes, str(out), settings, Options(), lambda _: None)
        assert told["written"] == 1
        made.append((out / "a.tif").read_bytes())
    assert made[0] == made[1]


def test_an_archive_that_is_finished_in_one_precision_is_not_asked_for_another(tmp_path, monkeypatch):
    """Whatever this machine computes in; one scene that is left has it found out."""
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    scene_files.write(tmp_path / "in" / "a.tif", (40, 36))

    def upscale(precision="auto"):
        scenes = list_archive(str(tmp_path / "in"), str(tmp_path / "out"), "cog").scenes
        settings = SceneSettings(precision=precision, blocksize=128)
        return upscale_archive(model, scenes, str(tmp_path / "out"), settings, Options(), lambda _: None)

    assert upscale("float32")["written"] == 1
    with monkeypatch.context() as patch:
        patch.setattr(compute_nodes, "resolve", lambda *_: pytest.fail("it is asked for"))
        again = upscale()
    assert (again["skipped"], again["precision"]) == (1, "float32")
    scene_files.write(tmp_path / "in" / "b.tif", (40, 36))
    monkeypatch.setattr(compute_nodes, "resolve", lambda *_: "float32")
    last = upscale()
    assert (last["written"], last["skipped"], last["precision"]) == (1, 1, "float32")


@pytest.mark.parametrize("start", [None, in_process], ids=["here", "a cluster"])
def test_damaged_weights_are_refused_before_the_first_scene(tmp_path, start):
    net = tiny_models.net(2)
    with torch.no_grad():
        net.generator.conv.bias[0] = torch.nan
    model = tiny_models.write(tmp_path / "model", net)
    scene_files.write(tmp_path / "in" / "a.tif", (40, 36))
    scenes = list_archive(str(tmp_path / "in"), str(tmp_path / "out"), "cog").scenes
    settings = SceneSettings(precision="float32")
    with pytest.raises(UsageError, match=rf"Model '{model}': .*tensor 'generator.conv.bias' holds NaN"):
        upscale_archive(model, scenes, str(tmp_path / "out"), settings, Options(), lambda _: None, start=start)
    assert list(read_events(Storage.at(str(tmp_path / "out")))) == []


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

    monkeypatch.setattr(node_check, "check_nodes", check)
    runner = InProcessRunner(Resources(2, 0, 0))
    runner.distributed = True
    start = lambda cluster: nullcontext(runner)  # noqa: E731
    with pytest.raises(UsageError, match=r"Node 10\.0\.0\.2 cannot write\."):
        upscale_archive(
            model, scenes, str(tmp_path / "out"), SceneSettings(), Options(address="auto"), print, start=start
        )
    assert checked == [(Storage.at(str(tmp_path / "out")), [str(tmp_path / "in" / name) for name in reads])]
    assert not (tmp_path / "out" / "a.tif").exists()


class TestValues:
    """Ranges of an archive, and flagged outputs as failures."""

    @pytest.fixture
    def archive(self, tmp_path):
        folder = tmp_path / "in"
        folder.mkdir()
        for number in range(3):
            values = archive_scenes.pixels(1, 40, 36, "uint16", seed=number)
            archive_scenes.write(folder / f"{number}.tif", values)
        return folder

    @staticmethod
    def run(tmp_path, source, normalisation, notes=None, **options):
        model, out = tmp_path / "model", tmp_path / "out"
        if not model.exists():
            tiny_models.write(model, tiny_models.net(2))
        settings = SceneSettings(precision="float32", blocksize=128, normalisation=normalisation)
        found = [] if notes is None else notes
        scenes = list_archive(str(source), str(out), "cog").scenes
        arguments = (str(model), scenes, str(out), settings, Options(**options), lambda _: None)
        return upscale_archive(*arguments, start=in_process, report_note=found.append)

    @staticmethod
    def rows(tmp_path):
        events = read_events(Storage.at(str(tmp_path / "out")))
        return {event["name"]: event for event in events if event["event"] == "scene"}

    def test_a_measured_range_is_one_for_the_archive_recorded_and_kept(self, tmp_path, archive):
        notes = []
        assert self.run(tmp_path, archive, "measured", notes)["written"] == 3
        assert len({row["normalisation"] for row in self.rows(tmp_path).values()}) == 1
        assert self.rows(tmp_path)["0.tif"]["normalisation"].endswith("(measured)")
        assert "percentiles of 4,320 values of 3 scenes" in notes[0]
        archive_scenes.write(archive / "brighter.tif", archive_scenes.pixels(1, 40, 36, "uint16") + 9000)
        again = self.run(tmp_path, archive, "measured", notes)
        assert (again["written"], again["skipped"]) == (1, 3)
        assert notes[1].startswith(notes[0].partition(", recorded")[0])
        record = tmp_path / "out" / "_ledger" / "measured-range.json"
        for ranges in (
            {},
            {"ranges": {"uint16": {"low": 5, "high": 5, "scenes": 1, "values": 9}}},
            {"ranges": {"uint16": {"low": 0, "high": 1, "scenes": 3, "values": "many"}}},
        ):
            record.write_text(json.dumps(ranges))
            with pytest.raises(UsageError, match=r"measured range .* cannot be read: restore it"):
                self.run(tmp_path, archive, "measured")

    def test_a_range_of_one_scene_is_said_in_the_singular(self, tmp_path, archive):
        notes = []
        self.run(tmp_path, archive / "0.tif", "measured", notes)
        assert "percentiles of 1,440 values of 1 scene, recorded" in notes[0]

    def test_nothing_is_measured_on_scenes_that_cannot_be_read(self, tmp_path):
        (tmp_path / "in").mkdir()
        scene_files.write_bad(tmp_path / "in", "empty.tif")
        with pytest.raises(UsageError, match=r"none of the sampled scenes can be read \(empty.tif: "):
            self.run(tmp_path, tmp_path / "in", "measured")

    def test_a_list_states_the_range_and_bands_of_single_scenes(self, tmp_path, archive):
        listed = archive / "list.csv"
        listed.write_text('scene,normalisation,band_map\n0.tif,"0,20000",\n1.tif,uint16=0,singly\n2.tif,,1\n')
        done = self.run(tmp_path, listed, (0, 10000))
        assert [failure["file"] for failure in done["failed"]] == ["1.tif"]
        assert "or a range for each data type such as uint16=0,10000" in done["failed"][0]["reason"]
        rows = self.rows(tmp_path)
        assert rows["0.tif"]["normalisation"] == "0 to 20000 (given)"
        assert rows["2.tif"]["normalisation"] == "0 to 10000 (given)"
        listed.write_text('scene,normalisation\n0.tif,"0,30000"\n2.tif,\n')
        again = self.run(tmp_path, listed, (0, 10000))
        assert (again["written"], again["skipped"]) == (2, 0)  # the second has no band map of its own any more

    def test_flagged_outputs_fail_where_that_is_asked_for(self, tmp_path, archive):
        values = archive_scenes.pixels(1, 40, 36, "uint16")
        values[:, :20] = 13000
        archive_scenes.write(archive / "cloud.tif", values)
        done = self.run(tmp_path, archive, (0, 10000))
        assert done["written"] == 4
        assert "out-of-range" in next(found["flags"] for found in done["flagged"] if found["file"] == "cloud.tif")
        strict = self.run(tmp_path, archive, (0, 10000), strict=True)
        assert "cloud.tif" in {failure["file"] for failure in strict["failed"]}
        assert strict["errors"].keys() == {"flagged"}
        assert (tmp_path / "out" / "cloud.tif").exists()
        other = self.run(tmp_path, archive, (0, 10001), strict=True, overwrite=True)
        assert "cloud.tif" in {failure["file"] for failure in other["failed"]}
        relaxed = self.run(tmp_path, archive, (0, 10001))
        assert relaxed["failed"] == []
