"""Reading ahead: a thread that stays a bounded number of items before its consumer."""

import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Prefetch(Generic[Item]):
    """Iterates over ``source`` on a thread of its own, in the same order, up to ``ahead`` items early.

    An error in ``source`` reaches the consumer as itself, where the item would have come that could not be read. The
    thread and ``source`` end with the last item, on :meth:`close`, or when nobody refers to this object any more.

    Args:
        source: Items to read; only the thread touches it from here on, and closes it if it is a generator.
        ahead: Items that may wait for the consumer.

    Attributes:
        waits: Number of times that the consumer had to wait for an item.
        waited_s: Seconds that it waited for items in all.
    """

    def __init__(self, source: Iterator[Item], ahead: int) -> None:
        self.waits, self.waited_s = 0, 0.0
        self._shelf: _Shelf[Item] = _Shelf(ahead)
        # The thread knows the shelf alone, so that it does not keep its consumer alive.
        self._thread = threading.Thread(target=_read, args=(source, self._shelf), name="read-ahead", daemon=True)
        self._finalizer = weakref.finalize(self, self._shelf.close)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        shelf = self._shelf
        with shelf.changed:
            if not shelf.items and not shelf.ended:
                self.waits += 1
                start = time.perf_counter()
                shelf.changed.wait_for(lambda: shelf.items or shelf.ended)
                self.waited_s += time.perf_counter() - start
            if shelf.items:
                shelf.changed.notify_all()
                return shelf.items.popleft()
        if shelf.error is not None:
            raise shelf.error
        raise StopIteration

    def close(self, timeout: float = 5.0) -> None:
        """Ends the thread, and waits for it unless it takes longer than ``timeout`` seconds to read its item."""
        self._finalizer()
        self._thread.join(timeout)


class _Shelf(Generic[Item]):
    """State shared by thread and consumer; every field is read and written under ``changed``."""

    def __init__(self, size: int) -> None:
        self.changed = threading.Condition()
        self.items: deque[Item] = deque()
        self.size, self.ended = size, False
        self.error: BaseException | None = None

    def put(self, item: Item) -> bool:
        """Waits for room; False if the reader has been closed."""
        with self.changed:
            self.changed.wait_for(lambda: self.ended or len(self.items) < self.size)
            if not self.ended:
                self.items.append(item)
                self.changed.notify_all()
            return not self.ended

    def end(self, error: BaseException | None = None) -> None:
        with self.changed:
            if not self.ended:
                self.ended, self.error = True, error
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.items.clear()
            self.end()


def _read(source: Iterator[Item], shelf: _Shelf[Item]) -> None:
    try:
        for item in source:
            if not shelf.put(item):
                break
    except BaseException as error:  # whatever it is, it is the consumer's to handle
        shelf.end(error)
    else:
        shelf.end()
    finally:
        if close := getattr(source, "close", None):
            close()
