"""A run's measurements as Ray's metrics, which Prometheus collects from every Ray cluster."""

import time
from collections import Counter

from ray.util.metrics import Gauge

from orchestrator.runtime.measurements import Measurement


class RayGauges:
    """Gauges of a run; Ray exports them with the prefix ``ray_``.

    - ``rayscale_pretraining_loss`` and ``rayscale_patches_per_second``;
    - ``rayscale_trainings_finished`` by stage and domain: trials, and trainings of the confirmation and the finish;
    - ``rayscale_best_validation_psnr`` in dB by stage and domain.

    Args:
        experiment: Name of the experiment, a tag of each.
    """

    def __init__(self, experiment: str) -> None:
        place, tags = ("experiment", "stage", "domain"), {"experiment": experiment}
        self._loss = Gauge("rayscale_pretraining_loss", "Loss of pretraining", ("experiment",))
        self._patches = Gauge("rayscale_patches_per_second", "Patches per second of pretraining", ("experiment",))
        self._finished = Gauge("rayscale_trainings_finished", "Trainings that have finished in this run", place)
        self._best = Gauge("rayscale_best_validation_psnr", "Best mean validation PSNR in dB", place)
        for gauge in (self._loss, self._patches, self._finished, self._best):
            gauge.set_default_tags(tags)
        self._patches_per_step = 0.0
        self._before: tuple[int, float] | None = None
        self._counts: Counter[tuple[str, str]] = Counter()
        self._psnr: dict[tuple[str, str], float] = {}

    def take(self, measurement: Measurement) -> None:
        """Sets the gauges that a measurement changes."""
        stage, _, rest = measurement.run.partition("/")
        if stage == "pretraining":
            self._take_pretraining(measurement)
            return
        key = stage, rest.partition("/")[0]
        tags = {"stage": key[0], "domain": key[1]}
        psnr = measurement.values.get("validation_psnr")
        if psnr is not None:
            self._psnr[key] = max(psnr, self._psnr.get(key, psnr))
            self._best.set(self._psnr[key], tags)
        if measurement.ended:
            self._counts[key] += 1
            self._finished.set(self._counts[key], tags)

    def close(self) -> None:
        """Does nothing: gauges end with their process."""

    def _take_pretraining(self, measurement: Measurement) -> None:
        settings, now = measurement.settings, time.monotonic()
        if "batch" in settings:
            self._patches_per_step = float(settings["batch"]) * float(settings.get("workers", 1))
        if "loss" in measurement.values:
            self._loss.set(measurement.values["loss"])
            if self._before is not None and now > self._before[1]:
                steps, seconds = measurement.step - self._before[0], now - self._before[1]
                self._patches.set(steps * self._patches_per_step / seconds)
            self._before = measurement.step, now


class ArchiveGauges:
    """Gauges of an archive; Ray exports them with the prefix ``ray_``.

    - ``rayscale_archive_megapixels_per_second``: HR megapixels of finished scenes over the time since the start;
    - ``rayscale_archive_scenes_left``;
    - ``rayscale_archive_scenes_failed``.

    Args:
        output: Place of the outputs, a tag of each.
    """

    def __init__(self, output: str) -> None:
        self._rate = Gauge("rayscale_archive_megapixels_per_second", "HR megapixels per second of the run", ("output",))
        self._left = Gauge("rayscale_archive_scenes_left", "Scenes that have not ended", ("output",))
        self._failed = Gauge("rayscale_archive_scenes_failed", "Scenes that have failed in this run", ("output",))
        for gauge in (self._rate, self._left, self._failed):
            gauge.set_default_tags({"output": output})

    def set(self, megapixels: float, seconds: float, left: int, failed: int) -> None:
        """Sets all gauges.

        Args:
            megapixels: HR megapixels of finished scenes.
            seconds: Seconds since the start.
            left: Scenes that have not ended.
            failed: Scenes that have failed.
        """
        self._rate.set(megapixels / max(seconds, 1e-9))
        self._left.set(left)
        self._failed.set(failed)
