"""A run's gauges, at the place where Prometheus collects them."""

import time
import urllib.request

import pytest
import ray

from orchestrator.runtime.measurements import Measurement
from orchestrator.runtime.on_ray.ray_gauges import ArchiveGauges, RayGauges


@pytest.mark.cluster
def test_gauges_are_among_the_metrics_of_ray(ray_session: None) -> None:
    gauges = RayGauges("mine")
    gauges.take(Measurement("pretraining", 0, settings={"batch": 8, "workers": 2}))
    gauges.take(Measurement("pretraining", 50, {"loss": 0.25}))
    time.sleep(0.1)
    gauges.take(Measurement("pretraining", 100, {"loss": 0.125}))
    for number, psnr in enumerate((30.5, 31.25, 29.0)):
        gauges.take(Measurement(f"search/art/trial-{number:04d}", 8, {"validation_psnr": psnr}))
        gauges.take(Measurement(f"search/art/trial-{number:04d}", 8, ended=True))
    ArchiveGauges("s3://bucket/out").set(megapixels=30, seconds=15, left=7, failed=1)
    (node,) = ray.nodes()  # type: ignore[no-untyped-call]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    end, found = time.monotonic() + 60, dict[str, float]()
    while len(found) < 7 and time.monotonic() < end:
        time.sleep(1)
        lines = urllib.request.urlopen(url, timeout=10).read().decode().splitlines()
        lines = [line for line in lines if line.startswith("ray_rayscale_")]
        found = {line.partition("{")[0].removeprefix("ray_rayscale_"): float(line.split()[-1]) for line in lines}
    assert found["pretraining_loss"] == 0.125
    assert found["trainings_finished"] == 3
    assert found["best_validation_psnr"] == 31.25
    assert [found[f"archive_{name}"] for name in ("megapixels_per_second", "scenes_left", "scenes_failed")] == [2, 7, 1]
    assert 0 < found["patches_per_second"] < 16 * 50 / 0.1
