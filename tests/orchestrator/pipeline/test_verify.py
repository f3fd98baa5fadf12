"""`rayscale verify` names each damaged file, and changes nothing."""

import json
import re
import shutil

import noise_images
import pytest
import tiny_models
from test_finished_stages import (  # noqa: F401 - fixtures
    DAMAGE,
    FILES,
    OLDER,
    flip,
    of_today,
    older,
    sealed,
)
from test_older_artefacts import contents

from orchestrator.data.shard_reader import read_files, read_manifest
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files
from trainables.images.codec import encode_png


def verified(rayscale, place):
    code, out, err = rayscale("verify", place, "--json")
    assert not err
    told = json.loads(out)
    assert told["ok"] is (code == 0) is (not told["problems"])
    return told


@pytest.mark.parametrize("which", ["older", "sealed"])
def test_a_finished_experiment_is_in_good_order_and_stays_as_it_is(request, which, rayscale):
    file, home = request.getfixturevalue(which)
    before = contents(home) | {"experiment.json": (home / "experiment.json").read_bytes()}
    for place in (file, home):
        told = verified(rayscale, place)
        assert (told["problems"], told["kind"], told["place"]) == ([], "experiment", str(home))
        assert told["checked"]["shards"] == 3
        assert told["checked"]["stages"] == 9
        assert told["checked"]["studies"] == 2
    assert contents(home) | {"experiment.json": (home / "experiment.json").read_bytes()} == before
    code, out, _ = rayscale("verify", home)
    assert code == 0
    assert "all in good order" in out


def test_every_damaged_file_is_named(sealed, rayscale):  # noqa: F811
    _, home = sealed
    for number, pattern in enumerate(FILES):
        path = sorted(home.glob(pattern))[0]
        data = path.read_bytes()
        DAMAGE[list(DAMAGE)[number % 3]](path)
        told = verified(rayscale, home)
        assert str(path.relative_to(home)) in {problem["path"] for problem in told["problems"]}, pattern
        path.write_bytes(data)


def test_damage_to_what_0_2_0_left_is_noticed(older, rayscale):  # noqa: F811
    _, home = older
    for pattern, how in OLDER.items():
        path = sorted(home.glob(pattern))[0]
        data = path.read_bytes()
        DAMAGE[how](path)
        assert verified(rayscale, home)["problems"], pattern
        path.write_bytes(data)


def test_problems_are_lines_and_the_exit_code_is_1(sealed, rayscale):  # noqa: F811
    _, home = sealed
    (home / "report" / "best.yaml").write_bytes(b"")
    code, out, _ = rayscale("verify", home)
    assert code == 1
    assert "report/best.yaml: " in out
    assert "problems" in out.splitlines()[-1]


def test_a_model_and_shards_are_verified_alone(older, tmp_path, rayscale):  # noqa: F811
    _, home = older
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    assert (verified(rayscale, model)["kind"], verified(rayscale, model)["ok"]) == ("model", True)
    flip(tmp_path / "model" / "model.safetensors")
    assert "digests differ" in verified(rayscale, model)["problems"][0]["problem"]
    (tmp_path / "model" / "card.json").unlink()
    assert not verified(rayscale, model)["ok"]
    shards = home / "shards" / "medical"
    assert (verified(rayscale, shards)["kind"], verified(rayscale, shards)["ok"]) == ("shards", True)
    flip(next((home / "test-locked" / "medical").rglob("*.parquet")))
    assert not verified(rayscale, shards)["ok"]


@pytest.mark.parametrize("written", [b"", b"[]", b"{}", b"[" * 100_000, b'{"settings": 3, "format": 1}'])
def test_a_damaged_experiment_json_is_a_problem(older, written, rayscale):  # noqa: F811
    _, home = older
    (home / "experiment.json").write_bytes(written)
    assert "experiment.json" in {problem["path"] for problem in verified(rayscale, home)["problems"]}


def test_what_is_none_of_these_is_refused(older, tmp_path, rayscale):  # noqa: F811
    file, home = older
    (tmp_path / "empty").mkdir()
    for place, said in ((tmp_path / "empty", "holds no experiment"), (tmp_path / "nowhere", "There is no folder")):
        code, _, err = rayscale("verify", place)
        assert code == 2
        assert said in err
    shutil.rmtree(home)
    code, _, err = rayscale("verify", file)
    assert code == 2
    assert "nothing to verify before" in err


def test_a_picture_on_two_sides_of_an_experiment_is_named(tmp_path, rayscale):
    home = tmp_path / "runs" / "x"
    for name in ("a", "b"):
        noise_images.write(tmp_path / name, [f"{name}{i}.png" for i in range(6)], (12, 14))
        place, locked = (Storage.at(str(home / folder / name)) for folder in ("shards", "test-locked"))
        if name == "b":  # one that is a test image of a, packed by somebody who compared nothing
            test = Storage.at(str(home / "test-locked" / "a"))
            image = next(read_files(test, read_manifest(test), "test"))
            (tmp_path / "b" / "copy.png").write_bytes(encode_png(image.pixels))
        files = list_files(ImageSet(images=name), Storage.at(str(tmp_path)))
        build_shards(files, {"validation": 0.2, "test": 0.2}, 8, place, "none", locked)
    (home / "experiment.json").write_text(json.dumps({"format": 2, "settings": {}}))
    problems = [problem["problem"] for problem in verified(rayscale, home)["problems"]]
    assert len(problems) == 1
    words = r"b/copy\.png in (train|validation) of 'b' is the same picture as test image a/.* of 'a'"
    assert re.fullmatch(words, problems[0])
