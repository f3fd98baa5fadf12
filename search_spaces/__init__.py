"""Search spaces: one file per target domain, each holding one :class:`~search_spaces.space.TransferSpace`.

A domain, also one in a package of its own, imports everything it needs from here.
"""

from search_spaces.portfolio import PORTFOLIO
from search_spaces.registry import find_space, known_spaces
from search_spaces.space import TransferSpace, check_domain
from trainables.degradation import Degradation
from trainables.loops.settings import TransferConfiguration

__all__ = [
    "PORTFOLIO",
    "Degradation",
    "TransferConfiguration",
    "TransferSpace",
    "check_domain",
    "find_space",
    "known_spaces",
]
