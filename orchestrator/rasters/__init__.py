"""Image files of every format that is learned from, in their own depth, bands and units.

Each format has one module with one function that opens its files; :mod:`orchestrator.rasters.open_raster_file` chooses
among them.
"""
