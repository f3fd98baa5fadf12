"""Identity of a process, distinct from later ones of the same number and from those of other machines or containers."""

from pathlib import Path


def kernel() -> str:
    """Id of this boot and PID namespace, within which process numbers are comparable; empty where /proc lacks it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def start_of(process: int) -> str:
    """Start time of a process on the machine's own clock; empty if no process has that number."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
