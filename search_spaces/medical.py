"""Medical images: k-space truncation and Rician noise, the acquisition model of magnitude MRI.

Cropping k-space is how low-resolution magnetic-resonance images are simulated (e.g. T2Net, arXiv 2106.06742); the
magnitude of complex Gaussian noise is Rician (Gudbjartsson and Patz 1995).
"""

from search_spaces import Degradation, TransferConfiguration, TransferSpace

SPACE = TransferSpace(
    id="medical-v1",
    title="Medical images",
    degradation=Degradation(decimation="fourier", noise=(0.005, 0.02), noise_kind="rician"),
    starts=(TransferConfiguration(learning_rate=1e-3, lambda_=1e-4, frozen_depth=0),),
)
