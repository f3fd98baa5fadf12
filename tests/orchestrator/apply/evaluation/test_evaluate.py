"""Scoring a model on one's own images, beside bicubic."""

import json
import re
import sys
from dataclasses import replace

import noise_images
import pytest
import tiny_models

from orchestrator.apply.evaluation.evaluate import evaluate_model
from orchestrator.cli import app as cli
from orchestrator.foundation.statistics import Interval
from orchestrator.foundation.storage import Storage
from search_spaces import find_space
from trainables.errors import ImageSetError, StorageError, UsageError
from trainables.inference.prepare import prepared
from trainables.network.bands import with_bands
from trainables.network.network import SuperResolutionNet, preset


@pytest.fixture
def model(tmp_path):
    """An untrained network, which is bicubic interpolation."""
    degradation = find_space("satellite").degradation.to_dict()
    return tiny_models.write(tmp_path / "model", SuperResolutionNet(preset("tiny", 2)), degradation=degradation)


@pytest.fixture
def images(tmp_path):
    noise_images.write(tmp_path / "images", [f"{i}.png" for i in range(3)], (64, 66))
    return tmp_path / "images"


def test_an_untrained_network_ties_with_bicubic(model, images):
    told = evaluate_model(model, [str(images)])
    (only,) = told["sets"]
    # The network's own bicubic adds up in another order, and a pixel or two round to another of 256 values: how many
    # depends on the processor. With three scenes the interval is several times as wide as their differences.
    assert only["gain"] == pytest.approx({"mean": 0.0, "low": 0.0, "high": 0.0, "scenes": 3}, abs=5e-3)
    assert Interval(**only["gain"]).verdict not in ("better", "worse")
    assert only["model"] == pytest.approx(only["bicubic"], abs=1e-3)
    assert (only["name"], only["images"], only["skipped"]) == ("images", 3, [])
    assert (told["scale"], told["model"], told["self_ensemble"]) == (2, model, False)
    assert told["degradation"] == find_space("satellite").degradation.describe()


def test_several_sets_have_a_row_each(model, images, tmp_path):
    other = noise_images.write(tmp_path / "more" / "images", ["a.png", "b.png"], (40, 40), channels=1)
    third = noise_images.write(tmp_path / "third", ["a.png"], (40, 40))
    told = evaluate_model(model, [str(images), str(other), str(third) + "/"])
    assert [(one["name"], one["images"]) for one in told["sets"]] == [(str(images), 3), (str(other), 2), ("third", 1)]
    assert told["sets"][0] == evaluate_model(model, [str(images)])["sets"][0] | {"name": str(images)}


def test_self_ensemble_changes_the_model_and_not_bicubic(tmp_path, images):
    model = tiny_models.write(tmp_path / "trained", tiny_models.net(2))
    plain, mean = (evaluate_model(model, [str(images)], ensemble=ensemble)["sets"][0] for ensemble in (False, True))
    assert plain["bicubic"] == mean["bicubic"]
    # On average over eight, what the network adds of its own to noise is smaller, and so is the error.
    assert mean["model"]["psnr"] > plain["model"]["psnr"]


def test_baselines_are_scored_only_where_wanted(model, images):
    (plain,), (more,) = (evaluate_model(model, [str(images)], baselines=wanted)["sets"] for wanted in (False, True))
    assert more.keys() - plain.keys() == {"bilinear", "lanczos"}
    assert {name: more[name] for name in plain} == plain
    assert len({more[name]["psnr"] for name in ("bilinear", "bicubic", "lanczos")}) == 3


def test_another_space_degrades_otherwise(model, images):
    own, other = (evaluate_model(model, [str(images)], space) for space in (None, "art"))
    assert other["degradation"] == find_space("art").degradation.describe()
    assert own["sets"][0]["bicubic"] != other["sets"][0]["bicubic"]
    with pytest.raises(UsageError, match="Did you mean 'satellite'"):
        evaluate_model(model, [str(images)], "sattelite")


@pytest.mark.parametrize("degradation", [{"blur": "much"}, {"fog": [0, 1]}, 3])
def test_a_card_whose_degradation_makes_no_sense(tmp_path, images, degradation):
    model = tiny_models.write(tmp_path / "odd", tiny_models.net(2), degradation=degradation)
    with pytest.raises(UsageError, match="the card's degradation"):
        evaluate_model(model, [str(images)])


