"""Published benchmarks: their test pairs, their comparison and their published results, beside our own."""
