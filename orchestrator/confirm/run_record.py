"""Records of a confirmation's tasks; a damaged or invalid one is read as if it did not exist.

A task without a valid record does its work again. The check of the stage reports the damage before.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from orchestrator.foundation.record import Count, Curve, FileName, Number, Record, Time
from orchestrator.foundation.storage import Storage
from orchestrator.training.certificate import Certificate
from trainables.metrics.evaluation import Score

RUN, INTERPOLATION, FITTED = "run.json", "interpolation.json", "fitted.json"

Psnr = Annotated[float, Field(strict=True)]
"""PSNR in dB; infinite where an image is reproduced exactly."""


Images = list[tuple[FileName, FileName, Number]]
"""Name, scene and PSNR in dB of each validation image, in an order that all runs share."""


class RunRecord(Record):
    """Record of a training, or of weights averaged over seeds, ``run.json``.

    Attributes:
        validation_psnr: Mean validation PSNR in dB; None if it diverged.
        curve: Learning curve, whose last point is that mean.
        finished_at: Time of its end.
        images: Score of each validation image; empty if it diverged, and in records of earlier versions.
        certificate: Digests of what the training received; None of averaged weights and in records of earlier versions.
    """

    validation_psnr: Number | None
    curve: Curve
    finished_at: Time
    images: Images = Field(default_factory=list)
    certificate: Certificate | None = None

    @model_validator(mode="after")
    def _has_a_curve_unless_diverged(self) -> Self:
        if bool(self.curve) == (self.validation_psnr is None):
            raise ValueError("has a curve that does not fit its validation_psnr")
        return self


class Interpolation(Record):
    """Average of tuned weights and the source's, ``interpolation.json``.

    Attributes:
        share: Share of the tuned weights; 1 if averaging gained nothing on validation.
        validation: Shares that were tried, with their mean validation PSNR in dB.
        of: Candidate whose weights were averaged; in records of earlier versions, where it is empty, the winner.
        images: Score of each validation image at that share, by seed; empty in records of earlier versions.
    """

    share: Annotated[Number, Field(ge=0, le=1)]
    validation: Annotated[list[tuple[Number, Number]], Field(min_length=1)]
    of: str = ""
    images: list[Images] = Field(default_factory=list)


class FixedBaseline(Record):
    """A classical baseline with nothing to fit."""

    validation_psnr: Number


class TotalVariationFit(Record):
    """Total variation, with the settings that won on validation."""

    weight: Number
    iterations: Count
    validation_psnr: Number


class ExampleFit(Record):
    """Anchored regression, with the ridge that won on validation."""

    ridge: Number
    validation_psnr: Number


class FittedBaselines(Record):
    """The classical baselines of a domain, ``fitted.json``; None for those left out."""

    bilinear: FixedBaseline | None = None
    bicubic: FixedBaseline | None = None
    lanczos: FixedBaseline | None = None
    tv: TotalVariationFit | None = None
    example: ExampleFit | None = None

    def validation_psnr(self, arm: str) -> float | None:
        """Validation PSNR in dB of a classical arm; None of any other."""
        fits = {
            "bilinear": self.bilinear,
            "bicubic": self.bicubic,
            "lanczos": self.lanczos,
            "tv": self.tv,
            "example": self.example,
        }
        fit = fits.get(arm)
        return fit.validation_psnr if fit else None


class SourceScore(Record):
    """PSNR in dB of one run on held-out source images, ``source-RUN.json``."""

    source_psnr: Psnr

    @model_validator(mode="after")
    def _is_a_number(self) -> Self:
        if math.isnan(self.source_psnr):
            raise ValueError("has source_psnr nan")
        return self


def mean_of(images: Images) -> float:
    """Mean PSNR in dB."""
    return float(np.mean([psnr for _, _, psnr in images]))


def read_run(place: Storage) -> RunRecord | None:
    """The record of a training; None if there is none, or it is damaged."""
    return RunRecord.read(place)


def read_interpolation(place: Storage) -> Interpolation | None:
    """The share of averaged weights; None if there is no record, or it is damaged."""
    return Interpolation.read(place)


def read_fitted(place: Storage) -> FittedBaselines | None:
    """The fitted classical baselines; None if there is no record, or it is damaged."""
    value = place.read_json()
    return None if _fitted_problem(value) else FittedBaselines.parse(value)


def read_source_psnr(place: Storage) -> float | None:
    """PSNR in dB of a run on held-out source images; None if there is no record, or it is damaged."""
    record = SourceScore.read(place)
    return None if record is None else record.source_psnr


def read_scores(place: Storage) -> list[Score] | None:
    """Scores of a run on the test split, ``test-RUN.json``; None if there are none, or they are damaged."""
    value = place.read_json()
    if _scores_problem(value):
        return None
    return [_score(entry) for entry in value]


def write_scores(place: Storage, scores: list[Score]) -> None:
    """Writes the scores of a run on the test split: name, scene, PSNR in dB and SSIM of each image.

    Of other than 8-bit gray and RGB images, PSNR of each band, SAM and ERGAS follow.
    """
    place.write_json([_entry(score) for score in scores])


def _entry(score: Score) -> list[object]:
    further = [list(score.bands), score.sam, score.ergas] if score.bands else []
    return [score.name, score.scene, score.psnr, score.ssim, *further]


def _score(entry: list[Any]) -> Score:
    name, scene, psnr, ssim, *further = entry
    bands, sam, ergas = further or ((), None, None)
    return Score(name, scene, float(psnr), float(ssim), tuple(float(band) for band in bands), sam, ergas)


def problem_of(name: str, value: object) -> str:
    """Description of the damage of a record, by its file's name; empty if it is valid or another kind of file."""
    kinds: dict[str, Callable[[object], str]] = {
        RUN: RunRecord.problem,
        INTERPOLATION: Interpolation.problem,
        FITTED: _fitted_problem,
    }
    check = kinds.get(name)
    if name.endswith(".json") and check is None:
        check = {"test": _scores_problem, "source": SourceScore.problem}.get(name.partition("-")[0])
    return "" if check is None else check(value)


def _fitted_problem(value: object) -> str:
    if problem := FittedBaselines.problem(value):
        return problem
    return "" if FittedBaselines.parse(value).tv else "lacks 'tv'"


def _scores_problem(value: object) -> str:
    if not isinstance(value, list) or not value:
        return "is empty, cut short or no list of scores"
    for entry in value:
        fits = isinstance(entry, list) and len(entry) in (4, 7) and all(isinstance(text, str) for text in entry[:2])
        if not fits or not _are_numbers(entry[2:4]) or not _fit_bands(entry[4:]):
            return f"has a score {entry!r:.60}"
    return ""


def _are_numbers(values: list[object]) -> bool:
    # PSNR is infinite where an image is reproduced exactly.
    return all(isinstance(v, int | float) and not isinstance(v, bool) and not math.isnan(v) for v in values)


def _fit_bands(further: list[Any]) -> bool:
    """True of nothing, or of a list of numbers and two numbers, which may be None."""
    if not further:
        return True
    bands, *spectral = further
    known = [value for value in spectral if value is not None]
    return isinstance(bands, list) and bool(bands) and _are_numbers(bands) and _are_numbers(known)
