"""Names and passwords in URLs: refused where they would be recorded, and shown in no message."""

import pytest
from botocore.exceptions import EndpointConnectionError
from ray.tune.execution import class_cache

from orchestrator.foundation import storage
from orchestrator.foundation.error_sentence import TRACEBACK, sentence_of, traceback_of
from orchestrator.foundation.storage import Storage
from orchestrator.search import trials_on_tune
from trainables.errors import StorageError, UsageError, reason_of, without_secrets

CANARY = "canary-4c1d"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"asked http://user:{CANARY}@host:9000/bucket", "asked http://***@host:9000/bucket"),
        (f"s3://key:{CANARY}@bucket/x and s3://other/y", "s3://***@bucket/x and s3://other/y"),
        (f"http://user:a@{CANARY}@host", "http://***@host"),
        (f"http://{CANARY}@host", "http://***@host"),
        (f"https://h/x?X-Amz-Signature={CANARY}&part=1", "https://h/x?X-Amz-Signature=***&part=1"),
        (f"https://h/x?a=1&aws_secret_access_key={CANARY}", "https://h/x?a=1&aws_secret_access_key=***"),
        (f"'https://h/x?X-Amz-Credential={CANARY}/20251128'", "'https://h/x?X-Amz-Credential=***'"),
        ("s3://bucket/picture@2x.png", "s3://bucket/picture@2x.png"),
        ("someone@example.com, /data/a@b/c?d=1", "someone@example.com, /data/a@b/c?d=1"),
    ],
)
def test_passwords_and_signatures_of_urls_are_not_shown(text, shown):
    assert without_secrets(text) == shown


@pytest.mark.parametrize("kind", [UsageError, OSError, RuntimeError, ValueError])
def test_no_error_quotes_them(kind, monkeypatch):
    error = kind(f"could not connect to http://user:{CANARY}@host:9000/bucket")
    monkeypatch.setenv(TRACEBACK, "1")
    for said in (sentence_of(error), reason_of(error), traceback_of(error)):
        assert "http://***@host:9000/bucket" in said
        assert CANARY not in said


def test_what_boto_quotes_is_not_shown():
    error = EndpointConnectionError(endpoint_url=f"http://user:{CANARY}@host:9000/bucket")
    assert "***@host:9000" in sentence_of(error)
    assert CANARY not in sentence_of(error) + reason_of(error)


@pytest.mark.parametrize(
    "uri", [f"s3://key:{CANARY}@bucket/prefix", f"s3://{CANARY}@bucket", f"https://user:{CANARY}@host/bucket"]
)
def test_a_location_with_keys_is_refused_and_not_quoted(uri):
    with pytest.raises(StorageError) as refused:
        Storage.at(uri)
    assert "***@" in str(refused.value)
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize(
    "endpoint",
    [f"http://user:{CANARY}@host:9000", f"https://{CANARY}@host", f"user:{CANARY}@host:9000", f"ftp://u:{CANARY}@h"],
)
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_with_a_password_is_refused_and_not_quoted(monkeypatch, name, endpoint):
    monkeypatch.setenv(name, endpoint)
    storage._check_bucket.cache_clear()
    for use in (lambda: Storage("s3://a-bucket").check_readable(), lambda: Storage("s3://a-bucket").filesystem):
        with pytest.raises(StorageError, match=f"^{name} must") as refused:
            use()
        assert "***@" in str(refused.value)
        assert CANARY not in str(refused.value)


@pytest.mark.parametrize("setting", ["storage", "root", "targets.medical.images", "source.model"])
def test_an_experiment_with_keys_in_a_url_writes_nothing(rayscale, tmp_path, monkeypatch, setting):
    from tiny_experiment import settings, write_experiment, write_images

    write_images(tmp_path / "images")
    file = write_experiment(tmp_path / "tiny.yaml", settings(str(tmp_path / "images"), str(tmp_path / "out")))
    changes = {"source.images": "null"} if setting == "source.model" else {}
    changes[setting] = f"s3://key:{CANARY}@bucket/x"
    options = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
    code, out, err = rayscale("run", file, *options)
    assert code == 2
    assert "holds no keys" in err
    assert CANARY not in out + err
    assert not (tmp_path / "out").exists()


def test_tune_puts_no_keys_into_the_settings_of_trials(monkeypatch):
    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", {*class_cache.ENV_VARS_TO_PROPAGATE, "AWS_SESSION_TOKEN"})
    monkeypatch.setenv("AWS_SESSION_TOKEN", CANARY)
    given = {}
    monkeypatch.setattr(class_cache.ray, "remote", lambda **options: given.update(options) or (lambda kind: kind))
    class_cache._ActorClassCache().get(int)
    assert CANARY in repr(given), "Tune would do so by itself"
    trials_on_tune.keep_keys_to_ourselves()
    class_cache._ActorClassCache().get(int)
    assert CANARY not in repr(given)
    assert "PL_DISABLE_FORK" in repr(given)
