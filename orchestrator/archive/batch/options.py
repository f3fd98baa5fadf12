"""How an archive is worked through."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How an archive is worked through; none of it changes an output.

    Attributes:
        address: Of a Ray cluster; None for a Ray of our own.
        cpus: CPUs of our own Ray; None for all.
        device: ``auto``, ``cpu`` or ``cuda``.
        scratch: Folder for work in progress on each node; None for one below the outputs, or, where these go to a
            bucket, the nodes' own temporary folder.
        overwrite: Whether finished scenes are made again, and files replaced that no ledger knows.
        retry_failed: Whether scenes that failed for a reason of their own are tried again.
        scene_timeout: Seconds that one worker may take for a scene or a part of it; None for what
            :func:`orchestrator.archive.batch.ray_pool.time_limit` gives.
        side_by_side: Whether to work although another run works on the same outputs.
    """

    address: str | None = None
    cpus: int | None = None
    device: str = "auto"
    scratch: str | None = None
    overwrite: bool = False
    retry_failed: bool = False
    scene_timeout: float | None = None
    side_by_side: bool = False
