"""Paintings: a scan's mild blur and JPEG compression."""

from search_spaces.space import TransferSpace
from trainables.degradation import Degradation
from trainables.loops.finetune import TransferConfiguration

SPACE = TransferSpace(
    id="art-v2",
    title="Paintings",
    degradation=Degradation(blur=(0.0, 0.25), jpeg=(60, 95)),
    starts=(TransferConfiguration(learning_rate=3e-4, lambda_=1e-3, frozen_depth=0),),
)
