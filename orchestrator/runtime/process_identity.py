"""Identity of a process, distinct from later ones of the same number and from those of other machines or containers."""

from pathlib import Path


def kernel() -> str:
    """This boot of this machine and its namespace of processes, in which alone a process's number means something.

    Empty where the system does not say.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def start_of(process: int) -> str:
    """Start of a process on the machine's own clock; empty if there is none of that number."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
