"""CT images: a coarse scan with few photons.

The scanner's focal spot and detector aperture blur; filtered back-projection turns photon counting into noise whose
power spectrum is an apodised ramp (Riederer, Pelc and Chesler 1978). The dose runs from a quarter of LoDoPaB-CT's 4096
photons per detector pixel (arXiv 1910.01113) to a full-dose scan's. The window of 1500 HU is the usual one for lungs.
"""

from search_spaces import Degradation, TransferConfiguration, TransferSpace

SPACE = TransferSpace(
    id="ct-v1",
    title="CT images",
    degradation=Degradation(
        blur=(0.15, 0.35), decimation="area", photons=(1e3, 1e5), attenuation=(2.0, 4.0), window=1500.0
    ),
    starts=(TransferConfiguration(learning_rate=1e-3, lambda_=1e-4, frozen_depth=0),),
)
