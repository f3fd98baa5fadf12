"""The simulated cluster: loads that follow from its sizes, the limits of its head, and requests as they are counted."""

import io
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session

from benchmarks.scaling import events, simulate
from benchmarks.scaling.counting import counting, kind_of
from benchmarks.scaling.scenario import Scenario
from orchestrator.archive.ledger.ledger import MERGED_EVERY
from orchestrator.data.shards import GROUP_BYTES

FAST = {"1": 0.001, "100": 0.001, "1000": 0.001}
COSTS = {
    "shards": {"per_file": {"HEAD": 1.0, "GET": 18.0}},
    "checkpoints": {"base": {"bytes": 1e6, "stored": {"PUT": 2.0}, "read": {"GET": 2.0, "HEAD": 1.0}}},
    "preflight": {"per_node": {"GET": 1.0, "HEAD": 1.0, "PUT": 1.0}, "driver": {"PUT": 1.0, "LIST": 1.0}},
    "experiment": {"per_trial": {"GET": 2.0, "PUT": 2.0}},
    "archive": {"per_scene": {"GET": 1.0, "HEAD": 2.0, "PUT": 2.0}},
    "head": {
        "driver_us_per_scene": 500.0,
        "planning_per_scene": {
            **{"ledger_bytes": 2000.0, "read_us": 30.0, "plan_us": 30.0},
            **{"records_bytes": 3000.0, "plan_bytes": 1000.0},
        },
        "suggestion_s": {"gp": {"50": 0.5, "100": 1.0, "400": 8.0}, "tpe": FAST},
    },
}


def test_workers_that_need_images_ask_for_as_many_row_groups():
    scenario = Scenario(gpus=16, spread=0.0)
    told = events.reading(scenario, 200.0)
    images_per_s = 16 * scenario.batch / (64 * scenario.step_ms / 1000)
    groups_per_s = images_per_s * scenario.image_bytes / GROUP_BYTES
    assert told["steady_requests_per_s"] == pytest.approx(groups_per_s, rel=0.05)
    assert told["fill_requests_per_s"] > 1.5 * groups_per_s


def test_a_sampler_that_is_slower_than_the_gpus_leaves_them_idle():
    scenario = Scenario(gpus=64, trials=400, trial_s=20.0)
    slow = events.search(scenario, {"1": 2.0, "100": 2.0, "1000": 2.0}, {})
    fast = events.search(scenario, FAST, {})
    assert slow["gpu_share"] == pytest.approx(20 / (2 * 64), rel=0.15)
    assert fast["gpu_share"] > 0.7
    assert slow["hours"] * 3600 >= 400 * 2.0


def test_times_of_suggestions_are_taken_as_measured_and_continued_by_their_power():
    points = {"50": 0.5, "100": 2.0, "200": 8.0}
    assert events.suggestion_s(points, 100) == 2.0
    assert events.suggestion_s(points, 75) == pytest.approx(1.25)
    assert events.suggestion_s(points, 400) == pytest.approx(32.0, rel=0.01)


def test_a_driver_that_is_fast_enough_keeps_all_gpus_busy_and_one_that_is_not_is_the_limit():
    scenario = Scenario(gpus=64, scene_s=10.0)
    assert events.archive(scenario, 500.0, 2000.0, 5_000, delete_s=0.0)["gpu_share"] > 0.95
    slow = events.archive(scenario, 1e6, 2000.0, 1_000, delete_s=0.0)
    assert slow["scenes_per_s"] == pytest.approx(1.0, rel=0.1)


def test_merges_block_the_driver_for_as_long_as_their_removals_take():
    scenario = Scenario(gpus=64, scene_s=10.0)
    blocked = events.archive(scenario, 500.0, 2000.0, 5_000, delete_s=8.0)
    free = events.archive(scenario, 500.0, 2000.0, 5_000, delete_s=0.0)
    assert blocked["merge_s"] == pytest.approx(0.5 * (MERGED_EVERY - 1))
    assert blocked["gpu_share"] < free["gpu_share"] - 0.1


def test_the_simulation_repeats_itself_and_every_line_has_a_load_a_limit_and_a_setting():
    scenario = Scenario(gpus=32, trials=60, scenes=2000)
    lines, numbers = simulate.simulated(scenario, COSTS)
    assert simulate.simulated(scenario, COSTS) == (lines, numbers)
    assert all(line.load and line.limit and line.setting for line in lines)
    assert "nan" not in simulate.page({"date": "d", "command": "c", "commit": "0", "scenario": {}}, lines)


class Bucket(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


def test_requests_and_bytes_are_counted_as_they_are_sent():
    server = HTTPServer(("127.0.0.1", 0), Bucket)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/bucket"
    try:
        with counting() as found:
            for method, address, body in (
                ("GET", f"{url}/key", None),
                ("GET", f"{url}?list-type=2&prefix=a", None),
                ("PUT", f"{url}/key", io.BytesIO(b"12345678")),
            ):
                headers = {"Content-Length": "8"} if body else {}
                URLLib3Session().send(AWSRequest(method, address, headers=headers, data=body).prepare())
    finally:
        server.shutdown()
        server.server_close()
    assert dict(found.counts) == {"GET": 1, "LIST": 1, "PUT": 1}
    assert (found.sent, found.received) == (8, 10)
    assert found.per(2)["PUT"] == 0.5


def test_kinds_of_requests():
    assert kind_of("GET", "http://s3/bucket?list-type=2") == "LIST"
    assert kind_of("DELETE", "http://s3/bucket/key") == "DELETE"
