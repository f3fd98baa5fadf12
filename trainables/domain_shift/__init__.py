"""How far two domains lie apart, by features, spectra and noise."""
