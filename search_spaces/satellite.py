"""Satellite images: a sensor's blur, its detectors' aperture, photon and read-out noise.

The MTF is the whole sensor's, aperture included, at the LR grid's Nyquist frequency: from blurred to sharp. Noise
grows with the signal, and each band has its own: at full scale a signal-to-noise ratio of 30 to 185.
"""

from search_spaces import Degradation, TransferConfiguration, TransferSpace

SPACE = TransferSpace(
    id="satellite-v2",
    title="Satellite images",
    degradation=Degradation(mtf=(0.1, 0.4), decimation="area", noise=(0.002, 0.01), shot=(0.005, 0.03)),
    starts=(TransferConfiguration(learning_rate=1e-3, lambda_=1e-4, frozen_depth=0),),
)
