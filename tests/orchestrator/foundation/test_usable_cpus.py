"""CPUs of this process, on Linux and where the system does not say."""

import os
from pathlib import Path

import pytest

from orchestrator.foundation.usable_cpus import usable_cpus

ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no process to CPUs")
def test_cpus_are_those_that_the_process_is_bound_to():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cpus() == len(allowed)


def test_all_cpus_count_where_the_system_does_not_say(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cpus() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus() == 1


def test_nothing_else_asks_the_system_and_nothing_without_a_look():
    """``os.sched_getaffinity`` does not exist on macOS."""
    files = [
        file
        for package in ("orchestrator", "trainables", "search_spaces", "benchmarks")
        for file in (ROOT / package).rglob("*.py")
    ]
    texts = {file.name: file.read_text(encoding="utf-8") for file in files}
    asking = {name for name, text in texts.items() if "sched_getaffinity" in text}
    assert asking == {"usable_cpus.py", "utilisation.py"}, "the latter keeps processes on one core, where that can be"
    assert all('hasattr(os, "sched_' in texts[name] for name in asking)
