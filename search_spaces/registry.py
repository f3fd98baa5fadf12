"""Finds search spaces: every module of this package, and entry points of group ``rayscale.domains``."""

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

import search_spaces
from search_spaces.space import TransferSpace, checked
from trainables.errors import UsageError, suggestion

ENTRY_POINTS = "rayscale.domains"
_NOT_DOMAINS = {"space", "registry", "portfolio", "testing"}


@cache
def known_spaces() -> dict[str, TransferSpace]:
    """All search spaces by versioned id.

    Raises:
        UsageError: If a space breaks a rule or two spaces share an id.
    """
    found: dict[str, TransferSpace] = {}
    for module in pkgutil.iter_modules(search_spaces.__path__):
        if module.name not in _NOT_DOMAINS:
            name = f"search_spaces.{module.name}"
            _add(found, getattr(importlib.import_module(name), "SPACE", None), f"SPACE of {name}")
    for point in entry_points(group=ENTRY_POINTS):
        where = f"Entry point {point.name} = {point.value}"
        try:
            space = point.load()
        except (ImportError, AttributeError) as error:
            raise UsageError(f"{where} cannot be loaded: {error}.") from None
        _add(found, space, where)
    return found


def find_space(name: str) -> TransferSpace:
    """Returns the space with a versioned id, or the newest version of a domain.

    Raises:
        UsageError: If there is none, with the closest name.
    """
    spaces = known_spaces()
    if name in spaces:
        return spaces[name]
    versions = [space for space in spaces.values() if space.domain == name]
    if not versions:
        names = sorted({space.domain for space in spaces.values()} | set(spaces))
        raise UsageError(
            f"No search space is called '{name}'; there are {', '.join(sorted(spaces))}.{suggestion(name, names)}"
        )
    return max(versions, key=lambda space: space.version)


def _add(found: dict[str, TransferSpace], candidate: object, where: str) -> None:
    space = checked(candidate, where)
    if space.id in found:
        raise UsageError(f"{where} reuses the id '{space.id}'; give it a version of its own.")
    found[space.id] = space
