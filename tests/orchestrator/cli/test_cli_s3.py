"""The command line on a real S3 server: a wrong bucket, a wrong key, a right one."""

import sys

import noise_images
import pytest
from tiny_experiment import settings, write_experiment

from orchestrator.cli import app as cli
from orchestrator.foundation import storage

pytestmark = pytest.mark.s3


@pytest.fixture(autouse=True)
def asked_anew():
    """A bucket that answered once is not asked again; here each test has credentials of its own."""
    storage._check_bucket.cache_clear()
    yield
    storage._check_bucket.cache_clear()


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    for domain, count in {"natural": 5, "medical": 9, "satellite": 9}.items():
        noise_images.write(tmp_path / domain, [f"{i}.png" for i in range(count)])

    def run(place):
        file = write_experiment(tmp_path / "mine.yaml", settings(str(tmp_path), place))
        monkeypatch.setattr(sys, "argv", ["rayscale", "shards", "build", str(file)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    return run


def check_refusal(told, words):
    code, out, err = told
    assert code == 2
    assert out == ""
    assert err.startswith("rayscale: ")
    assert err.count("\n") == 1
    assert words in err


def test_wrong_bucket(build, s3_bucket):
    check_refusal(build(f"{s3_bucket}-not"), f"There is no bucket '{s3_bucket[5:]}-not' on this S3 server")


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_wrong_key(build, s3_bucket, monkeypatch, variable):
    monkeypatch.setenv(variable, "wrong")
    check_refusal(build(s3_bucket), "The S3 server refuses these credentials")


def test_right_settings_build_in_the_bucket(build, s3_bucket):
    code, _, err = build(f"{s3_bucket}/cli")
    assert (code, err) == (0, "")
    found = [facts.path for facts in storage.Storage.at(f"{s3_bucket}/cli/tiny").files()]
    assert "shards/medical/manifest.json" in found
    assert "experiment.json" in found
