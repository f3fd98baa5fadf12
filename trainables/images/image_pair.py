"""An HR image and the LR image that a sensor recorded of the same place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.errors import ImageSetError
from trainables.images.raster import PreparedImage


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPair:
    """Both images of a pair.

    Attributes:
        hr: HR image, (r·H, r·W, C).
        lr: LR image, (H, W, C) of the same data type.
    """

    hr: PreparedImage
    lr: PreparedImage

    def check(self, scale: int) -> None:
        """Refuses images that do not belong together.

        Args:
            scale: Scale factor r.

        Raises:
            ImageSetError: If HR is not r times as high and wide as LR, or has another data type.
        """
        hr, lr = self.hr.pixels, self.lr.pixels
        if hr.shape[:2] != (scale * lr.shape[0], scale * lr.shape[1]) or hr.dtype != lr.dtype:
            raise ImageSetError(
                f"A pair at x{scale} was expected, found HR of {hr.shape[1]}×{hr.shape[0]} pixels ({hr.dtype}) and LR "
                f"of {lr.shape[1]}×{lr.shape[0]} ({lr.dtype})."
            )

    def valid(self, scale: int) -> NDArray[np.bool_] | None:
        """LR pixels that have a value in both images, all r×r pixels of HR included: bool (H, W); None for all.

        Args:
            scale: Scale factor r.
        """
        known = np.ones(self.lr.pixels.shape[:2], bool) if self.lr.valid is None else self.lr.valid
        if self.hr.valid is not None:
            blocks = self.hr.valid.reshape(known.shape[0], scale, known.shape[1], scale)
            known = known & blocks.all((1, 3))
        return None if known.all() else known
