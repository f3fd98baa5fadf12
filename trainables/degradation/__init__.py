"""HR to LR: what a domain's camera, scanner or codec does to an image."""

from trainables.degradation.chain import Degradation
from trainables.degradation.draws import Range

__all__ = ["Degradation", "Range"]
