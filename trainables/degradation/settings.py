"""The settings of a degradation: ranges to draw from, checked, and as plain values. Nothing here imports torch."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from trainables.degradation.depth import EIGHT_BITS, ValueRange, rounding_of
from trainables.errors import UsageError

if TYPE_CHECKING:
    from torch import Generator, Tensor

Range = tuple[float, float]
"""Lowest and highest value, both included."""

Decimation = Literal["bicubic", "area", "fourier"]
DECIMATIONS: tuple[Decimation, ...] = get_args(Decimation)

HIGHEST_MTF = 0.5
"""A square detector alone passes 2/π at its Nyquist frequency; up to here the blur is wide enough to be sampled at
HR pixels."""

HIGHEST_QP = 51
"""Coarsest quantiser of H.264."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """Ranges to draw from; (low, high), both included, and (0, 0) or None for none of it.

    Attributes:
        blur: Optics: standard deviation of a Gaussian blur, in units of the scale factor (0.5 at r = 4 is 2 HR
            pixels), 0 or more.
        mtf: Optics, instead of ``blur``: modulation transfer of the whole system, Gaussian blur and decimation, at
            the LR grid's Nyquist frequency, 0.001 to 0.5. A Gaussian alone that passes m there has
            σ = r/π·√(-2 ln m) HR pixels.
        jitter: Largest displacement along each axis in LR pixels, 0 to 0.5, from a resampling onto a map's grid; each
            image draws from ±jitter, so that the mean is none, but HR and LR of one image no longer align exactly.
        decimation: ``bicubic``: antialiased, MATLAB's; ``area``: mean over r×r pixels, a detector's aperture;
            ``fourier``: truncation of k-space, aligned to pixel centres.
        noise: Standard deviation on the [0, 1] scale, 0 or more.
        noise_kind: ``gaussian``, or ``rician`` as in magnitude images.
        shot: Standard deviation at full scale of the noise that photon counting adds to Gaussian ``noise``; it grows
            with the square root of the signal, and each band draws its own; 0 or more.
        photons: CT dose: photons per detector pixel without a patient, 1 or more, drawn on a log scale.
        attenuation: CT: line integral of the attenuation along the rays, 0 to 12, no unit; only with ``photons``.
        window: CT: width of the gray scale in HU, that is how many of them [0, 1] stands for; only with ``photons``.
        jpeg: JPEG quality, integers from 1 to 100.
        h264: QP of an H.264-like intra frame, integers from 0 to 51. Given both, each image draws one codec.
        levels: Steps between 0 and 1 that LR values are rounded to, above 0: 255 for 8 bits, the only depth of the
            codecs; None for no rounding.
    """

    blur: Range = (0.0, 0.0)
    mtf: Range | None = None
    jitter: float = 0.0
    decimation: Decimation = "bicubic"
    noise: Range = (0.0, 0.0)
    noise_kind: Literal["gaussian", "rician"] = "gaussian"
    shot: Range = (0.0, 0.0)
    photons: Range | None = None
    attenuation: Range = (2.0, 4.0)
    window: float = 1500.0
    jpeg: tuple[int, int] | None = None
    h264: tuple[int, int] | None = None
    levels: float | None = EIGHT_BITS

    def __post_init__(self) -> None:
        _check_range("blur", self.blur, 0, math.inf)
        _check_range("mtf", self.mtf, 1e-3, HIGHEST_MTF)
        _check_range("noise", self.noise, 0, math.inf)
        _check_range("shot", self.shot, 0, math.inf)
        _check_range("photons", self.photons, 1, math.inf)
        _check_range("attenuation", self.attenuation, 0, 12)
        _check_range("jpeg", self.jpeg, 1, 100, whole=True)
        _check_range("h264", self.h264, 0, HIGHEST_QP, whole=True)
        if not 0 <= self.jitter <= 0.5:
            raise UsageError(f"jitter must lie between 0 and 0.5 LR pixels, found {self.jitter}.")
        if not 0 < self.window < math.inf:
            raise UsageError(f"window must be a positive number of HU, found {self.window}.")
        if self.levels is not None and not 0 < self.levels < math.inf:
            raise UsageError(f"levels must be a number above 0, or None for no rounding, found {self.levels}.")
        if self.levels != EIGHT_BITS and self._codecs:
            raise UsageError(f"{self._codecs} needs 8-bit values, 255 levels, found {rounding_of(self.levels)}.")
        if self.decimation not in DECIMATIONS or self.noise_kind not in ("gaussian", "rician"):
            raise UsageError(f"There is no decimation '{self.decimation}' or noise '{self.noise_kind}'.")
        if self.mtf is not None and self.blur[1] > 0:
            raise UsageError(f"Give blur or mtf, not both, found blur {self.blur} and mtf {self.mtf}.")
        if self.shot[1] > 0 and self.noise_kind == "rician":
            raise UsageError(f"Shot noise needs noise_kind 'gaussian', found 'rician' and shot {self.shot}.")

    def __call__(self, hr: "Tensor", scale: int, gray: "Tensor", generator: "Generator") -> "Tensor":
        """Degrades a batch; see :func:`trainables.degradation.chain.degrade`."""
        from trainables.degradation.chain import degrade

        return degrade(self, hr, scale, gray, generator)

    def linear(self, hr: "Tensor", scale: int) -> "Tensor":
        """The linear part of the chain; see :func:`trainables.degradation.chain.linear`."""
        from trainables.degradation.chain import linear

        return linear(self, hr, scale)

    def for_format(self, pixel_format: ValueRange) -> "Degradation":
        """The same degradation of images of another format: rounded at their depth, dose noise on their scale.

        Args:
            pixel_format: What the values of a domain's images mean. Where their unit is HU, its range is the CT
                ``window``.

        Raises:
            UsageError: If it has a codec, and the images are not 8-bit gray or RGB.
        """
        if pixel_format.plain:
            return replace(self, levels=EIGHT_BITS)
        if self._codecs:
            raise UsageError(
                f"{self._codecs} is a codec of 8-bit gray and RGB images and cannot degrade images of another depth, "
                "value range or other bands: choose a domain whose degradation has no codec."
            )
        in_hounsfield = self.photons is not None and pixel_format.units == "HU"
        window = pixel_format.high - pixel_format.low if in_hounsfield else self.window
        return replace(self, levels=pixel_format.levels, window=window)

    def to_dict(self) -> dict[str, object]:
        """Plain values, as a model card stores them; without ``levels`` for 8 bits, as cards always had it."""
        values = asdict(self)
        return {name: value for name, value in values.items() if name != "levels" or value != EIGHT_BITS}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> "Degradation":
        """The inverse of :meth:`to_dict`, also after a trip through JSON; what a card lacks is off, or 8 bits."""
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)

    def describe(self) -> str:
        """One line for reports, with every range."""
        parts = []
        if self.blur[1] > 0:
            parts.append(f"Gaussian blur σ {_said(self.blur)} × scale")
        if self.mtf is not None:
            parts.append(f"system MTF at Nyquist {_said(self.mtf)}")
        if self.jitter > 0:
            parts.append(f"displacement up to ±{self.jitter:g} LR pixels")
        parts.append({"bicubic": "bicubic", "area": "area-average", "fourier": "k-space truncation"}[self.decimation])
        if self.photons is not None:
            parts.append(
                f"CT dose of {_said(self.photons)} photons per detector pixel behind attenuation "
                f"{_said(self.attenuation)}, window {self.window:g} HU"
            )
        if self.noise[1] > 0:
            kind = self.noise_kind.replace("rician", "Rician").replace("gaussian", "Gaussian")
            parts.append(f"{kind} noise σ {_said(self.noise)}")
        if self.shot[1] > 0:
            parts.append(f"shot noise σ {_said(self.shot)} at full scale")
        if self.levels != EIGHT_BITS:
            parts.append(rounding_of(self.levels))
        codecs = [f"JPEG quality {_said(self.jpeg)}"] if self.jpeg is not None else []
        codecs += [f"H.264-like intra QP {_said(self.h264)}"] if self.h264 is not None else []
        return ", ".join([*parts, " or ".join(codecs)] if codecs else parts)

    @property
    def _codecs(self) -> str:
        named = {"JPEG": self.jpeg, "H.264": self.h264}
        return " or ".join(name for name, bounds in named.items() if bounds is not None)


def _check_range(name: str, bounds: Range | None, least: float, most: float, whole: bool = False) -> None:
    if bounds is None:
        return
    if not isinstance(bounds, tuple) or len(bounds) != 2 or not all(isinstance(bound, int | float) for bound in bounds):
        raise UsageError(f"The range of {name} must be two numbers, found {bounds!r}.")
    if not least <= bounds[0] <= bounds[1] <= most or not math.isfinite(bounds[1]):
        limits = f"{least:g} <= low <= high" + (f" <= {most:g}" if math.isfinite(most) else "")
        raise UsageError(f"The range of {name} must be {limits}, found {bounds}.")
    if whole and not all(isinstance(bound, int) for bound in bounds):
        raise UsageError(f"The range of {name} must be two integers, found {bounds}.")


def _said(bounds: Range) -> str:
    return f"{bounds[0]:g}–{bounds[1]:g}"
