"""Results of the pretrain stage."""

from orchestrator.foundation.record import Count, Curve, Number, Record


class PretrainResult(Record):
    """A trained source model.

    Attributes:
        steps: Steps of training.
        loss: Mean absolute error by step.
        validation_psnr: In dB.
        validation_psnr_bicubic: PSNR in dB of bicubic interpolation, on the same images.
    """

    steps: Count
    loss: Curve
    validation_psnr: Number
    validation_psnr_bicubic: Number


class FoundSource(Record):
    """A source model that the experiment started from.

    Attributes:
        model: Place that it was copied from.
    """

    model: str
