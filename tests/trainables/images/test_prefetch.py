"""Reading ahead on a thread."""

import gc
import threading
import time

import pytest
from waiting import act_after, wait_for

from trainables.images.prefetch import Prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def naturals(produced, closed=None):
    try:
        number = 0
        while True:
            produced.append(number)
            yield number
            number += 1
    finally:
        if closed is not None:
            closed.set()


def test_items_come_in_order_and_then_end():
    reader = Prefetch(iter(range(50)), ahead=3)
    assert list(reader) == list(range(50))
    assert list(reader) == []
    wait_for(lambda: not threads())


def test_it_reads_so_many_ahead_and_no_more():
    produced = []
    reader = Prefetch(naturals(produced), ahead=3)
    wait_for(lambda: len(produced) == 4)  # three on the shelf, one in hand
    time.sleep(0.05)
    assert len(produced) == 4
    next(reader)
    wait_for(lambda: len(produced) == 5)
    reader.close()


def test_an_error_comes_as_itself_at_its_turn_and_again():
    error = KeyError("shard 7")

    def source():
        yield 1
        yield 2
        raise error

    reader = Prefetch(source(), ahead=8)
    wait_for(lambda: not threads())
    assert [next(reader), next(reader)] == [1, 2]
    for _ in range(2):
        with pytest.raises(KeyError) as caught:
            next(reader)
        assert caught.value is error


@pytest.mark.parametrize("ahead", [1, 100_000_000])
def test_closing_ends_thread_and_source(ahead):
    closed = threading.Event()
    reader = Prefetch(naturals([], closed), ahead)
    next(reader)
    reader.close()
    reader.close()
    assert closed.is_set()
    assert threads() == []
    assert list(reader) == []


def test_a_reader_that_nobody_refers_to_ends():
    closed = threading.Event()
    reader = Prefetch(naturals([], closed), ahead=2)
    next(reader)
    del reader
    gc.collect()
    assert closed.wait(60)
    wait_for(lambda: not threads())


def test_closing_does_not_wait_for_ever_for_a_source_that_hangs():
    hanging, release = threading.Event(), threading.Event()

    def source():
        hanging.set()
        release.wait(30)
        yield 1

    reader = Prefetch(source(), ahead=1)
    assert hanging.wait(60)
    start = time.monotonic()
    reader.close(timeout=0.05)
    assert time.monotonic() - start < 20
    assert list(reader) == []
    release.set()
    wait_for(lambda: not threads())


def test_waits_are_counted_and_timed_only_where_nothing_was_ready():
    gate = threading.Semaphore(0)

    def source():
        for number in range(4):
            gate.acquire()
            yield number

    reader = Prefetch(source(), ahead=4)
    gate.release()
    gate.release()
    wait_for(lambda: len(reader._shelf.items) == 2)
    assert [next(reader), next(reader)] == [0, 1]
    assert (reader.waits, reader.waited_s) == (0, 0.0)
    act_after(lambda: reader.waits, 0.1, lambda: gate.release(2))
    start = time.perf_counter()
    assert next(reader) == 2
    assert reader.waits == 1
    assert 0.05 < reader.waited_s < time.perf_counter() - start
    assert list(reader) == [3]
