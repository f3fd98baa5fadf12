"""Isolation of a Ray of our own from the network and from other users of this machine.

It listens on the loopback address alone, requires a token that only its processes know, and keeps its sockets, logs and
objects on disk in a folder that only its user can enter. By default Ray listens on every interface, keeps its token in
a file whose mode follows the umask, and opens its folder to everybody.
"""

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import ray
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's switch for multi-node clusters, which works on any system despite its name: at 0, Ray binds to 127.0.0.1."""

_TOKENS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_FOLDER = "rayscale-ray-"
_LONGEST_FOLDER = 20
"""Longest path of the temporary folder that leaves room for Ray's sockets, whose paths have 107 characters at most."""


@contextmanager
def kept_private() -> Iterator[None]:
    """Keeps a Ray that starts and runs in the block on the loopback address, with one token for all its processes.

    A mode or token that the user has set is left as it is.
    """
    constants = ray._private.ray_constants
    enabled = constants.ENABLE_RAY_CLUSTER
    settings = {_LOOPBACK: "0"}
    if not any(name in os.environ for name in _TOKENS):
        # A token alone turns Ray's authentication on; if a mode were set too, Ray would not notice it in this process.
        settings["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    before = {name: os.environ.get(name) for name in (*settings, "RAY_AUTH_MODE")}
    constants.ENABLE_RAY_CLUSTER = False
    os.environ.update(settings)
    _forget_token()
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = enabled
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _forget_token()


def _forget_token() -> None:
    AuthenticationTokenLoader.instance().reset_cache()


def make_folder() -> Path:
    """Creates a folder for Ray inside one that only its user can enter, since Ray opens its own to everybody.

    Raises:
        OSError: If it cannot be created.
    """
    chosen = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(chosen) > _LONGEST_FOLDER and "RAY_TMPDIR" not in os.environ and os.access("/tmp", os.W_OK):
        chosen = "/tmp"
    return Path(tempfile.mkdtemp(prefix=_FOLDER, dir=chosen)) / "ray"


def remove_folder(session: Path) -> None:
    """Removes the folder of a session of our own, and the private one around it if that is then empty."""
    remove_session(session)
    private = session.parent.parent
    if private.name.startswith(_FOLDER):
        with suppress(OSError):
            (private / "ray" / "session_latest").unlink(missing_ok=True)
            (private / "ray").rmdir()
            private.rmdir()


def remove_session(session: Path) -> None:
    """Removes the folder of a Ray session, if it has such a name, belongs to this user and is no link."""
    with suppress(OSError):
        facts = session.lstat()
        if session.name.startswith("session") and stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid():
            shutil.rmtree(session, ignore_errors=True)


def without_user(url: str) -> str:
    """A URL without the name and password before its host; any other text as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url
