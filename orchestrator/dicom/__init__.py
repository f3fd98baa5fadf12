"""DICOM slices upscaled in the depth and the units that they came in.

pydicom reads and writes elements; which of them must change with an image's grid is known to no library.
"""
