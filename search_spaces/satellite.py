"""Satellite images: a sensor's blur, its detectors' aperture and noise.

A Gaussian with modulation m at the LR Nyquist frequency has σ/r = √(-2 ln m)/π. The aperture of r×r pixels passes 0.64
there, so that the blur range below gives a sensor MTF at Nyquist of 0.1 to 0.3.
"""

from search_spaces.space import TransferSpace
from trainables.degradation import Degradation
from trainables.finetune import TransferConfiguration

SPACE = TransferSpace(
    id="satellite-v1",
    title="Satellite images",
    degradation=Degradation(blur=(0.39, 0.61), decimation="area", noise=(0.005, 0.02)),
    starts=(TransferConfiguration(learning_rate=1e-3, lambda_=1e-4, frozen_depth=0),),
)
