"""One scene: read, upscaled and written as a verified Cloud-Optimised GeoTIFF; no Ray, no ledger."""
