"""Resets of random generators and torch, so that results do not depend on earlier work of the process."""

import random

import numpy as np
import torch


def restart(seed: int, threads: int) -> None:
    """Restarts every generator of this process, and sets what may change how torch computes.

    Called after all that a training needs has been loaded: what is read for the first time may draw or compute, and
    what is cached does not.

    Args:
        seed: 0 or more.
        threads: torch threads, at least 1.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    random.seed(seed)
    np.random.seed(seed % 2**32)  # for libraries that draw from it
    torch.manual_seed(seed)
