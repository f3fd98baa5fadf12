"""What benchmarks share: the machine and commit that a result states, arguments, results, images."""
