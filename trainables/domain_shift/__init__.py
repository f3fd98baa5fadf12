"""Distance between two domains, by features, spectra and noise."""
