"""Every benchmark reads the layout in which its data set is distributed, and says in a sentence what is missing."""

import sys

import benchmark_trees as trees
import numpy as np
import pytest
import torch

from orchestrator.protocols.all_protocols import PROTOCOLS, find_protocol
from orchestrator.protocols.run import find_pairs, run_benchmark
from trainables.errors import UsageError


def pairs_of(name, folder, scale):
    return find_pairs(find_protocol(name), str(folder), scale)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize(
    ("name", "write"), [("realsr", trees.realsr), ("drealsr", trees.drealsr), ("div2k", trees.div2k)]
)
def test_pairs_of_pictures(tmp_path, name, write, scale):
    pairs = pairs_of(name, write(tmp_path, scale), scale)
    assert len(pairs) == (4 if name == "realsr" else 2)
    for pair in pairs:
        loaded = pair.load()
        assert loaded.hr.dtype == loaded.lr.dtype == np.uint8
        assert loaded.hr.shape == (1, 24 * scale, 16 * scale, 3)
        assert loaded.lr.shape == (1, 24, 16, 3)


def test_a_folder_above_the_archive_works_too(tmp_path):
    trees.realsr(tmp_path / "RealSR(V3)")
    assert [pair.name for pair in pairs_of("realsr", tmp_path, 4)] == [
        "Canon_001",
        "Canon_002",
        "Nikon_001",
        "Nikon_002",
    ]


def test_frames_of_super_by_compression(tmp_path):
    pairs = pairs_of("super", trees.super_frames(tmp_path), 2)
    assert {(pair.part, pair.scene) for pair in pairs} == {
        (part, scene) for part in ("uncoded", "QP30") for scene in ("bookshelf", "dolls")
    }
    uncoded = [pair.name for pair in pairs if pair.part == "uncoded" and pair.scene == "dolls"]
    assert uncoded == [f"dolls/global_translation/f{number:03}.png" for number in range(9, 19)]
    assert pairs[0].load().hr.shape == (1, 48, 32, 1)


def test_a_missing_frame_of_super_is_named(tmp_path):
    trees.super_frames(tmp_path)
    (tmp_path / "dolls/global_translation/Bin2/f003.png").unlink()
    with pytest.raises(
        UsageError, match=r"dolls/global_translation' has 20 HR frames in Bin1 and 19 LR frames in Bin2:"
    ):
        pairs_of("super", tmp_path, 2)


@pytest.mark.parametrize(
    ("hr", "lr"),
    [
        ("Set5/image_SRF_4/img_{n}_SRF_4_HR.png", "Set5/image_SRF_4/img_{n}_SRF_4_LR.png"),
        ("benchmark/Set5/HR/{n}.png", "benchmark/Set5/LR_bicubic/X4/{n}x4.png"),
        ("{n}.png", None),
    ],
)
def test_layouts_of_the_classic_sets(tmp_path, hr, lr):
    trees.camera_pairs(tmp_path, hr, lr or "elsewhere/{n}.png", 4)
    first, second = pairs_of("set5", tmp_path, 4)
    assert (first.load().lr is None) == (lr is None)
    assert not np.array_equal(first.load().hr, second.load().hr)


def test_bsd100_has_another_name_in_archives(tmp_path):
    trees.camera_pairs(tmp_path, "benchmark/B100/HR/{n}.png", "benchmark/B100/LR_bicubic/X2/{n}x2.png", 2)
    assert len(pairs_of("bsd100", tmp_path, 2)) == 2


@pytest.mark.parametrize(("scale", "bands"), [(2, ("blue", "green", "red", "nir")), (4, ("B5", "B6", "B7", "B8A"))])
def test_patches_of_sen2venus(tmp_path, scale, bands):
    pairs = pairs_of("sen2venus", trees.sen2venus(tmp_path, scale), scale)
    assert [pair.part for pair in pairs] == ["ALSACE"] * 3 + ["ARM"] * 3
    loaded = pairs[1].load()
    assert loaded.bands == bands
    assert loaded.lr.shape == (1, 32, 32, 4)
    assert loaded.hr[0] == pytest.approx(trees.smooth(1, 32 * scale, 32 * scale, 4), abs=1e-4)


