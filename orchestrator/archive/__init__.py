"""Archives of georeferenced scenes: one scene file in, one verified Cloud-Optimised GeoTIFF (COG) out."""
