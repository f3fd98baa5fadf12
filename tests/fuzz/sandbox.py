"""What a parser may touch while a case runs: its own folder. Python's audit events tell of everything else."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod", "os.chown"),
    *("shutil.rmtree", "shutil.move", "shutil.copyfile"),
}
_STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"}
_CONNECTS = {"socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto"}
_HARMLESS = ("/dev/null", "/dev/shm", "/proc/", "/sys/")


class Sandbox:
    """Notes each write outside a folder, each process started and each connection tried, while it is closed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._closed = os.path.realpath(folder), False
        self.violations: list[str] = []
        sys.addaudithook(self._event)

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Watches until the block ends."""
        self._closed = True
        try:
            yield
        finally:
            self._closed = False

    def _event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._closed:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES and not isinstance(path, int):
                self._check(event, path)
        elif event in _CHANGES:
            paths = arguments[:2] if event in ("os.rename", "shutil.move") else arguments[:1]
            for path in paths:
                if not isinstance(path, int):
                    self._check(event, path)
        elif event in _STARTS or event in _CONNECTS:
            self.violations.append(f"{event} {arguments!r:.200}")

    def _check(self, event: str, path: Any) -> None:
        self._closed = False  # what follows raises events of its own
        try:
            name = os.fsdecode(path)
            real = os.path.realpath(name)
            if not (real + "/").startswith(self._folder + "/") and not real.startswith(_HARMLESS):
                self.violations.append(f"{event} {name!r:.200}")
        except (TypeError, ValueError):
            self.violations.append(f"{event} {path!r:.200}")
        finally:
            self._closed = True
