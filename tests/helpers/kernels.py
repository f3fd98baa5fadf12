"""Equality of outputs whose convolutions ran on tiles or batches of other shapes."""

import numpy as np
import torch

ONE_ORDER = torch.backends.cpu.get_cpu_capability().startswith("AVX")
"""Whether convolutions add up in one order for all shapes; oneDNN's kernels for processors without AVX2 do not."""


def assert_same(found, expected, last_bits: float = 2e-6) -> None:
    """Equal to the last bit or, where the order of sums depends on the shape, within ``last_bits``.

    Whole numbers may differ by 1 there, if they rarely do: a sum that lies at a half is rounded up in one order alone.
    """
    if ONE_ORDER:
        np.testing.assert_array_equal(found, expected)
    elif np.asarray(expected).dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=0, atol=last_bits)
    else:
        difference = np.abs(np.asarray(found).astype(np.int64) - expected)
        assert difference.max() <= 1
        assert (difference > 0).sum() <= max(2, 0.02 * difference.size)


def assert_same_files(*files: tuple[str, np.ndarray]) -> None:
    """Of files, each a digest and its values: equal in every byte, or in their values as :func:`assert_same` has it."""
    (digest, values), *others = files
    for other_digest, other_values in others:
        assert other_digest == digest or not ONE_ORDER
        assert_same(other_values, values)
