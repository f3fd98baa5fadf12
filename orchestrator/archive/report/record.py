"""Figures of an archive's report, as ``_report/report.json`` holds them; the next run adds its own."""

from orchestrator.foundation.record import Count, Number, Record, Time


class RunFigures(Record):
    """Work and time of a run.

    Attributes:
        run: Its name in the ledger.
        ended: Time of its end (UTC).
        written: Outputs that it wrote.
        skipped: Scenes that were finished before.
        failed: Scenes that failed.
        megapixels: HR megapixels that it wrote.
        seconds: Wall-clock seconds of the work on scenes.
        device: ``cpu`` or ``cuda``.
        precision: Number format of the network.
        price_per_hour: Price of all machines per hour, in any currency; None if it is not known.
    """

    run: str
    ended: Time
    written: Count
    skipped: Count
    failed: Count
    megapixels: Number
    seconds: Number
    device: str
    precision: str
    price_per_hour: Number | None = None

    @property
    def rate(self) -> float | None:
        """HR megapixels per second; None for a run that wrote nothing."""
        return self.megapixels / self.seconds if self.written and self.seconds else None

    @property
    def cost(self) -> float | None:
        """Price of its time; None if it is not known."""
        return None if self.price_per_hour is None else self.seconds / 3600 * self.price_per_hour


class ArchiveReport(Record):
    """All outputs of an archive.

    Attributes:
        rayscale: Version that wrote this.
        model: The last run's model.
        scale: Its scale factor r.
        output: Place of the outputs.
        scenes: Scenes that have an output.
        failed: Scenes without one, by class of failure.
        flagged: Outputs that do not agree with their source.
        flags: Number of outputs by flag.
        megapixels: HR megapixels of all outputs.
        output_bytes: Bytes of all outputs.
        worker_hours: Hours that workers spent on all outputs; on CPUs a worker is a core.
        placed: Outputs with a known footprint.
        area_km2: Their area in km², overlaps counted as often as they are covered.
        placed_worker_hours: Hours that workers spent on these.
        runs: All runs that ended, in order.
    """

    rayscale: str
    model: str
    scale: Count
    output: str
    scenes: Count
    failed: dict[str, Count]
    flagged: Count
    flags: dict[str, Count]
    megapixels: Number
    output_bytes: Count
    worker_hours: Number
    placed: Count
    area_km2: Number
    placed_worker_hours: Number
    runs: list[RunFigures]

    @property
    def hours_per_1000_km2(self) -> float | None:
        """Hours of workers per 1,000 km²; None without footprints."""
        return self.placed_worker_hours / self.area_km2 * 1000 if self.area_km2 else None

    @property
    def cost(self) -> float | None:
        """Cost of all runs; None unless the price of each that wrote something is known."""
        costs = [run.cost for run in self.runs if run.written]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if known and len(known) == len(costs) else None

    @property
    def cost_per_1000_km2(self) -> float | None:
        """Cost per 1,000 km²; None unless all outputs have a footprint and the cost is known."""
        if self.cost is None or not self.area_km2 or self.placed < self.scenes:
            return None
        return self.cost / self.area_km2 * 1000
