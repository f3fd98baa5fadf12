"""Surveillance images: lens blur, sensor noise, and one of two codecs: JPEG, or a key frame of H.264."""

from search_spaces import Degradation, TransferConfiguration, TransferSpace

SPACE = TransferSpace(
    id="surveillance-v2",
    title="Surveillance images",
    degradation=Degradation(blur=(0.2, 0.5), noise=(0.008, 0.047), jpeg=(50, 90), h264=(24, 36)),
    starts=(TransferConfiguration(learning_rate=1e-3, lambda_=1e-4, frozen_depth=0),),
)
