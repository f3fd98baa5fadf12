"""A whole experiment and an archive with canaries in every secret-like variable: none is found in what they leave."""

import base64
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import archive_scenes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_models
from PIL import Image
from tiny_experiment import settings, write_experiment, write_images

pytestmark = pytest.mark.cluster
CANARY = f"canary{os.urandom(6).hex()}"
SECRETS = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GITHUB_TOKEN",
    "WANDB_API_KEY",
    "HF_TOKEN",
    "MY_PASSWORD",
    "OPENAI_API_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "KUBECONFIG",
    "SSH_AUTH_SOCK",
    "NETRC",
    "MLFLOW_TRACKING_PASSWORD",
]
URLS = {
    "DATABASE_URL": f"postgresql://user:{CANARY}@127.0.0.1/db",
    "HTTPS_PROXY": f"http://user:{CANARY}@127.0.0.1:9",
    "PIP_INDEX_URL": f"https://user:{CANARY}@127.0.0.1/simple",
    "AWS_ENDPOINT_URL": f"http://user:{CANARY}@127.0.0.1:9",
}

DRIVER = """
import sys
from orchestrator.runtime.on_ray import ray_session as cluster
cluster.remove_folder = lambda session: None  # the logs are looked at afterwards
from orchestrator.cli.app import main
main()
"""
# Python starts it in every process of the run, Ray's included: what is looked up or connected to is written down.
WATCHER = """
import os, sys
def _watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        asked = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        with open(os.environ["ASKED_LOG"], "a") as log:
            log.write(f"{event} {asked!r} {' '.join(sys.argv)[:80]!r}\\n")
sys.addaudithook(_watch)
"""
LOCAL = re.compile(r"socket\.\w+ (\('(127\.0\.0\.1|localhost|::1)'|'(127\.0\.0\.1|localhost|::1)'|b?['\"]?/|None)")
# Ray's own head asks, whatever is set, which cloud it runs on.
CLOUD = re.compile(r"socket\.\w+ \(?'(169\.254\.169\.254|metadata\.google\.internal)'.*/ray/dashboard/dashboard\.py")


class Watch:
    """Collects the command lines of all processes of this machine while a command runs."""

    def __init__(self) -> None:
        self.lines: set[bytes] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.3):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.lines.add(file.read_bytes())
                except OSError:
                    continue


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("canaries")
    images, logs = write_images(folder / "images"), tempfile.mkdtemp(prefix="rs-")
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCHER)
    content = settings(str(images), str(folder / "storage"), search={"trials": 2})
    del content["targets"]["medical"]
    file = write_experiment(folder / "tiny.yaml", content)
    (folder / "scenes").mkdir()
    archive_scenes.write(folder / "scenes" / "a.tif", np.full((3, 40, 40), 90, np.uint8))
    (folder / "scenes" / "bad.tif").write_bytes(b"II*\0 no TIFF")
    model = tiny_models.write(folder / "model", tiny_models.net(2))
    root = str(Path(__file__).parents[3])
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        **{name: CANARY for name in SECRETS},
        **URLS,
        "RAY_TMPDIR": logs,
        "HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join((str(folder / "watch"), root)),
        "ASKED_LOG": str(folder / "asked.log"),
        "RAYSCALE_TRACEBACK": "1",
    }
    (folder / "home").mkdir()
    commands = {
        "run": ["run", file],
        "report": ["report", file],
        # A limit of time is kept by Ray alone.
        "upscale": ["upscale", folder / "scenes", folder / "scenes-out", "--model", model, "--scene-timeout", "3600"],
        "images": ["upscale", images / "natural", folder / "images-out", "--model", model],
        "wrong": ["run", file, "--set", "storage=s3://a-bucket"],
        "keys": ["run", file, "--set", f"storage=s3://key:{CANARY}@a-bucket"],
        "listed": ["upscale", f"s3://key:{CANARY}@a-bucket", folder / "none", "--model", model],
    }
    said: dict[str, tuple[int, bytes]] = {}
    typed = ("keys", "listed")  # what a user types is in the process list: that is the user's, and is looked at apart
    watch = Watch()
    with watch:
        for name, arguments in commands.items():
            if name in typed:
                continue
            said[name] = call(arguments, environment, folder)
    for name in typed:
        said[name] = call(commands[name], environment, folder)
    yield {"folder": folder, "logs": Path(logs), "said": said, "lines": watch.lines}
    subprocess.run(["rm", "-rf", logs], check=False)


