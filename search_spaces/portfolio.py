"""Configurations that every study tries first, because they were good in all domains that were measured.

They were chosen on a table of 600 real fine-tunings in four domains, of 200 steps each: the pair of cells with the
least mean regret. Chosen on three domains and judged on the fourth, such a pair loses 0.004 dB to the best of the 150
cells; a search by Gaussian process needs 24 trials for a mean of 0.009 dB (`benchmarks/search/tabular/portfolio.py`).
"""

from trainables.loops.settings import TransferConfiguration

PORTFOLIO = (
    TransferConfiguration(learning_rate=4.75e-4, lambda_=0.0, frozen_depth=0),
    TransferConfiguration(learning_rate=1.19e-3, lambda_=0.0, frozen_depth=2),
)
"""The default fine-tune, and a faster one that leaves the stem and the first residual block as they are."""
