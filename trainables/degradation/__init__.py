"""Degradation of HR images to LR, as by a domain's camera, scanner or codec."""

from trainables.degradation.chain import Degradation
from trainables.degradation.draws import Range

__all__ = ["Degradation", "Range"]
