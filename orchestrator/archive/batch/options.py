"""Options of a run on an archive."""

from dataclasses import dataclass

from trainables.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of a run on an archive; none of them changes an output.

    Attributes:
        address: Address of a Ray cluster; None to work on this machine, on a Ray of our own unless the work is small.
        cpus: CPUs of this machine to work on, where ``address`` is None; None for all.
        device: ``auto``, ``cpu`` or ``cuda``.
        gpus: GPUs that the cluster may grow to and that are asked for; None for those that it has.
        scratch: Folder for work in progress on each node; None for one below the outputs, or, where these go to a
            bucket, the nodes' own temporary folder.
        overwrite: True to upscale finished scenes again, and to replace files that no ledger knows.
        retry_failed: True to try scenes again that failed for a reason of their own.
        scene_timeout: Seconds that one worker may take for a scene or a part of it; None for what
            :func:`orchestrator.archive.batch.scene_pool.time_limit` gives.
        side_by_side: True to share the scenes with other runs on the same outputs, all of which have this option.
        strict: True to make scenes with flagged outputs failures.
        price_per_hour: Price of all machines per hour, in any currency, for reports; None if it is not known.
        max_cost: Most that the work on scenes may be estimated to cost; None for any.
    """

    address: str | None = None
    cpus: int | None = None
    device: str = "auto"
    gpus: int | None = None
    scratch: str | None = None
    overwrite: bool = False
    retry_failed: bool = False
    scene_timeout: float | None = None
    side_by_side: bool = False
    strict: bool = False
    price_per_hour: float | None = None
    max_cost: float | None = None

    def __post_init__(self) -> None:
        if self.max_cost is not None and self.price_per_hour is None:
            raise UsageError(
                f"A limit on the cost, found {self.max_cost:g}, needs the price of all machines per hour: give "
                "--price-per-hour."
            )
