"""GeoTIFF as a format: layout of large files, COGs, tags."""
