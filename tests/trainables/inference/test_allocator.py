"""Freed memory stays with the process; looked at from outside, in processes of their own."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from trainables.inference.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
before = 0
for _ in range(5):
    block = np.ones(2**26, np.uint8)  # 64 MiB, above what glibc ever keeps by itself
    del block
    now = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    faults, before = now - before, now
print(faults)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_a_block_of_the_same_size_touches_no_new_pages():
    def last_faults(how):
        told = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
        return int(told.stdout)

    # 16,384 faults where pages have 4 KiB, 32 where the kernel gives huge ones unasked.
    assert last_faults("kept") < 10 < last_faults("plain")


def test_other_c_libraries_change_nothing(monkeypatch):
    from trainables.inference import allocator

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert allocator.keep_freed_memory() is False
