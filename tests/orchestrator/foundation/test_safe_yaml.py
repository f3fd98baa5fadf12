"""YAML that somebody else wrote: one sentence for each fault, in bounded time and memory."""

import codecs
import os
import time
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.experiment.load import load_experiment
from orchestrator.foundation.safe_yaml import UnreadableYamlError, parse_yaml, read_yaml
from trainables.errors import UsageError

_BASE = "name: x\nsource: {images: a}\ntargets: {medical: {images: b}}\n"
_LAUGHS = 'a: &a ["l","l","l","l","l","l","l","l","l"]\n' + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)
)

FAULTS = {
    "? [a, b]\n: 1\n": "a key must be a word, found a list or settings, line 1",
    "? {a: 1}\n: 2\n": "a key must be a word, found a list or settings, line 1",
    "a: " + "[" * 3000 + "]" * 3000: "it is nested more than 30 deep, line 1",
    "a: " + "{b: " * 3000 + "}" * 3000: "it is nested more than 30 deep, line 1",
    "a: " + "[" * 25 + "]" * 25: None,
    _LAUGHS: "it comes to more than 50000 values",
    "a: &x [*x]": "an alias refers to what it is itself a part of, line 1",
    "a: *b": "found undefined alias 'b', line 1",
    "seed: " + "9" * 6000: "a number has 6000 digits, line 1",
    "seed: 0x" + "f" * 6000: "a number has 6002 digits, line 1",
    "seed: 1" + ":59" * 3000: "a number has 9001 digits, line 1",
    'seed: !!int "zz"': "not of the kind that it is declared as (ValueError: invalid literal for int",
    "a: !!bool zz": "not of the kind that it is declared as (KeyError: 'zz')",
    "a: !!float ''": "not of the kind that it is declared as (",
    "!!map 3": "a scalar is declared as something else, line 1",
    "!!int []": "a sequence is declared as something else, line 1",
    "a: !!python/object/apply:os.system [ls]": "the tag !!python/object/apply:os.system has no meaning here, line 1",
    "a: !!binary '%%'": "the tag !!binary has no meaning here, line 1",
    "a: !!timestamp 9999-99-99": "the tag !!timestamp has no meaning here, line 1",
    "a: !mine b": "the tag !mine has no meaning here, line 1",
    "a: !!set {b, c}": "the tag !!set has no meaning here, line 1",
    "a: 1\nb: 2\na: 3": "'a' is given twice, line 3",
    "a: {b: 1, b: 2}": "'b' is given twice, line 1",
    "a: \0b": r"it holds the character \x00, which YAML does not allow",
    "a: \x1b[2J": r"it holds the character \x1b, which YAML does not allow",
    "a: 1\n---\nb: 2": "it holds more than one document, line 2",
    "%YAML 9.0\n---\na: 1": "found incompatible YAML document",
    "a: [": "line 1",
    "a:\n\tb: 1": "line 2",
    "<<: 3": "line 1",
    "#" * 300_000: "it is longer than 262144 characters",
}


@pytest.mark.parametrize(("text", "reason"), FAULTS.items(), ids=lambda value: repr(value)[:40])
def test_each_fault_is_a_reason_at_once(text, reason):
    tracemalloc.start()
    begun = time.process_time()
    if reason is None:
        parse_yaml(text)
    else:
        with pytest.raises(UnreadableYamlError) as refused:
            parse_yaml(text)
        assert reason in str(refused.value)
        assert "\n" not in str(refused.value)
    assert time.process_time() - begun < 10
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


@pytest.mark.parametrize("text", [text for text, reason in FAULTS.items() if reason], ids=lambda text: repr(text)[:40])
def test_a_faulty_experiment_and_a_faulty_override_are_one_sentence(tmp_path, text):
    file = tmp_path / "e.yaml"
    file.write_text(f"{_BASE}{text}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"e\.yaml' cannot be read as YAML: ") as refused:
        load_experiment(file, [])
    assert len(str(refused.value)) < 600
    file.write_text(_BASE, encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        load_experiment(file, [f"search.trials={text}"])
    assert len(str(refused.value)) < 600


def test_dates_and_words_of_yaml_stay_what_was_written():
    assert parse_yaml("{name: 2026-01-02, z: 9999-99-99, y: 1e-4}") == {
        "name": "2026-01-02",
        "z": "9999-99-99",
        "y": "1e-4",
    }


def test_aliases_and_merges_of_a_sensible_size_work():
    assert parse_yaml("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_says_which_unicode_it_is(tmp_path, encoding):
    (tmp_path / "e.yaml").write_text("name: größe", encoding=encoding)
    assert read_yaml(tmp_path / "e.yaml") == {"name": "größe"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", None),
        (b"a: 1\nb: \xff", "it is no text in UTF-8, line 2"),
        (codecs.BOM_UTF16_LE + b"a", "it is no text in UTF-16"),
        (b"a: 1\n" * 60_000, "it is larger than 256 kB"),
    ],
)
def test_what_is_no_text_or_far_too_long(tmp_path, data, reason):
    (tmp_path / "e.yaml").write_bytes(data)
    if reason is None:
        assert read_yaml(tmp_path / "e.yaml") is None
        return
    with pytest.raises(UnreadableYamlError, match=reason):
        read_yaml(tmp_path / "e.yaml")


def test_a_folder_and_a_pipe_are_no_experiment(tmp_path):
    with pytest.raises(UsageError, match="cannot be read as YAML: it is a folder"):
        load_experiment(tmp_path, [])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="cannot be read as YAML: it is no file"):
        load_experiment(tmp_path / "pipe", [])
    with pytest.raises(UsageError, match="There is no experiment file"):
        load_experiment(tmp_path / "none.yaml", [])
    with pytest.raises(UsageError, match="cannot be read as YAML: "):
        load_experiment(tmp_path / ("x" * 5000), [])
    with pytest.raises(UsageError, match="cannot be read as YAML: "):
        load_experiment(tmp_path / "a\0b", [])


_CHARACTERS = "[]{}:,-?&*!|>'\"%@`#\n\t 019azλ\0\x85\ufeff"
_WORDS = ["- ", ": ", "&a ", "*a", "<<: ", "!!int ", "---\n", "~", ".inf", "1e9"]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.one_of(st.lists(st.sampled_from([*_CHARACTERS, *_WORDS]), max_size=40).map("".join), st.text(max_size=60)))
def test_any_text_is_read_or_refused(text):
    with suppress(UnreadableYamlError):
        parse_yaml(text)
