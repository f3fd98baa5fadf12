"""What may vary: one file per target domain, each holding one :class:`~search_spaces.space.TransferSpace`."""

from search_spaces.registry import find_space, known_spaces
from search_spaces.space import TransferSpace, check_domain

__all__ = ["TransferSpace", "check_domain", "find_space", "known_spaces"]
