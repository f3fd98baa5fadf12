"""Treatment of DICOM attributes that count pixels, are measured per pixel or look as if they were.

The table covers the numeric attributes of the DICOM dictionary (PS3.6) whose names speak of pixels, rows, positions,
sizes and the like; tests/orchestrator/dicom/test_attribute_table.py walks the dictionary that is installed. Meanings
are those of PS3.3 2024, whose sections are cited.
"""

import re
from dataclasses import dataclass
from typing import Literal

Action = Literal["times", "first", "last", "over", "by_units", "moved", "own", "drop", "refuse", "keep"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Treatment of an attribute in an image of r times as many rows and columns.

    Attributes:
        action: ``times``: multiplied by r. ``first`` and ``last``: the number of the first or last pixel that is meant,
            so (v - 1)r + 1 for a first one counted from 1, and (v + 1)r - 1 for a last one counted from 0. ``over``:
            divided by r. ``by_units``: multiplied by r where a neighbouring attribute says that it is in pixels.
            ``moved``: to the centre of the first, smaller pixel. ``own``: follows from the output's pixels. ``drop``:
            left out. ``refuse``: the image is refused. ``keep``: unchanged.
        why: The reason, for those that are dropped, refused or kept.
    """

    action: Action
    why: str = ""


_TIMES = """
ShutterLeftVerticalEdge ShutterRightVerticalEdge ShutterUpperHorizontalEdge ShutterLowerHorizontalEdge
CenterOfCircularShutter RadiusOfCircularShutter VerticesOfThePolygonalShutter
CollimatorLeftVerticalEdge CollimatorRightVerticalEdge CollimatorUpperHorizontalEdge CollimatorLowerHorizontalEdge
CenterOfCircularCollimator RadiusOfCircularCollimator VerticesOfThePolygonalCollimator
ExposureControlSensingRegionLeftVerticalEdge ExposureControlSensingRegionRightVerticalEdge
ExposureControlSensingRegionUpperHorizontalEdge ExposureControlSensingRegionLowerHorizontalEdge
CenterOfCircularExposureControlSensingRegion RadiusOfCircularExposureControlSensingRegion
VerticesOfThePolygonalExposureControlSensingRegion
RegionLocationMinX0 RegionLocationMinY0 ReferencePixelX0 ReferencePixelY0
DopplerSampleVolumeXPosition DopplerSampleVolumeYPosition
DopplerSampleVolumeXPositionRetired DopplerSampleVolumeYPositionRetired
TMLinePositionX0 TMLinePositionY0 TMLinePositionX1 TMLinePositionY1
TMLinePositionX0Retired TMLinePositionY0Retired TMLinePositionX1Retired TMLinePositionY1Retired
MaskSubPixelShift VerticesOfTheRegion SubjectArea SubjectLocation PixelCoordinatesSetTrial
DisplayedAreaBottomRightHandCorner DisplayedAreaBottomRightHandCornerTrial
"""
_FIRST = "DisplayedAreaTopLeftHandCorner DisplayedAreaTopLeftHandCornerTrial"
_LAST = "RegionLocationMaxX1 RegionLocationMaxY1"
_OVER = """
PixelSpacing ImagerPixelSpacing NominalScannedPixelSpacing ImagePlanePixelSpacing ObjectPixelSpacingInCenterOfBeam
ReconstructionPixelSpacing PresentationPixelSpacing PresentationPixelMagnificationRatio PhysicalDeltaX PhysicalDeltaY
DetectorBinning
"""
UNITS = {
    "GraphicData": ("GraphicAnnotationUnits", "CompoundGraphicUnits"),
    "BoundingBoxTopLeftHandCorner": ("BoundingBoxAnnotationUnits",),
    "BoundingBoxBottomRightHandCorner": ("BoundingBoxAnnotationUnits",),
    "AnchorPoint": ("AnchorPointAnnotationUnits",),
}
"""Attributes in pixels or in shares of the display, as another one beside them says (C.10.5)."""

_MOVED = """
ImagePositionPatient ImagePosition ImagePositionVolume RTImagePosition
ReferencePixelPhysicalValueX ReferencePixelPhysicalValueY
"""
_OWN = """
Rows Columns PixelData SmallestImagePixelValue LargestImagePixelValue SamplesPerPixel PixelRepresentation
PixelPaddingValue PixelPaddingRangeLimit
"""
_DROP = {
    "of the source's pixels or encoding alone": """
        SmallestPixelValueInSeries LargestPixelValueInSeries SmallestImagePixelValueInPlane
        LargestImagePixelValueInPlane SmallestValidPixelValue LargestValidPixelValue IconImageSequence
        PixelDataProviderURL ExtendedOffsetTable ExtendedOffsetTableLengths EncapsulatedPixelDataValueTotalLength
        ActiveImageAreaOverlayGroup ShutterOverlayGroup InstanceCreationDate InstanceCreationTime
        DigitalSignaturesSequence MACParametersSequence PerimeterTable PerimeterValue
        HistogramSequence HistogramNumberOfBins HistogramFirstBinValue HistogramLastBinValue HistogramBinWidth
        HistogramData""",
}
_REFUSE = {
    "makes it a part of a larger image, whose grid it would no longer fit": """
        TotalPixelMatrixColumns TotalPixelMatrixRows TotalPixelMatrixFocalPlanes TotalPixelMatrixOriginSequence
        ColumnPositionInTotalImagePixelMatrix RowPositionInTotalImagePixelMatrix PlanePositionSlideSequence
        TopLeftHandCornerOfLocalizerArea BottomRightHandCornerOfLocalizerArea""",
    "maps single pixels to places": """
        ImageTransformationMatrix ImageTranslationVector TwoDimensionalToThreeDimensionalMapData NumberOfMapPoints
        TwoDimensionalToThreeDimensionalMapSequence SurfaceMeshZPixelOffset CoordinateSystemAxisValues
        CoordinateSystemTransformRotationAndScaleMatrix CoordinateSystemTransformTranslationMatrix BadPixelImage""",
    "names places on it in a way that is not known here": """
        ReferenceCoordinates AnatomicStructureReferencePoint RegisteredLocalizerTopLeftHandCorner
        RegisteredLocalizerBottomRightHandCorner OphthalmicAnatomicReferencePointXCoordinate
        OphthalmicAnatomicReferencePointYCoordinate CornealVertexLocation PupilCentroidXCoordinate
        PupilCentroidYCoordinate EquivalentPupilRadius VerticesOfTheOutlineOfPupil MaximumCornealCurvatureLocation
        CornealPointLocation ALinePixelSpacing FirstALineLocation SeamLineLocation SeamLineIndex
        CompoundGraphicSequence RotationPoint DiameterOfVisibility ThreatROIBase ThreatROIExtents BoundingPolygon
        CenterOfMass CenterOfPTO""",
    "makes it an image of numbers that are no whole ones": """
        FloatPixelData DoubleFloatPixelData FloatPixelPaddingValue DoubleFloatPixelPaddingValue
        FloatPixelPaddingRangeLimit DoubleFloatPixelPaddingRangeLimit""",
}
_KEEP = {
    "of the acquisition or the detector, in its own units or elements": """
        AcquisitionMatrix PixelBandwidth PercentPhaseFieldOfView SpatialResolution FieldOfViewDimensions
        FieldOfViewDimensionsInFloat FieldOfViewOrigin FieldOfViewRotation PixelDataAreaOriginRelativeToFOV
        PixelDataAreaRotationAngleRelativeToFOV DetectorElementPhysicalSize DetectorElementSpacing
        DetectorActiveDimensions DetectorActiveOrigin DetectorActivationOffsetFromExposure IntensifierSize
        IntensifierActiveDimensions PhysicalDetectorSize PositionOfIsocenterProjection AxialDetectorDimension
        DetectorActiveAreaTLHCPosition DetectorActiveAreaOrientation GridThickness GridPitch GridAspectRatio GridPeriod
        GridFocalDistance XFocusCenter YFocusCenter EstimatedRadiographicMagnificationFactor ZoomFactor ZoomCenter
        SpectroscopyAcquisitionPhaseRows SpectroscopyAcquisitionDataColumns SpectroscopyAcquisitionPhaseColumns
        SpectralWidth ExcitationSpectralWidth DataPointRows DataPointColumns DepthSpatialResolution
        AlongScanSpatialResolution AcrossScanSpatialResolution AxialResolution BeamSpotSize OCTOpticalCenterWavelength
        ALineRate ALinesPerFrame OCTZOffsetCorrection NumberOfPaddedALines MagneticFieldStrength CenterFrequency
        ChemicalShiftReference DecouplingChemicalShiftReference ChemicalShiftMinimumIntegrationLimitInHz
        ChemicalShiftMaximumIntegrationLimitInHz ChemicalShiftMinimumIntegrationLimitInppm
        ChemicalShiftMaximumIntegrationLimitInppm EnergyWindowCenterline EnergyWindowTotalWidth
        CenterOfRotationOffset AngularPosition RadialPosition RotationOffset AveragePulseWidth CylinderAxis
        EmmetropicMagnification HorizontalFieldOfView VertexDistance XCoordinatesCenterPixelViewAngle
        YCoordinatesCenterPixelViewAngle WideFieldOphthalmicPhotographyThresholdQualityRating""",
    "in units of length, area, angle or dose of the patient, the room or the machine": """
        SpacingBetweenSlices SliceLocation Location DataCollectionDiameter ReconstructionDiameter TableHeight
        TableVerticalIncrement ImageAndFluoroscopyAreaDoseProduct AcquiredImageAreaDoseProduct CompressionContactArea
        WaterEquivalentDiameter ColumnAngulation ColumnAngulationPatient TomoLayerHeight PositionerPrimaryAngle
        PositionerSecondaryAngle PositionerPrimaryAngleIncrement PositionerSecondaryAngleIncrement
        OutlineLeftVerticalEdge OutlineRightVerticalEdge OutlineUpperHorizontalEdge OutlineLowerHorizontalEdge
        CenterOfCircularOutline DiameterOfCircularOutline NumberOfPolygonalVertices VerticesOfThePolygonalOutline
        LocalizingCursorPosition CalculatedTargetPosition DisplayedZValue DepthOfScanField TagAngleFirstAxis
        TagAngleSecondAxis TagSpacingFirstDimension TagSpacingSecondDimension MidSlabPosition ASLMidSlabPosition
        SingleCollimationWidth TotalCollimationWidth DataCollectionCenterPatient ReconstructionFieldOfView
        ReconstructionTargetCenterPatient TablePosition DistanceSourceToDataCollectionCenter
        PositionerIsocenterPrimaryAngle PositionerIsocenterSecondaryAngle PositionerIsocenterDetectorRotationAngle
        TableXPositionToIsocenter TableYPositionToIsocenter TableZPositionToIsocenter TableHorizontalRotationAngle
        PrimaryPositionerScanArc SecondaryPositionerScanArc PrimaryPositionerScanStartAngle
        SecondaryPositionerScanStartAngle PrimaryPositionerIncrement SecondaryPositionerIncrement
        PrimaryPositionerIncrementSign SecondaryPositionerIncrementSign BreastSupportXPositionToIsocenter
        BreastSupportYPositionToIsocenter BreastSupportZPositionToIsocenter DetectorXPositionToIsocenter
        DetectorYPositionToIsocenter DetectorZPositionToIsocenter OffsetDistance ApexPosition
        VolumeToTransducerMappingMatrix VolumeToTableMappingMatrix ImageToEquipmentMappingMatrix ExposedArea
        XOffsetInSlideCoordinateSystem YOffsetInSlideCoordinateSystem ZOffsetInSlideCoordinateSystem ImagedVolumeWidth
        ImagedVolumeHeight XRayImageReceptorTranslation DiaphragmPosition DevicePositionToEquipmentMappingMatrix
        ContourUncertaintyRadius MPRTopLeftHandCorner MPRViewWidthDirection MPRViewWidth MPRViewHeightDirection
        MPRViewHeight NumberOfVolumetricCurvePoints VolumetricCurvePoints VolumetricCurveUpDirections ViewpointPosition
        ViewpointLookAtPoint RenderFieldOfView SamplingStepSize AnimationStepSize BoundingBoxCrop
        FrameOfReferenceToDisplayedCoordinateSystemTransformationMatrix HorizontalPrismPower VerticalPrismPower
        ChannelWidth PupilSize CornealSize RadiusOfCurvature KeratometricAxis CornealAxis AnalyzedArea""",
    "a ratio of both directions, which stays": "PixelAspectRatio PresentationPixelAspectRatio",
    "of the values of pixels, not of their number": """
        UpperLowerPixelValues PixelComponentOrganization PixelComponentMask PixelComponentRangeStart
        PixelComponentRangeStop PixelComponentPhysicalUnits PixelComponentDataType NumberOfTableBreakPoints
        TableOfXBreakPoints TableOfYBreakPoints TableOfPixelValues ZeroVelocityPixelValue MappedPixelValue
        WindowCenter WindowWidth PixelIntensityRelationshipSign LargestMonochromePixelValue ShutterPresentationValue
        ShutterPresentationColorCIELabValue RecommendedAbsentPixelCIELabValue RecommendedDisplayGrayscaleValue
        RecommendedDisplayCIELabValue CIExyWhitePoint NumberOfLuminancePoints DisplayFilterPercentage
        MaskVisibilityPercentage TIDOffset SamplesPerPixelUsed""",
    "a kind, a flag, a number or an index of something else than pixels": """
        RegionSpatialFormat RegionDataType RegionFlags TemporalPositionIdentifier NumberOfTemporalPositions
        TemporalResolution TemporalPositionIndex TemporalPositionTimeOffset InStackPositionNumber DimensionIndexValues
        ConcatenationFrameOffsetNumber OverlayNumber CurveNumber PageNumberVector FramePrimaryAngleVector
        FrameSecondaryAngleVector SliceLocationVector FrameTimeVector RWaveTimeVector BscanCycleTimeVector
        MultiplexGroupTimeOffset TriggerTimeOffset TriggerSamplePosition EchoPeakPosition ImageDimensions ImageLocation
        MaskPointers RWavePointer MaskFrameNumbers PixelShiftFrameRange NumberOfDisplaySubsystems DisplaySubsystemID
        ReferencedSamplePositions ReferencedTimeOffsets FloatingPointValue NumberOfTableRows NumberOfTableColumns
        TableRowNumber TableColumnNumber GraphicDimensions NumberOfGraphicPoints GraphicLayerOrder
        GraphicLayerRecommendedDisplayGrayscaleValue GraphicLayerRecommendedDisplayRGBValue CompoundGraphicInstanceID
        GraphicLayerRecommendedDisplayCIELabValue GraphicGroupID PresentationSequencePositionIndex
        InputSequencePositionIndex CroppingSpecificationIndex GlobalCroppingSpecificationIndex
        CroppingSpecificationNumber""",
    "of how something is drawn, in units of the display": """
        ShadowOffsetX ShadowOffsetY LineThickness LinePattern TickPosition""",
    "of a retired compression, which the output does not have": """
        PredictorRows PredictorColumns BlockRows BlockColumns RowOverlap ColumnOverlap""",
    "of what was done to the source, which stays done": """
        LossyImageCompressionRatio PixelSpacingCalibrationType PixelSpacingCalibrationDescription PixelPresentation""",
    "of two other images": "StereoHorizontalPixelOffset StereoVerticalPixelOffset",
}
_KEPT_GROUPS = {
    "of a message, a file or a directory of files": (0x0000, 0x0002, 0x0004),
    "of the study, the patient or the trial": (0x0008, 0x0010, 0x0012),
    "of what is inspected or of the probe, in units of length": (0x0014,),
    "of the camera": (0x0016,),
    "of a test of the visual field": (0x0024,),
    "of a waveform or a stream": (0x0034, 0x003A),
    "of a container or a device": (0x0050,),
    "of the acquisition, or numbers of frames": (0x0054,),
    "of a registration, a surface, a template or a track, in units of length": (
        *(0x0064, 0x0066, 0x0068, 0x006A),
        *(0x0076, 0x0078, 0x0080),
    ),
    "of a display or a printer": (0x0072, 0x2000, 0x2010, 0x2020, 0x2030, 0x2040),
    "of a radiation plan or dose, in units of length": (
        *(0x0074, 0x3004, 0x3006, 0x3008),
        *(0x300A, 0x300C, 0x3010),
    ),
    "of an item of luggage": (0x4010,),
}
_DRAWN_GROUPS = {
    "overlays": range(0x6000, 0x6100),
    "curves": range(0x5000, 0x5100),
    "variable pixel data": range(0x7F00, 0x7FE0),
    "zonal maps": (0x1000, 0x1010),
}
_RETIRED_CODES = re.compile(r"(?:Rows|Columns)ForNthOrderCoefficients")
_KEPT_GROUP = {group: why for why, groups in _KEPT_GROUPS.items() for group in groups}
_OF_OTHERS = re.compile(
    r"(?:Referenced|Source|Original|Modified|Predecessor|Derivation|Icon|OphthalmicFrameLocation)\w*Sequence"
    r"|\w*(?:LUT|Code|RealWorldValueMapping)Sequence"
)
_LOOKS_COUNTED = re.compile(
    r"Pixel|Voxel|Spacing|Rows?(?![a-z])|Columns?(?![a-z])|Region|Origin(?!al)|Shutter|Overlay|Matrix|Resolution|Grid"
    r"|Offset|Position|Size|Dimension|Width|Height|Field|Magnif|Zoom|Point|Coordinate|Location|Vertical|Horizontal"
    r"|Edge|Cent(?:er|re)|Radius|Diameter|Vertices|Contour|Extent|Area(?![a-z])|Mask|Shift|Crop|Tile|Translation"
    r"|Transformation|Graphic|Bounding|Anchor|Corner|Aspect|Vector|Delta|Perimeter|Curve|Axis|Axes"
)
_PRIVATE_LOOKS_COUNTED = re.compile(
    r"pixel|voxel|(?<!echo )spacing|\b(?:rows?|columns?|cols|roi)\b|matrix size|image matrix|shutter|overlay|blanking"
    r"|graphic|\borigin\b|region of interest|(?:vertical|horizontal) edge|image position|cursor|csa image header info",
    re.IGNORECASE,
)
_OF_A_DETECTOR = re.compile(r"detector|cell spacing|sigma row|macro row", re.IGNORECASE)
_NUMERIC = frozenset(["DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "OB", "OW", "OF", "OD", "OL", "OV"])


def _table() -> dict[str, Decision]:
    table: dict[str, Decision] = {}
    single: tuple[tuple[Action, str], ...] = (
        *(("times", _TIMES), ("first", _FIRST), ("last", _LAST), ("over", _OVER)),
        *(("by_units", " ".join(UNITS)), ("moved", _MOVED), ("own", _OWN)),
    )
    for action, names in single:
        table |= dict.fromkeys(names.split(), Decision(action))
    explained: tuple[tuple[Action, dict[str, str]], ...] = (("drop", _DROP), ("refuse", _REFUSE), ("keep", _KEEP))
    for kind, reasons in explained:
        for why, names in reasons.items():
            table |= dict.fromkeys(names.split(), Decision(kind, why))
    return table


DECISIONS = _table()
"""By keyword."""


def decision(keyword: str, group: int) -> Decision | None:
    """Treatment of a public attribute, by its keyword (empty where the dictionary has none) and its group.

    None for one that the table does not name, nor any rule for its group.
    """
    if keyword in DECISIONS:
        return DECISIONS[keyword]
    for what, groups in _DRAWN_GROUPS.items():
        if group in groups:
            return Decision("drop", what)
    if _RETIRED_CODES.fullmatch(keyword):
        return Decision("keep", "of a retired compression, which the output does not have")
    return Decision("keep", _KEPT_GROUP[group]) if group in _KEPT_GROUP else None


def of_other_images(keyword: str) -> bool:
    """Returns True if a sequence's items describe other images or values and count none of this image's pixels."""
    return _OF_OTHERS.fullmatch(keyword) is not None


def may_be_numbers(vr: str) -> bool:
    """Returns True if a value representation is one of numbers, of bytes or none that is known."""
    return vr == "UN" or bool(_NUMERIC & set(vr.split(" or ")))


def looks_counted(keyword: str, vr: str) -> bool:
    """Returns True if an attribute that the table does not know has numbers and a name that may be about pixels."""
    return vr != "UN" and may_be_numbers(vr) and _LOOKS_COUNTED.search(keyword) is not None


def private_looks_counted(name: str) -> bool:
    """Returns True if a private element's name is about the image's pixels, rather than a detector's elements."""
    return _PRIVATE_LOOKS_COUNTED.search(name) is not None and _OF_A_DETECTOR.search(name) is None
