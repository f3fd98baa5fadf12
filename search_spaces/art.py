"""Paintings: a scan's mild blur and JPEG compression."""

from search_spaces import Degradation, TransferConfiguration, TransferSpace

SPACE = TransferSpace(
    id="art-v2",
    title="Paintings",
    degradation=Degradation(blur=(0.0, 0.25), jpeg=(60, 95)),
    starts=(TransferConfiguration(learning_rate=3e-4, lambda_=1e-3, frozen_depth=0),),
)
