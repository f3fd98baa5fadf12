"""A Ray of our own: on this machine alone, behind a token of its own, in a folder that nobody else can enter."""

import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import ray
from ray._raylet import AuthenticationTokenLoader

from orchestrator.experiment.settings import Cluster
from orchestrator.runtime.on_ray import own_ray
from orchestrator.runtime.on_ray import ray_session as cluster
from orchestrator.runtime.on_ray.own_ray import kept_private, make_folder, remove_folder, without_user
from orchestrator.runtime.on_ray.ray_session import connect

LISTENING = "0A"


def listening() -> set[str]:
    """Addresses that this process and its descendants listen on, in hexadecimal digits as the kernel gives them."""
    lines = [line.split() for family in ("tcp", "tcp6") for line in Path("/proc/net", family).read_text().splitlines()]
    own = {inode for process in descendants(os.getpid()) for inode in sockets(process)}
    return {fields[1].split(":")[0] for fields in lines if fields[3] == LISTENING and fields[9] in own}


def descendants(process: int) -> list[int]:
    """A process and all processes that it started, directly or not; others of this machine listen where they like."""
    children: dict[int, list[int]] = {}
    for stat_file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            after_name = stat_file.read_text().rpartition(")")[2].split()
            children.setdefault(int(after_name[1]), []).append(int(stat_file.parent.name))
    found = [process]
    for parent in found:
        found += children.get(parent, [])
    return found


def sockets(process: int) -> list[str]:
    """Inode numbers of the sockets that a process holds."""
    targets = []
    for link in Path(f"/proc/{process}/fd").glob("*"):
        with suppress(OSError):
            targets.append(str(link.readlink()))
    return [target[len("socket:[") : -1] for target in targets if target.startswith("socket:[")]


@pytest.fixture
def no_settings(monkeypatch):
    for name in (*own_ray._TOKENS, own_ray._LOOPBACK, "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_token_of_its_own_for_each_and_nothing_is_left_behind(no_settings):
    tokens = set()
    for _ in range(2):
        with kept_private():
            tokens.add(os.environ["RAY_AUTH_TOKEN"])
            os.environ["RAY_AUTH_MODE"] = "token"  # as Ray does
            assert os.environ["RAY_AUTH_TOKEN"] == AuthenticationTokenLoader.instance().get_raw_token(True)
            assert ray._private.services.get_node_ip_address() == "127.0.0.1"
    assert len(tokens) == 2
    assert min(map(len, tokens)) == 64
    assert not {*own_ray._TOKENS, own_ray._LOOPBACK} & set(os.environ)
    assert ray._private.ray_constants.ENABLE_RAY_CLUSTER


@pytest.mark.parametrize("name", own_ray._TOKENS)
def test_what_the_user_chose_is_kept(no_settings, monkeypatch, name):
    monkeypatch.setenv(name, "disabled")
    with kept_private():
        assert {key: os.environ[key] for key in own_ray._TOKENS if key in os.environ} == {name: "disabled"}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_folder_is_private_whatever_the_umask(no_settings, umask):
    before = os.umask(umask)
    try:
        folder = make_folder()
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    folder.parent.rmdir()


def test_sockets_fit_where_the_temporary_folder_has_a_long_name(no_settings, monkeypatch, tmp_path):
    monkeypatch.setattr(own_ray.tempfile, "gettempdir", lambda: str(tmp_path / ("a" * 60)))
    folder = make_folder()
    session = folder / "session_2026-11-28_06-16-49_123456_4194304"
    assert len(str(session / "sockets" / "plasma_store")) <= 107
    folder.parent.rmdir()


def test_a_folder_that_holds_something_else_stays(no_settings, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    folder = make_folder()
    session = folder / "session_1"
    (session / "logs").mkdir(parents=True)
    other = folder.parent / "other.txt"
    other.write_bytes(b"mine")
    remove_folder(session)
    assert not session.exists()
    assert other.read_bytes() == b"mine"
    other.unlink()
    (folder).mkdir()
    remove_folder(session)
    assert list(tmp_path.iterdir()) == []
    remove_folder(tmp_path / "session_elsewhere" / "ray" / "session_2")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:pass@host:9000", "http://host:9000"),
        ("http://user:p@ss@host:9000/path", "http://host:9000/path"),
        ("http://host:9000", "http://host:9000"),
        ("eu-central-1", "eu-central-1"),
        ("http://[broken", "http://[broken"),
    ],
)
def test_forwarded_settings_hold_no_password(url, shown):
    assert without_user(url) == shown


@pytest.mark.parametrize("address", [None, "10.0.0.1:6379"])
def test_a_runtime_environment_holds_the_endpoint_and_the_region_alone(no_settings, monkeypatch, address):
    given = {}
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: given.update(options))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "nodes", list)
    monkeypatch.setattr(cluster, "make_folder", lambda: None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:canary@host:9000")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GITHUB_TOKEN", "MY_PASSWORD"):
        monkeypatch.setenv(name, "canary")
    with connect(Cluster(address=address)):
        pass
    environment = given["runtime_env"]["env_vars"]
    s3 = {"AWS_ENDPOINT_URL": "http://host:9000", "AWS_REGION": "eu-central-1"}  # a Ray of our own inherits them
    assert environment == {**cluster._QUIET, **(s3 if address else {})}
    assert list(given["runtime_env"]) == ["env_vars"]
    assert "canary" not in repr(given)


ALONE = """
import os, stat, sys
from pathlib import Path
import ray
sys.path.insert(0, sys.argv[1])
from test_own_ray import listening
from ray._common.usage.usage_lib import usage_stats_enabled
from orchestrator.runtime.on_ray.ray_session import connect
from orchestrator.experiment.settings import Cluster

@ray.remote
def token():
    return os.environ["RAY_AUTH_TOKEN"]

with connect(Cluster(cpus=1)):
    assert ray.get(token.remote()) == os.environ["RAY_AUTH_TOKEN"]
    opened = listening()
    assert len(opened) > 0
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    private = session.parent.parent
    print(sorted(opened), oct(stat.S_IMODE(private.stat().st_mode)), usage_stats_enabled())
print(private.exists(), Path.home().joinpath(".ray").exists())
"""


@pytest.mark.cluster
def test_a_real_one_listens_on_loopback_alone_and_leaves_nothing(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=180,
        env={**environment, "HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    addresses, rest = first.rsplit("]", 1)
    assert set(addresses.strip("[").replace("'", "").split(", ")) <= loopback
    assert rest == " 0o700 False"
    assert second == "False False"