def test_a_card_without_a_degradation(tmp_path, images):
    model = tiny_models.write(tmp_path / "mute", tiny_models.net(2), degradation=None)
    with pytest.raises(UsageError, match="says no degradation: name a search space with --space"):
        evaluate_model(model, [str(images)])
    assert evaluate_model(model, [str(images)], "art")["sets"][0]["images"] == 3


def test_files_that_were_left_out_are_named(model, images):
    noise_images.write(images, ["small.png"], (31, 64))
    (images / "broken.png").write_bytes(b"x")
    (images / "deep.png").write_bytes(noise_images.sixteen_bit_png())
    (images / "notes.txt").write_text("ignored")
    (told,) = evaluate_model(model, [str(images)])["sets"]
    assert told["images"] == 3
    reasons = {entry["file"]: entry["reason"] for entry in told["skipped"]}
    assert sorted(reasons) == ["broken.png", "deep.png", "small.png"]
    assert reasons["small.png"] == "64×31 pixels, smaller than the 32×32 needed"


def test_no_usable_image_in_one_of_the_sets(model, images, tmp_path):
    (tmp_path / "empty").mkdir()
    noise_images.write(tmp_path / "small", ["a.png"], (31, 64))
    for name, words in {
        "empty": r"empty' is empty; expected images \(\.bmp",
        "small": r"no usable images \(left out: 1 × smaller than the 32×32 needed\)",
    }.items():
        with pytest.raises(ImageSetError, match=words):
            evaluate_model(model, [str(images), str(tmp_path / name)])
    with pytest.raises(StorageError, match="There is no folder"):
        evaluate_model(model, [str(images), str(tmp_path / "nowhere")])


def test_a_model_of_one_band_is_scored_on_gray_and_on_colour(tmp_path, images):
    untrained = with_bands(SuperResolutionNet(preset("tiny", 2)), ["gray"])
    gray = noise_images.write(tmp_path / "gray", ["a.png"], (40, 40), channels=1)
    for net, ties in ((untrained, True), (tiny_models.of_bands("gray", scale=2), False)):
        model = tiny_models.write(tmp_path / "one", net)
        for told in evaluate_model(model, [str(gray), str(images)])["sets"]:
            assert (told["gain"]["mean"] == pytest.approx(0, abs=0.01)) == ties
            assert told["skipped"] == []


def test_plain_images_are_no_test_for_a_model_of_four_bands(tmp_path, images):
    four = tiny_models.write(tmp_path / "four", tiny_models.of_bands("red", "green", "blue", "nir", scale=2))
    wanted = r"takes 4 bands together, and '.*images' holds gray or colour images: give GeoTIFFs of 4 bands, or a model"
    with pytest.raises(UsageError, match=wanted):
        evaluate_model(four, [str(images)])


