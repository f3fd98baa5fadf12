"""What Ray would print by itself goes to the log of this process."""

import logging

from ray._private import worker

from orchestrator.runtime.on_ray.ray_lines import ray_lines_logged


def test_lines_of_ray_are_logged_and_not_printed(caplog, capsys):
    before = worker.print_to_stdstream
    caplog.set_level(logging.INFO, "orchestrator")
    with ray_lines_logged():
        worker.print_to_stdstream(
            {"lines": ["Raylet is terminated.", "[state-dump]"], "is_err": False}, ignore_prefix=False
        )
    assert worker.print_to_stdstream is before
    assert caplog.messages == ["Ray: Raylet is terminated.", "Ray: [state-dump]"]
    assert capsys.readouterr() == ("", "")
