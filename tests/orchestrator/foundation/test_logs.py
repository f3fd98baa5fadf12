"""Logs: silent unless asked for, with stage, domain and trial in each line."""

import logging
import os
import re
import subprocess
import sys

import pytest

from orchestrator.foundation import logs
from orchestrator.foundation.logs import log_context, start_from_environment, start_logging, stop_logging
from trainables.errors import UsageError

log = logging.getLogger("orchestrator.search.trial")


@pytest.fixture(autouse=True)
def ended():
    yield
    stop_logging()
    assert not {logs.FILE, logs.VERBOSE} & os.environ.keys()
    assert logging.getLogger("orchestrator").handlers == []


def test_nothing_is_logged_that_nobody_asked_for(capsys):
    log.info("unheard")
    assert capsys.readouterr() == ("", "")


def test_a_line_names_stage_domain_and_trial(tmp_path):
    file = tmp_path / "run.log"
    start_logging(file)
    log.info("outside")
    with log_context(stage="search", domain="satellite"):
        with log_context(trial=3):
            log.info("starts: %s", "x")
        log.debug("ends")
    lines = file.read_text().splitlines()
    assert [re.search(r"(\S+ \[.*)$", line)[1] for line in lines] == [
        "orchestrator.search.trial [] outside",
        "orchestrator.search.trial [search satellite trial 3] starts: x",
        "orchestrator.search.trial [search satellite] ends",
    ]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ INFO \d+ ", lines[0])


def test_verbose_is_on_standard_error_and_not_twice(capsys):
    start_logging(verbose=True)
    start_from_environment()
    log.info("heard")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("heard") == 1


def test_a_process_that_works_for_a_run_appends_to_its_file(tmp_path):
    file = tmp_path / "run.log"
    start_logging(file)
    log.info("here")
    code = (
        "import logging; from orchestrator.foundation.logs import start_from_environment as start; start(); "
        "logging.getLogger('trainables.x').info('there')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [line.rpartition(" ")[2] for line in file.read_text().splitlines()] == ["here", "there"]


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path, rayscale):
    file = tmp_path / "nowhere" / "run.log"
    with pytest.raises(UsageError, match=r"No log can be written to '.*run.log' \(.*\); name another --log-file"):
        start_logging(file)
    code, out, err = rayscale("run", "x.yaml", "--log-file", file)
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    "command", ["demo", "run", "pretrain", "search", "confirm", "analyze", "upscale", "evaluate", "adapt"]
)
def test_commands_that_run_things_take_both_options(rayscale, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = rayscale(command, "--help")
    assert code == 0
    assert "--log-file" in out
    assert "--verbose" in out
