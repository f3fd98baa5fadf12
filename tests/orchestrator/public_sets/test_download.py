"""One file from a real server: continued, started again where it must be, and never taken for another."""

import errno
import hashlib
import shutil
import urllib.request
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import range_server

from orchestrator.public_sets import download as module
from orchestrator.public_sets import remote
from orchestrator.public_sets.catalogue import RemoteFile
from orchestrator.public_sets.download import download
from orchestrator.public_sets.remote import RemoteFacts, ask
from trainables.errors import RunError, UsageError

CONTENT = np.random.default_rng(0).bytes(3 * 2**20 + 17)
OTHER = np.random.default_rng(1).bytes(3 * 2**20 + 17)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def home():
    with range_server.serve() as server:
        server.files["set.zip"] = CONTENT
        yield server


@pytest.fixture
def get(home, tmp_path):
    """Downloads the file without waiting between attempts."""

    def run(digest=""):
        return download(RemoteFile(home.url("set.zip"), "set.zip", digest), tmp_path / "set.zip", sleep=lambda _: None)

    return run


def interrupted(home, get, after=2**20, digest=""):
    """An earlier attempt that has left ``after`` bytes."""
    home.cut_after = [after] + [0] * 20
    with pytest.raises(RunError, match=f"broke off 5 times, {after:,} bytes are here"):
        get(digest)
    home.cut_after, home.asked = [], []


def left(tmp_path):
    return sorted(file.name for file in tmp_path.iterdir())


def test_a_whole_file(home, get, tmp_path):
    found = get()
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    assert (found.size, found.sha256, found.notes) == (len(CONTENT), SHA256, ())
    assert found.verified == "size alone: its home publishes no checksum"
    assert left(tmp_path) == ["set.zip"]


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_published_checksum(get, algorithm):
    found = get(f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}")
    assert found.verified == {"sha256": "SHA-256 as published", "md5": "MD5 as published"}[algorithm]


def test_a_wrong_checksum_removes_the_file(get, tmp_path):
    with pytest.raises(RunError, match=f"its sha256 is {SHA256}, expected 0000; it was removed"):
        get("sha256:0000")
    assert left(tmp_path) == []


def test_a_broken_connection_is_continued_at_once(home, get, tmp_path):
    home.cut_after = [2**20, 2**19]
    found = get()
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    assert found.notes == ()
    assert home.downloads == ["", f"bytes={2**20}-", f"bytes={2**20 + 2**19}-"]


def test_another_run_goes_on_where_the_first_was_interrupted(home, get, tmp_path):
    interrupted(home, get)
    assert left(tmp_path) == ["set.zip.part", "set.zip.part.json"]
    get(f"sha256:{SHA256}")
    assert home.downloads == [f"bytes={2**20}-"]
    assert left(tmp_path) == ["set.zip"]


def test_a_file_that_changed_in_between_is_fetched_anew(home, get, tmp_path):
    interrupted(home, get)
    home.files["set.zip"] = OTHER
    found = get()
    assert (tmp_path / "set.zip").read_bytes() == OTHER
    assert found.notes == ("'set.zip' was fetched from its beginning: it has changed at its home",)


def test_a_shorter_file_in_between(home, get, tmp_path):
    interrupted(home, get, after=2**21)
    home.files["set.zip"] = OTHER[: 2**20]
    get()
    assert (tmp_path / "set.zip").read_bytes() == OTHER[: 2**20]


def test_a_server_without_ranges(home, get, tmp_path):
    interrupted(home, get)
    home.ranges = False
    found = get()
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    assert found.notes == ("'set.zip' was fetched from its beginning: its server cannot continue a download",)


def test_bytes_of_unknown_version_are_joined_only_under_a_checksum(home, get, tmp_path):
    home.versions = False
    interrupted(home, get, digest=f"sha256:{SHA256}")
    assert get().notes == ("'set.zip' was fetched from its beginning: its server does not say which version it sends",)
    (tmp_path / "set.zip").unlink()
    interrupted(home, get, digest=f"sha256:{SHA256}")
    assert get(f"sha256:{SHA256}").notes == ()
    assert home.downloads == [f"bytes={2**20}-"]


def test_a_changed_file_of_unknown_version_fails_its_checksum_and_is_gone(home, get, tmp_path):
    home.versions = False
    interrupted(home, get, digest=f"sha256:{SHA256}")
    home.files["set.zip"] = OTHER
    with pytest.raises(RunError, match="is not the file that its home published"):
        get(f"sha256:{SHA256}")
    assert left(tmp_path) == []


def test_a_server_that_states_no_size(home, get, tmp_path):
    home.sizes = False
    found = get()
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    assert found.verified == "nothing: no size, no checksum"


