"""Which cluster is joined, what is said of it, and why one cannot be."""

import os
from types import SimpleNamespace

import pytest
import ray
from ray._private.utils import check_version_info

from orchestrator.runtime.on_ray import ray_join
from orchestrator.runtime.on_ray.ray_join import chosen_address, joined_line, sentence_of_failure, standard_error_held
from trainables.errors import UsageError


@pytest.fixture
def running(monkeypatch):
    """Sets which Rays run on this machine, and which of them `ray start` has started."""

    def set_running(addresses, started=None):
        found = SimpleNamespace(__call__=None, cache_clear=lambda: None)

        class Find:
            cache_clear = staticmethod(found.cache_clear)

            def __call__(self):
                return set(addresses)

        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setattr(ray._private.services, "find_gcs_addresses", Find())
        monkeypatch.setattr(ray._private.services, "find_bootstrap_address", lambda folder: started)

    return set_running


def test_the_only_ray_of_this_machine_is_meant(running):
    running(["10.0.0.1:6379"])
    assert chosen_address("auto") == ("auto", "")
    assert chosen_address("10.0.0.2:6379") == ("10.0.0.2:6379", "")


def test_of_several_the_one_that_was_started_last_is_joined_and_the_others_are_named(running):
    running(["a:1", "b:2", "c:3"], started="b:2")
    assert chosen_address("auto") == ("b:2", ", started last of 3 Rays on this machine; others: a:1, c:3")


def test_several_of_which_none_stands_out_are_refused(running):
    running(["a:1", "b:2"])
    with pytest.raises(UsageError, match=r"2 Rays run on this machine \(a:1, b:2\); set it to the address of one\.$"):
        chosen_address("auto")


def test_no_ray_on_this_machine_is_said_before_ray_is_asked(running):
    running([])
    with pytest.raises(UsageError, match=r"no Ray runs on this machine; start one \(`ray start --head`"):
        chosen_address("auto")


def test_the_environment_says_what_auto_means(running, monkeypatch):
    running(["a:1", "b:2"])
    monkeypatch.setenv("RAY_ADDRESS", "c:3")
    assert chosen_address("auto") == ("auto", ", by RAY_ADDRESS=c:3")


def test_the_joined_cluster_is_described(monkeypatch):
    nodes = [
        {"NodeID": str(number), "Alive": number < 3, "Resources": {"CPU": 8.0, "GPU": float(number)}}
        for number in range(4)
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    context = SimpleNamespace(address_info={"gcs_address": "10.0.0.1:6379", "session_dir": "/tmp/ray/session_7"})
    assert joined_line(context, ", by RAY_ADDRESS=x") == (
        f"Joined the Ray cluster at 10.0.0.1:6379 (session_7, Ray {ray.__version__}), by RAY_ADDRESS=x: "
        "3 nodes, 24 CPUs and 3 GPUs."
    )


def mismatch(ray_version, python_version):
    with pytest.raises(RuntimeError) as raised:
        check_version_info({"ray_version": ray_version, "python_version": python_version}, "here")
    return raised.value


def test_another_version_of_ray_names_both_and_the_way_out():
    import platform

    python = platform.python_version()
    said = sentence_of_failure("a:1", mismatch("2.0.0", python))
    assert said == (
        f"The Ray cluster at 'a:1' runs Ray 2.0.0 on Python {python}, but this is Ray {ray.__version__} on Python "
        f"{python}: install the same versions on both (here: pip install ray==2.0.0)."
    )
    other = sentence_of_failure("a:1", mismatch("2.0.0", "3.9.1"))
    assert "(here: an environment of Python 3.9.1 with ray==2.0.0)" in other
    patch = f"{python.rpartition('.')[0]}.99"
    assert "or set RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL=minor" in sentence_of_failure(
        "a:1", mismatch(ray.__version__, patch)
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token of"),
        ({"RAY_AUTH_TOKEN": "x", "RAY_AUTH_MODE": "disabled"}, "asks for a token: set RAY_AUTH_MODE=token; RAY_AUTH_T"),
        ({"RAY_AUTH_TOKEN": "x", "RAY_AUTH_MODE": "token"}, "refuses the token in RAY_AUTH_TOKEN: set it to the token"),
    ],
)
def test_a_token_that_is_missing_or_wrong_is_said(monkeypatch, settings, words):
    for name in ("RAY_AUTH_MODE", *ray_join._TOKENS):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    error = ConnectionError("Failed to connect to Ray cluster at a:1")
    said = sentence_of_failure("a:1", error, "W gcs_rpc_client: Unauthenticated: InvalidAuthToken\n" * 20)
    assert said.startswith(f"The Ray cluster at 'a:1' {words}")
    assert "\n" not in said


def test_a_slow_cluster_whose_token_is_right_is_not_said_to_refuse_it(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    printed = "Token authentication is enabled for this Ray cluster.\nLoaded authentication token from RAY_AUTH_TOKEN\n"
    assert "token" not in sentence_of_failure("a:1", TimeoutError("Timed out after 60 s"), printed)


def test_a_cluster_that_does_not_answer_is_said():
    said = sentence_of_failure("a:1", ConnectionError("Failed to connect to Ray cluster at a:1"))
    assert said.startswith("No Ray cluster answers at 'a:1': check that it runs")


def test_what_else_ray_says_is_kept_whole_in_one_line():
    said = sentence_of_failure("a:1", ValueError("first:\n  second\nthird"))
    assert said == "Ray could not be reached at 'a:1': first: second third"
    assert len(sentence_of_failure("a:1", ValueError("x" * 9999))) < 400


def test_standard_error_is_held_and_written_only_after_success(capfd):
    with standard_error_held() as said:
        os.write(2, b"from C++\n")
    assert capfd.readouterr().err == "from C++\n" == "".join(said)
    with pytest.raises(ValueError, match="no cluster"), standard_error_held() as said:  # noqa: PT012
        os.write(2, b"twenty lines\n")
        raise ValueError("no cluster")
    assert capfd.readouterr().err == ""
    assert "".join(said) == "twenty lines\n"
