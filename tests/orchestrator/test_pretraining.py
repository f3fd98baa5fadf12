import signal

import pytest

from orchestrator.pretraining import _ctrl_c_kept


def test_ctrl_c_is_given_back_after_training():
    before = signal.getsignal(signal.SIGINT)
    with _ctrl_c_kept():
        signal.signal(signal.SIGINT, lambda number, frame: None)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_training_is_an_interruption_and_no_success():
    with pytest.raises(KeyboardInterrupt), _ctrl_c_kept():
        raise SystemExit(0)