def test_all_bytes_were_here_already(home, get, tmp_path):
    interrupted(home, get)
    part = tmp_path / "set.zip.part"
    part.write_bytes(CONTENT)
    get(f"sha256:{SHA256}")
    assert home.downloads == []


def test_a_damaged_state_starts_again(home, get, tmp_path):
    interrupted(home, get)
    (tmp_path / "set.zip.part.json").write_text("{")
    get()
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    assert home.downloads == [""]


def test_a_missing_file(home, tmp_path):
    file = RemoteFile(home.url("nowhere.zip"), "nowhere.zip")
    for attempt in (lambda: ask(file.url), lambda: download(file, tmp_path / "x")):
        with pytest.raises(RunError, match=r"answers 404 \(Not Found\) for '.*nowhere.zip': the file has moved"):
            attempt()
    assert left(tmp_path) == []


def test_a_redirect_is_followed(home, tmp_path):
    home.redirects["moved.zip"] = home.url("set.zip")
    download(RemoteFile(home.url("moved.zip"), "moved.zip"), tmp_path / "moved.zip")
    assert (tmp_path / "moved.zip").read_bytes() == CONTENT


def test_a_redirect_to_a_local_file_is_not(home, tmp_path):
    (tmp_path / "secret").write_text("secret")
    home.redirects["moved.zip"] = (tmp_path / "secret").as_uri()
    with pytest.raises(RunError, match="302"):
        download(RemoteFile(home.url("moved.zip"), "moved.zip"), tmp_path / "moved.zip")
    assert left(tmp_path) == ["secret"]


def test_a_redirect_without_encryption_is_refused(home, tmp_path, monkeypatch):
    """The local server has no certificate: an https address is opened as http, as a redirect would end."""
    real = urllib.request.urlopen

    def opened(request, timeout):
        request.full_url = request.full_url.replace("https://", "http://")
        return real(request, timeout=timeout)

    monkeypatch.setattr(urllib.request, "urlopen", opened)
    file = RemoteFile(home.url("set.zip").replace("http://", "https://"), "set.zip")
    with pytest.raises(RunError, match="redirects to an address without encryption"):
        download(file, tmp_path / "set.zip")
    assert left(tmp_path) == []


def test_facts_of_a_file(home):
    facts = ask(home.url("set.zip"))
    assert facts.size == len(CONTENT)
    home.head = False
    assert ask(home.url("set.zip")) == facts
    home.versions = False
    assert ask(home.url("set.zip")) == RemoteFacts(len(CONTENT), "")


def test_a_server_that_knows_no_head_request_and_breaks_off(home, monkeypatch):
    home.head, opened = False, remote.send

    def broken(request):
        if request.get_method() == "GET":
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        return opened(request)

    monkeypatch.setattr(remote, "send", broken)
    with pytest.raises(RunError, match=r"127.0.0.1 cannot be reached for '.*': Connection reset by peer"):
        ask(home.url("set.zip"))


def test_nobody_answers(tmp_path):
    with range_server.serve() as server:
        url = server.url("set.zip")
    with pytest.raises(RunError, match=r"127.0.0.1 cannot be reached for '.*': Connection refused"):
        ask(url)
    with pytest.raises(RunError, match="broke off 5 times, 0 bytes are here"):
        download(RemoteFile(url, "set.zip"), tmp_path / "set.zip", sleep=lambda _: None)


def test_a_disk_without_room_is_noticed_before_anything_is_written(home, get, tmp_path, monkeypatch):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    with pytest.raises(UsageError, match=r"has room for 0.0 GB and 0.0 GB are still to be written"):
        get()
    assert not (tmp_path / "set.zip.part").exists()


def test_a_disk_that_fills_up_on_the_way(home, get, tmp_path, monkeypatch):
    real = Path.open

    def opened(self, mode="r", *args, **kwargs):
        file = real(self, mode, *args, **kwargs)
        if self.name == "set.zip.part" and "b" in mode and mode != "rb":
            write, count = file.write, [0]

            def limited(data):
                count[0] += 1
                if count[0] > 1:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return write(data)

            return _Wrapped(file, limited)
        return file

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(RunError, match="is full: free some room, and the same command goes on"):
        get()
    monkeypatch.undo()
    home.asked = []
    get(f"sha256:{SHA256}")
    assert home.downloads == [f"bytes={2**20}-"]


class _Wrapped:
    """A file whose writes are another function's."""

    def __init__(self, file, write):
        self._file, self.write = file, write

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def test_pauses_grow_and_end(home, tmp_path):
    home.cut_after = [0] * 20
    pauses = []
    with pytest.raises(RunError, match="broke off 5 times"):
        download(RemoteFile(home.url("set.zip"), "set.zip"), tmp_path / "set.zip", sleep=pauses.append)
    assert pauses == [module.PAUSE * factor for factor in (2, 4, 8, 16)]
