"""DICOM slices upscaled in the depth and the units that they came in."""
