"""The pages on a user's own scenes and series hold: their files and commands, run on generated data."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import rasterio
import yaml
from helpers import dicom_files
from helpers.own_scenes import write_geotiff, write_sites
from rich.console import Console

from orchestrator.api import load_experiment, read_report
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.runtime.progress import Display
from orchestrator.runtime.task_runner import in_process
from trainables.samples import generate
from trainables.samples.multispectral import BANDS, scene

ROOT = Path(__file__).parents[1]
SMALL = {
    "finetuning": {"steps": 6, "batch": 2, "lr_patch": 8, "evaluations": 2},
    "search": {"trials": 2, "startup_trials": 1, "validation_images": 2, "validation_crop": 64},
    "confirmation": {"top": 1, "seeds": 2, "ablation": False, "classical": False},
}
"""A budget of seconds in place of the page's."""


def blocks(page: str, kind: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def save_experiment(page: str, name: str, folder: Path) -> list[str]:
    """Saves the page's experiment with a small budget; gives the page's commands."""
    (content,) = (yaml.safe_load(block) for block in blocks(page, "yaml"))
    for section, changes in SMALL.items():
        content[section] = content.get(section, {}) | changes
    (folder / name).write_text(yaml.safe_dump(content))
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if line.startswith("rayscale ")]
    assert [line.split()[1] for line in lines] == ["plan", "run", "upscale"]
    return lines


def call(line: str, folder: Path) -> str:
    """Runs a command as a user does; gives its output."""
    command = [sys.executable, "-m", "orchestrator.cli.app", *shlex.split(line)[1:]]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "160"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.cluster
def test_own_scenes_from_training_to_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_sites(tmp_path / "scenes", 7, side=128, seasons=("summer",))
    lr = scene(50, "spring", (64, 48), edge=True).raster.values
    write_geotiff(tmp_path / "archive" / "a.tif", lr, pixel=10)
    write_geotiff(tmp_path / "archive" / "turned.tif", lr[..., ::-1], pixel=10, names=BANDS[::-1])
    plan, run, _ = (call(line, tmp_path) for line in save_experiment("own-scenes.md", "scenes.yaml", tmp_path))
    assert "Nothing is missing" in plan
    assert "uint16, blue, green, red, nir; 0 to 10000 mean 0 to 1" in run

    domain = read_report(load_experiment(tmp_path / "scenes.yaml")).domains["satellite"]
    arms = {arm.name: arm for arm in domain.arms}
    assert {"bicubic", "zero_shot", "default", "best"} <= set(arms)
    assert list(arms["best"].bands) == list(BANDS)
    assert np.mean(list(arms["best"].bands.values())) == pytest.approx(arms["best"].psnr, abs=0.01)
    assert arms["best"].sam > 0
    assert arms["best"].ergas > 0

    with rasterio.open(tmp_path / "archive" / "a.tif") as source, rasterio.open(tmp_path / "upscaled" / "a.tif") as out:
        assert (out.count, out.dtypes[0], out.nodata, out.crs) == (4, "uint16", 0, source.crs)
        assert (out.width, out.height) == (4 * source.width, 4 * source.height)
        assert out.descriptions == BANDS
        before, after = source.read(), out.read()
        lost = (before == 0).any(axis=0)
        assert ((after == 0).all(axis=0) == np.kron(lost, np.ones((4, 4), bool))).all()
        inside = after[:, ~np.kron(lost, np.ones((4, 4), bool))]
        assert abs(inside.mean() / before[:, ~lost].mean() - 1) < 0.05
    with rasterio.open(tmp_path / "upscaled" / "turned.tif") as out:
        assert (out.read()[::-1] == after).all()


def slices(folder: Path, patient: int, side: int, count: int = 2) -> None:
    """CT slices of a patient: 12 bits from -1000 HU up, with a border of padding."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        drawn = generate("medical", 3 * patient, (side, side))[..., 0].astype(float) / 255
        stored = np.clip(np.rint(drawn * 2800 + 20 * number), 0, 4000).astype(np.int16)
        stored[:3] = -2000
        elements = {"PatientID": f"p{patient}", "RescaleSlope": 1, "PixelPaddingValue": -2000, "PixelSpacing": [1, 1]}
        elements |= {"SOPInstanceUID": f"1.2.3.{patient}.{number}"}
        made = dicom_files.dataset(stored, 16, **elements)
        made["PixelPaddingValue"].VR = "SS"
        (folder / f"{number:04d}.dcm").write_bytes(dicom_files.encoded(made))


def test_own_dicom_series_split_by_patient_and_upscaled_in_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for patient in range(6):
        slices(tmp_path / "series" / f"patient-{patient}", patient, 128)
    slices(tmp_path / "coarse", 90, 40, 1)
    *_, upscale = save_experiment("own-dicom.md", "series.yaml", tmp_path)
    experiment = load_experiment(tmp_path / "series.yaml")
    console = Console(record=True, width=160, force_terminal=False)
    run_experiment(experiment, preflight(experiment), Display(console), start=in_process)
    assert "-1000 to 2000 HU mean 0 to 1" in console.export_text()
    call(upscale, tmp_path)

    domain = read_report(experiment).domains["medical"]
    assert domain.counts.scenes["test"] >= 1
    assert "window 3000 HU" in domain.degradation
    source, out = (pydicom.dcmread(next((tmp_path / place).rglob("*.dcm"))) for place in ("coarse", "upscaled"))
    assert (out.Rows, out.Columns) == (4 * source.Rows, 4 * source.Columns)
    assert list(out.PixelSpacing) == [0.25, 0.25]
    assert (out.RescaleSlope, out.RescaleIntercept) == (source.RescaleSlope, source.RescaleIntercept)
    before, after = source.pixel_array, out.pixel_array
    assert ((after == -2000) == np.kron(before == -2000, np.ones((4, 4), bool))).all()
    assert abs(after[after > -2000].mean() - before[before > -2000].mean()) < 30
