"""Images outside memory until they are written."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from orchestrator.data.spool import Spool


def test_bytes_come_back_from_many_threads_in_any_order():
    random = np.random.default_rng(0)
    images = [random.bytes(size) for size in (0, 1, 1000, 70_000)] * 20
    with Spool() as spool, ThreadPoolExecutor(8) as pool:
        places = list(pool.map(spool.put, images))
        back = list(pool.map(spool.get, reversed(places)))
    assert back == images[::-1]


def test_what_repeats_takes_little_room():
    with Spool() as spool:
        assert spool.put(bytes(10**6)).packed < 1000
