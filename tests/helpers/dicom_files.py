"""DICOM files of any kind of grayscale image, generated."""

import io
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from scipy import ndimage


def anatomy(height: int = 40, width: int = 48, low: float = 0, high: float = 4095) -> np.ndarray:
    """Smooth shapes between two values, float64."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(height).normal(size=(height, width)), 2)
    return low + (high - low) * (smooth - smooth.min()) / np.ptp(smooth)


def dataset(values: np.ndarray, stored: int, **elements: Any) -> Dataset:
    """A CT slice; ``elements`` replace or add to what it says, None removes."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = CTImageStorage
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    made.PatientName, made.PatientID, made.Modality = "Nobody^Nora", "n1", "CT"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.Rows, made.Columns = values.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = 8 * values.dtype.itemsize, stored, stored - 1
    made.PixelRepresentation = int(values.dtype.kind == "i")
    made.PixelSpacing, made.ImagePositionPatient = [0.5, 0.25], [-10, 20, 30]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.RescaleSlope, made.RescaleIntercept, made.RescaleType = 2, -1000, "HU"
    made.WindowCenter, made.WindowWidth = [40, -600], [400, 1500]
    data = values.tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OW" if values.dtype.itemsize > 1 else "OB"
    for name, value in elements.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    return made


def encoded(made: Dataset) -> bytes:
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def ct(height: int = 40, width: int = 48, **elements: Any) -> bytes:
    """A slice of 12 bits."""
    return encoded(dataset(anatomy(height, width).round().astype(np.uint16), 12, **elements))
