"""What tidies up removes what it made, and leaves what somebody else put beside it."""

import os
from pathlib import Path

import pytest

from orchestrator.foundation.storage import Storage
from orchestrator.runtime.on_ray import own_ray
from orchestrator.search import driver as searching

ROUND = "1795846614909023500-0"


def test_tunes_state_goes_and_other_files_in_its_folder_stay(tmp_path):
    scratch = tmp_path / "ray"
    for name in (f"{ROUND}/trial/result.json", f"{ROUND}/.validate_storage_marker", "1795846614909023501-1/.hidden"):
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).write_bytes(b"ours")
    for name in ("notes.txt", "2025-1/mine", "mine/1795846614909023500-0"):
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).write_bytes(b"mine")
    searching._delete_state(Storage(str(scratch)))
    kept = sorted(str(path.relative_to(scratch)) for path in scratch.rglob("*") if path.is_file())
    assert kept == ["2025-1/mine", "mine/1795846614909023500-0", "notes.txt"]


def test_an_empty_folder_of_tunes_state_goes_too(tmp_path):
    (tmp_path / "ray" / ROUND).mkdir(parents=True)
    searching._delete_state(Storage(f"{tmp_path}/ray"))
    assert list(tmp_path.iterdir()) == []
    searching._delete_state(Storage(f"{tmp_path}/ray"))


def test_a_round_that_is_a_link_leads_to_nothing_that_is_removed(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "data").write_bytes(b"mine")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / ROUND).symlink_to(tmp_path / "victim")
    searching._delete_state(Storage(f"{tmp_path}/ray"))
    assert (tmp_path / "victim" / "data").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("name", "removed"), [("session_2026-11-28_06-16-49_849_13500", True), ("home", False), ("link", False)]
)
def test_only_the_session_of_a_ray_of_our_own_is_removed(tmp_path, name, removed):
    (tmp_path / "session_real").mkdir()
    (tmp_path / "session_real" / "data").write_bytes(b"mine")
    session = tmp_path / (name if name != "link" else "session_link")
    if name == "link":
        session.symlink_to(tmp_path / "session_real")
    else:
        (session / "logs").mkdir(parents=True)
    own_ray.remove_session(session)
    assert session.exists() is not removed
    assert (tmp_path / "session_real" / "data").exists()
    own_ray.remove_session(tmp_path / "session_none")


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder to another user takes root")
def test_another_users_session_stays(tmp_path):
    session = Path(tmp_path, "session_theirs")
    session.mkdir()
    os.chown(session, 12345, 12345)
    own_ray.remove_session(session)
    assert session.exists()