def call(arguments: list[Any], environment: dict[str, str], folder: Path) -> tuple[int, bytes]:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=folder,
        timeout=420,
        check=False,
    )
    return done.returncode, done.stdout


def forms(secret: str) -> list[bytes]:
    """How a text may stand in a file: as it is, in UTF-16, in hexadecimal digits, in Base64 at any offset."""
    plain = secret.encode()
    coded = [base64.b64encode(b"x" * offset + plain)[4 * (offset > 0) : -4] for offset in range(3)]
    return [plain, secret.encode("utf-16-le"), plain.hex().encode(), plain[::-1], *coded]


def unpacked(data: bytes, suffix: str) -> Iterator[bytes]:
    """A file's bytes and what is compressed in it: columns of Parquet, gzip, zlib streams, texts of pictures."""
    yield data
    if suffix == ".parquet":
        table = pq.read_table(pa.BufferReader(data))
        yield repr(table.schema.metadata).encode()
        for column in table.columns:
            if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
                yield from (value for value in column.to_pylist() if value)
            else:
                yield repr(column.to_pylist()).encode()
    if suffix in (".png", ".tif", ".jpg"):
        with Image.open(io.BytesIO(data)) as image:
            yield repr(dict(image.info)).encode()
    if data.startswith(b"\x1f\x8b"):
        yield gzip.decompress(data)
    for start in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data):
        try:
            yield zlib.decompressobj().decompress(data[start.start() :], 2**20)
        except zlib.error:
            continue


def found_in(folder: Path) -> list[str]:
    """Files below a folder, or names of such, that hold the canary."""
    wanted, found = forms(CANARY), []
    for file in folder.rglob("*"):
        if CANARY in str(file):
            found.append(str(file))
        if file.is_file() and not file.is_symlink():
            for part in unpacked(file.read_bytes(), file.suffix):
                if any(form in part or form in urllib.parse.unquote_to_bytes(part) for form in wanted):
                    found.append(str(file))
                    break
    return found


def test_the_search_finds_a_canary_wherever_it_lies(tmp_path):
    secret = CANARY.encode()
    pq.write_table(pa.table({"a": [CANARY * 3]}), tmp_path / "a.parquet", compression="zstd")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"x" * 99 + secret))
    (tmp_path / "c.html").write_bytes(b"data:" + base64.b64encode(b"12345" + secret + b"123"))
    (tmp_path / "d.bin").write_bytes(b"head" + zlib.compress(b"y" * 50 + secret))
    (tmp_path / "e.txt").write_text(CANARY, encoding="utf-16-le")
    (tmp_path / "f.txt").write_text("nothing")
    (tmp_path / CANARY).write_bytes(b"")
    assert sorted(Path(file).name for file in found_in(tmp_path)) == sorted(
        ["a.parquet", "b.gz", "c.html", "d.bin", "e.txt", CANARY]
    )


def test_the_commands_did_what_they_do(run):
    codes = {name: code for name, (code, _) in run["said"].items()}
    assert codes == {"run": 0, "report": 0, "upscale": 2, "images": 0, "wrong": 2, "keys": 2, "listed": 1}, run["said"]
    assert (run["folder"] / "storage" / "tiny" / "report" / "index.html").exists()
    assert (run["folder"] / "scenes-out" / "a.tif").exists()


def test_no_artefact_holds_a_secret(run):
    for name in ("storage", "scenes-out", "images-out", "home"):
        assert found_in(run["folder"] / name) == []
    assert not (run["folder"] / "none").exists()


def test_no_log_of_ray_holds_a_secret(run):
    logs = [file for file in run["logs"].rglob("*.log") if file.stat().st_size]
    assert len(logs) > 5
    assert found_in(run["logs"]) == []


def test_no_output_and_no_message_holds_a_secret(run):
    for name, (_, said) in run["said"].items():
        assert CANARY.encode() not in said, f"{name}: {said!r}"


def test_no_process_has_a_secret_on_its_command_line(run):
    assert len([line for line in run["lines"] if b"raylet" in line]) > 1
    assert [line for line in run["lines"] if CANARY.encode() in line] == []


def test_nobody_else_is_asked_over_the_network(run):
    asked = (run["folder"] / "asked.log").read_text().splitlines()
    assert any("127.0.0.1" in line for line in asked)
    assert [line for line in asked if not LOCAL.match(line) and not CLOUD.match(line)] == []


def test_records_name_no_variable_of_the_environment(run):
    (record,) = (run["folder"] / "storage" / "tiny").glob("experiment.json")
    assert not {"env", "environ", "environment"} & set(json.loads(record.read_bytes()))