def test_no_model(tmp_path, model, images):
    with pytest.raises(UsageError, match=r"There is no model at '.*images': expected model.safetensors and card.json"):
        evaluate_model(str(images), [str(images)])
    with pytest.raises(StorageError, match="There is no folder"):
        evaluate_model(str(tmp_path / "nowhere"), [str(images)])
    weights = Storage.at(model).child("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(UsageError, match=r"Model '.*model': .*digests differ"):
        evaluate_model(model, [str(images)])


class TestNames:
    """What a word after --model means."""

    @pytest.fixture(autouse=True)
    def here(self, tmp_path, monkeypatch):
        tiny_models.packaged(tmp_path, monkeypatch)
        monkeypatch.chdir(tmp_path)

    def told(self, named):
        return evaluate_model(named, ["images"])["model"]

    def test_a_packaged_name(self, images):
        assert self.told("base-x4") == "base-x4"

    def test_a_folder_of_that_name_is_meant_only_with_a_slash(self, images, tmp_path):
        tiny_models.write(tmp_path / "base-x4", tiny_models.net(2))
        assert self.told("base-x4") == "base-x4"
        assert self.told("./base-x4") == self.told("base-x4/") == str(tmp_path / "base-x4")

    def test_any_other_folder_needs_no_slash(self, images, tmp_path):
        tiny_models.write(tmp_path / "mine", tiny_models.net(2))
        assert self.told("mine") == str(tmp_path / "mine")

    def test_an_unknown_name(self, images):
        with pytest.raises(UsageError, match=r"no model 'bse-x4'.* are base-x2, base-x4\. Did you mean 'base-x4'\?"):
            self.told("bse-x4")


def test_the_command_prints_a_row_for_each_set_or_a_document(tmp_path, images, monkeypatch, capsys):
    tiny_models.packaged(tmp_path, monkeypatch)
    noise_images.write(tmp_path / "more", ["a.png"], (70, 70))
    (tmp_path / "more/bad.png").write_bytes(b"no image")
    words = ["evaluate", "--model", "base-x4", "--images", str(images), "--images", str(tmp_path / "more")]

    def printed(*further):
        monkeypatch.setattr(sys, "argv", ["rayscale", *words, *further])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    out = printed("--self-ensemble")
    assert out.startswith("base-x4, x4, bicubic, self-ensemble")
    assert re.search(r"│ images │ +3 │ .* [+-]\d+\.\d\d \[", out)
    assert "left out of more: bad.png: not an image that can be decoded" in out
    assert [one["name"] for one in json.loads(printed("--json"))["sets"]] == ["images", "more"]
    assert re.search(r"^images by lanczos: \d+\.\d\d dB, 0\.\d{4}$", printed("--baselines"), re.MULTILINE)


def test_the_command_shows_its_progress_beside_the_document(model, images, monkeypatch, rayscale):
    monkeypatch.setattr("orchestrator.runtime.progress.LINE_SECONDS", 0)
    code, out, err = rayscale("evaluate", "--model", model, "--images", images, "--json")
    assert (code, json.loads(out)["sets"][0]["images"]) == (0, 3)
    assert err.splitlines() == [f"{done} of 3 images scored" for done in (1, 2, 3)]


def test_lpips_is_told_of_plain_images_where_it_is_asked_for(model, images, tmp_path, monkeypatch, rayscale):
    monkeypatch.setattr(
        "orchestrator.apply.evaluation.evaluate.Lpips",
        lambda: lambda output, hr: 0.25 if min(hr.shape[1:]) > 50 else None,
    )
    noise_images.write(tmp_path / "small", ["a.png"], (40, 40))
    told = evaluate_model(model, [str(images), str(tmp_path / "small")], lpips=True)
    assert [one["model"]["lpips"] for one in told["sets"]] == [0.25, None]
    assert "lpips" not in evaluate_model(model, [str(images)])["sets"][0]["model"]
    code, out, _ = rayscale("evaluate", "--model", model, "--images", images, "--images", tmp_path / "small", "--lpips")
    assert code == 0
    assert "images: LPIPS (AlexNet; 0 is equal) bicubic 0.2500, model 0.2500\n" in out
    assert "small: LPIPS (AlexNet; 0 is equal) bicubic none, too small, model none, too small\n" in out


def test_what_lies_beside_the_images_of_a_set_is_named(model, images, capsys):
    (images / "notes.txt").touch()
    (images / "broken.png").symlink_to("gone.png")
    (images / "again").symlink_to(images)
    (one,) = evaluate_model(model, [str(images)])["sets"]
    assert {"file": "broken.png", "reason": "broken link: there is no gone.png"} in one["skipped"]
    assert one["passed_over"]["summary"] == "1 .txt, 1 × link to a folder that holds it"


def test_an_image_that_breaks_the_comparison_is_left_out_by_name(model, images, monkeypatch):
    from orchestrator.apply.evaluation import evaluate as evaluating

    (whole,) = evaluate_model(model, [str(images)])["sets"]
    real = evaluating.make_pairs

    def breaks(chosen, *rest):
        if chosen[0].name == first:
            raise ZeroDivisionError("by this image")
        return real(chosen, *rest)

    first = sorted(path.name for path in images.iterdir())[0]
    monkeypatch.setattr(evaluating, "make_pairs", breaks)
    (one,) = evaluate_model(model, [str(images)])["sets"]
    assert one["skipped"] == [{"file": first, "reason": "ZeroDivisionError: by this image"}]
    assert one["images"] == whole["images"] - 1


def test_a_model_whose_output_is_not_finite_has_no_score(model, images, monkeypatch):
    broken = replace(prepared(tiny_models.net(2)), run=lambda lr: lr * float("nan"))
    monkeypatch.setattr("orchestrator.apply.evaluation.evaluate.prepared", lambda *_, **__: broken)
    with pytest.raises(ImageSetError, match=r"no usable images .*3 × the model's output is not finite"):
        evaluate_model(model, [str(images)])
