"""Degradation of HR images to LR, as by a domain's camera, scanner or codec."""

from trainables.degradation.settings import Degradation, Range

__all__ = ["Degradation", "Range"]