def test_a_pickle_in_place_of_tensors_is_not_run(tmp_path):
    trees.sen2venus(tmp_path)

    class Payload:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save(Payload(), next(tmp_path.rglob("*_05m_*.pt")))
    with pytest.raises(UsageError, match="cannot be read as tensors of SEN2VENµS"):
        pairs_of("sen2venus", tmp_path, 2)
    assert not (tmp_path / "ran").exists()


def test_both_versions_of_opensr_test(tmp_path):
    trees.opensr_arrays(tmp_path / "old", "naip")
    trees.opensr_arrays(tmp_path / "old2", "venus", 2)
    trees.opensr_scenes(tmp_path / "new", "spot")
    assert [pair.part for pair in pairs_of("opensr-test", tmp_path / "old", 4)] == ["naip"] * 2
    assert [pair.part for pair in pairs_of("opensr-test", tmp_path / "old2", 2)] == ["venus"] * 2
    scenes = pairs_of("opensr-test", tmp_path / "new", 4)
    assert [pair.name for pair in scenes] == ["spot ROI_00000", "spot ROI_00001"]
    for number, pair in enumerate(scenes):
        loaded = pair.load()
        assert loaded.lr[0] == pytest.approx(trees.reduced(trees.smooth(number, 96, 96, 4), 4), abs=1e-4)


def test_slices_of_ixi_that_show_nothing_are_left_out(tmp_path):
    trees.ixi(tmp_path / "IXI-T2")
    trees.ixi(tmp_path, "PD", 1)
    pairs = pairs_of("ixi", tmp_path, 4)
    assert [(pair.part, pair.scene) for pair in pairs] == [("T2", "IXI002"), ("T2", "IXI003"), ("PD", "IXI002")]
    loaded = pairs[0].load()
    assert loaded.hr.shape == (4, 40, 32, 1)
    assert loaded.hr.max() == 1
    assert loaded.lr is None


def test_volumes_of_fastmri(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "singlecoil_val").mkdir()
    with h5py.File(tmp_path / "singlecoil_val" / "file1000000.h5", "w") as file:
        file["reconstruction_esc"] = np.stack([trees.smooth(number, 32, 32, 1)[..., 0] for number in range(3)]) * 1e-4
    (tmp_path / "singlecoil_val" / "file1000001.h5").write_bytes(b"nothing")
    result = run_benchmark(find_protocol("fastmri"), str(tmp_path), scale=4)
    assert result["parts"][0]["images"] == 1
    assert result["parts"][0]["arms"]["bicubic"]["psnr"] > 25
    assert "no HDF5 file" in result["left_out"][0]["reason"]


def test_fastmri_needs_a_library_for_hdf5(tmp_path, monkeypatch):
    (tmp_path / "file.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"fastMRI is HDF5: install h5py"):
        pairs_of("fastmri", tmp_path, 4)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_an_empty_folder_says_what_was_expected(tmp_path, name):
    protocol = PROTOCOLS[name]
    with pytest.raises(UsageError, match=f"holds no test pairs of {protocol.title} at x4; expected ") as found:
        pairs_of(name, tmp_path, 4)
    assert str(found.value).endswith(protocol.layout + ".")


def test_a_missing_folder_and_a_bucket(tmp_path):
    with pytest.raises(UsageError, match=r"There is no folder '.*nowhere'; name the one of RealSR V3"):
        pairs_of("realsr", tmp_path / "nowhere", 4)
    with pytest.raises(UsageError, match="--data must be a folder, found 's3://bucket/set'"):
        pairs_of("realsr", "s3://bucket/set", 4)


@pytest.mark.parametrize("side", ["LR4", "HR"])
def test_pairs_that_lack_one_side(tmp_path, side):
    trees.realsr(tmp_path)
    for file in tmp_path.glob(f"Canon/Test/4/*_{side}.png"):
        file.unlink()
    with pytest.raises(UsageError, match=f"2 of 2 test pairs of RealSR V3 lack one side, .*without {side[:2]}:"):
        pairs_of("realsr", tmp_path, 4)
