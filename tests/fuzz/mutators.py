"""Changes to valid inputs as disks, downloads, editors and attackers make them; all randomness is the caller's."""

import copy
import random
from typing import Any

INTEGERS = (-(2**63), -(2**31), -1, 0, 1, 2, 7, 255, 256, 65535, 65536, 10**7, 2**31 - 1, 2**31, 2**53, 2**63, 10**40)
ODD: tuple[Any, ...] = (
    *(None, True, False, "", " ", "x", "0", "-1", "nan", "é\u0308", "a\x00b", "\ud800", "../../outside", "/etc/passwd"),
    *("s3://", "s3://bucket/key", "http://127.0.0.1:1/x", "file:///etc/passwd", "~root", "con.tif", "_parts/x.tif"),
    *(float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e308, 5e-324, 0.1),
    *([], {}, [[]], [None], {"": None}, [1, "a", {}], {"a": {"a": {"a": []}}}),
    *INTEGERS,
)


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut out, doubled or cut off; more often near the beginning, where headers are."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8, 40))):
        if not changed:
            break
        reach = min(len(changed), 512) if rng.random() < 0.6 else len(changed)
        at = rng.randrange(reach)
        kind = rng.randrange(7)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind == 2:
            width = rng.choice((2, 4, 8))
            changed[at : at + width] = (rng.choice(INTEGERS) % 256**width).to_bytes(
                width, rng.choice(("little", "big"))
            )
        elif kind == 3:
            del changed[at : at + rng.choice((1, 2, 16, 200))]
        elif kind == 4:
            changed[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 4, 32))))
        elif kind == 5:
            part = changed[at : at + rng.choice((8, 64, 500))]
            other = rng.randrange(len(changed))
            changed[other : other + len(part)] = part
        elif rng.random() < 0.5:
            del changed[rng.randrange(len(changed)) :]
    return bytes(changed)


_DEEPEST_CHANGE = 40
"""Levels of a document that are changed: nested odd values within each other would pass what Python can write."""


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [place]
    if len(place) >= _DEEPEST_CHANGE:
        return found
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += _places(item, (*place, key))
    return found


def odd_value(rng: random.Random) -> Any:
    """A value that a document should hardly have where it is put."""
    if rng.random() < 0.05:
        deep: Any = []
        for _ in range(rng.choice((5, 60, 800))):
            deep = [deep] if rng.random() < 0.5 else {"a": deep}
        return deep
    if rng.random() < 0.05:
        return "x" * rng.choice((300, 70_000))
    return copy.deepcopy(rng.choice(ODD))


def mutated_document(document: Any, rng: random.Random) -> Any:
    """A JSON or YAML document with some values replaced, removed, renamed or put elsewhere."""
    changed = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = [place for place in _places(changed) if place]
        if not places:
            return odd_value(rng)
        *outer, key = rng.choice(places)
        holder = changed
        for step in outer:
            holder = holder[step]
        kind = rng.randrange(5)
        if kind == 0 and isinstance(holder, dict):
            holder[rng.choice(("", "x", f"{key}s", str(key).upper(), "name"))] = holder.pop(key)
        elif kind == 1:
            del holder[key]
        elif kind == 2 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = rng.choice(
                (-holder[key], holder[key] * 1000, str(holder[key]), [holder[key]], holder[key] + 0.5)
            )
        else:
            holder[key] = odd_value(rng)
    return odd_value(rng) if rng.random() < 0.02 else changed
