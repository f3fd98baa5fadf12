"""Generated satellite products, small and true to the published layouts: names, metadata fields, resolutions."""

import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import rasterio
import zarr
from affine import Affine
from rasterio.enums import ColorInterp

from orchestrator.archive.scene.reader import gdal

SAFE = "S2B_MSIL2A_20240814T101559_N0511_R065_T32TQM_20240814T130842.SAFE"
SAFE_L1C = "S2A_MSIL1C_20190704T101031_N0207_R022_T32TQM_20190704T121104.SAFE"
EOPF = SAFE.replace(".SAFE", ".zarr")
TIME = "2024-08-14T10:15:59.024Z"
LANDSAT = "LC08_L2SP_193026_20200711_20200912_02_T1"
PLANET = "20240315_101520_12_24a5"
_RESOLUTIONS = (3.0, 10.0, 15.0, 20.0, 30.0, 60.0)
_PLACE = {side: Affine(side, 0, 699960, 0, -side, 5000040) for side in _RESOLUTIONS}
_SIDE = 1200
"""Side of the products in metres."""
_OWN = dict.fromkeys(("B02", "B03", "B04", "B08"), 10) | dict.fromkeys(("B01", "B09", "B10"), 60)
_OWN |= dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20)


def band(name, resolution, low=1000, high=9000):
    """Values of a band, the same for the same name and resolution; the first rows have no data."""
    side = int(_SIDE // resolution)
    seed = [*name.encode(), int(resolution)]
    values = np.random.default_rng(seed).integers(low, high, (side, side)).astype("uint16")
    values[: side // 10] = 0
    return values


def classes(resolution):
    """A scene classification in patches; the first rows and one column have no data."""
    side = int(_SIDE // resolution)
    values = np.kron(np.random.default_rng(1).integers(4, 7, (-(-side // 10), -(-side // 10))), np.ones((10, 10)))
    values = values[:side, :side].astype("uint8")
    values[: side // 10] = 0
    values[:, side // 2] = 0
    return values


def write(path: Path, values, resolution, driver="GTiff", crs="EPSG:32632", **facts):
    """A raster of one band or several."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values if values.ndim == 3 else values[None]
    options = {"quality": 100, "reversible": True} if driver == "JP2OpenJPEG" else {}
    count, height, width = values.shape
    with (
        gdal(),
        rasterio.open(
            path,
            "w",
            driver=driver,
            count=count,
            height=height,
            width=width,
            dtype=values.dtype.name,
            crs=crs,
            transform=_PLACE[float(resolution)],
            **options,
            **facts,
        ) as target,
    ):
        target.write(values)
    return path


def plain(path, bands, resolution, names, *, scale=1 / 10000, offset=-0.1, tags=(), **facts):
    """The same pixels as an ordinary GeoTIFF."""
    write(path, np.stack(bands), resolution, nodata=0, photometric="rgb", **facts)
    with rasterio.open(path, "r+") as target:
        target.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        target.descriptions = names
        target.scales, target.offsets = [scale] * len(bands), [offset] * len(bands)
        target.update_tags(**dict(tags))
    return path


def sentinel_l2a(folder: Path, bands=("B02", "B03", "B04", "B08"), offset=-1000, baseline="05.11"):
    """A Level-2A product of processing baseline 05.11, or an older one without offsets."""
    safe = folder / SAFE
    granule = "GRANULE/L2A_T32TQM_A038895_20240814T102147"
    stem = "T32TQM_20240814T101559"
    images = []
    for resolution in (10, 20, 60):
        for name in [*(name for name in bands if _OWN[name] <= resolution), *(("SCL",) if resolution > 10 else ())]:
            image = f"{granule}/IMG_DATA/R{resolution}m/{stem}_{name}_{resolution}m"
            images.append(image)
            values = classes(resolution) if name == "SCL" else band(name, resolution)
            write(safe / f"{image}.jp2", values, resolution, "JP2OpenJPEG")
    offsets = "".join(f'<BOA_ADD_OFFSET band_id="{number}">{offset}</BOA_ADD_OFFSET>' for number in range(13))
    quantification = """<QUANTIFICATION_VALUES_LIST>
      <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
      <AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>
      <WVP_QUANTIFICATION_VALUE unit="cm">1000.0</WVP_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>"""
    if offset is not None:
        quantification += f"<BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST>"
    (safe / "MTD_MSIL2A.xml").write_text(_metadata("2A", images, quantification, baseline))
    write(safe / granule / "QI_DATA" / "MSK_CLDPRB_20m.jp2", classes(20), 20, "JP2OpenJPEG")
    (safe / "manifest.safe").write_text("<xfdu:XFDU/>")
    return safe


def sentinel_l1c(folder: Path):
    """A Level-1C product of processing baseline 02.07, which has no offsets."""
    safe, granule = folder / SAFE_L1C, "GRANULE/L1C_T32TQM_A021051_20190704T101456"
    images = []
    for name in ("B02", "B03", "B04", "B11"):
        images.append(f"{granule}/IMG_DATA/T32TQM_20190704T101031_{name}")
        write(safe / f"{images[-1]}.jp2", band(name, _OWN[name]), _OWN[name], "JP2OpenJPEG")
    text = '<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>'
    (safe / "MTD_MSIL1C.xml").write_text(_metadata("1C", images, text, "02.07"))
    return safe


def eopf_l2a(
    folder: Path, zarr_format=2, consolidated=True, name=EOPF, attributes=None, bands=("B02", "B03", "B04", "B08")
):
    """The Level-2A product of :func:`sentinel_l2a` in EOPF's layout, as its own library writes it."""
    product = folder / name
    discovery = {"id": name.removesuffix(".zarr"), "properties": {"datetime": TIME, "proj:epsg": 32632}}
    root = zarr.open_group(str(product), mode="w", zarr_format=zarr_format)
    root.attrs["stac_discovery"] = discovery
    for resolution in (10, 20, 60):
        side = int(_SIDE // resolution)
        groups = {f"measurements/reflectance/r{resolution}m": [n for n in bands if _OWN[n] <= resolution]}
        if resolution == 20:
            groups["conditions/mask/l2a_classification/r20m"] = ["SCL"]
        for group, names in groups.items():
            for axis, centre, step in (
                ("x", 699960 + resolution / 2, resolution),
                ("y", 5000040 - resolution / 2, -resolution),
            ):
                _array(root, f"{group}/{axis}", centre + step * np.arange(side, dtype="int64"), {})
            for band_name in names:
                values = classes(resolution) if band_name == "SCL" else band(band_name, resolution)
                facts = {"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": 0} if band_name != "SCL" else {}
                _array(root, f"{group}/{band_name.lower()}", values, facts | (attributes or {}))
    if consolidated:
        with warnings.catch_warnings():  # format 3 does not state it yet
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(str(product), zarr_format=zarr_format)
    return product


def _array(root, path, values, attributes):
    chunks = tuple(min(side, 50) for side in values.shape)
    made = root.create_array(path, shape=values.shape, chunks=chunks, dtype=values.dtype, fill_value=0)
    made[:] = values
    made.attrs.update(attributes)


def _metadata(level, images, quantification, baseline):
    files = "".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>" for image in images)
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-15.sentinel2.eo.esa.int/PSD/User_Product_Level-{level}.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>2024-08-14T10:15:59.024Z</PRODUCT_START_TIME>
      <PRODUCT_URI>{SAFE if level == "2A" else SAFE_L1C}</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>
      <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
      <Datatake><DATATAKE_SENSING_START>2024-08-14T10:15:59.024Z</DATATAKE_SENSING_START></Datatake>
      <Product_Organisation><Granule_List>
        <Granule imageFormat="JPEG2000">{files}</Granule>
      </Granule_List></Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
      <Special_Values><SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX></Special_Values>
      {quantification}
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-{level}_User_Product>"""


def same_pixels(path, tags):
    """A GeoTIFF of the red, green and blue pixels that the Level-2A products have, the scene classification applied."""
    gone = np.kron(classes(20) == 0, np.ones((2, 2), bool))
    bands = [np.where(gone, 0, band(name, 10)) for name in ("B04", "B03", "B02")]
    return plain(path, bands, 10, ("B04", "B03", "B02"), tags=tags)


def in_form(form: str, product: Path, folder: Path):
    """A product as a folder, or as the ZIP of it in another folder."""
    if form == "folder":
        return product
    folder.mkdir()
    return zipped(product, folder / f"{product.name}.zip")


def zipped(folder: Path, path: Path):
    """A product as the Copernicus Data Space delivers it: one ZIP with the folder in it."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def landsat(folder: Path, metadata=("txt",)):
    """A Level-2 product of Landsat 8, its pixels placed by their centres as the published files do."""
    bands = {f"SR_B{number}": band(f"SR_B{number}", 30, 7300, 43000) for number in range(2, 6)}
    bands["ST_B10"] = band("ST_B10", 30, 30000, 50000)
    quality = np.full(bands["SR_B2"].shape, 21824, "uint16")
    quality[:, 7] = 1
    bands["QA_PIXEL"] = quality
    for name, values in bands.items():
        path = write(folder / f"{LANDSAT}_{name}.TIF", values, 30, nodata=1 if name == "QA_PIXEL" else 0)
        with rasterio.open(path, "r+") as target:
            target.update_tags(AREA_OR_POINT="Point")
    groups = {
        "PRODUCT_CONTENTS": {
            "LANDSAT_PRODUCT_ID": LANDSAT,
            "PROCESSING_LEVEL": "L2SP",
            **{f"FILE_NAME_BAND_{number}": f"{LANDSAT}_SR_B{number}.TIF" for number in range(2, 6)},
            "FILE_NAME_BAND_ST_B10": f"{LANDSAT}_ST_B10.TIF",
            "FILE_NAME_QUALITY_L1_PIXEL": f"{LANDSAT}_QA_PIXEL.TIF",
            "FILE_NAME_METADATA_ODL": f"{LANDSAT}_MTL.txt",
        },
        "IMAGE_ATTRIBUTES": {
            "SPACECRAFT_ID": "LANDSAT_8",
            "SENSOR_ID": "OLI_TIRS",
            "DATE_ACQUIRED": "2020-07-11",
            "SCENE_CENTER_TIME": "10:10:24.4937980Z",
        },
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {
            f"REFLECTANCE_{kind}_BAND_{number}": value
            for number in range(2, 6)
            for kind, value in (("MULT", "2.75e-05"), ("ADD", "-0.2"))
        },
        "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS": {
            "TEMPERATURE_MULT_BAND_ST_B10": "0.00341802",
            "TEMPERATURE_ADD_BAND_ST_B10": "149.0",
        },
        "LEVEL1_RADIOMETRIC_RESCALING": {
            f"REFLECTANCE_{kind}_BAND_{number}": value
            for number in range(2, 6)
            for kind, value in (("MULT", "2.0000E-05"), ("ADD", "-0.100000"))
        },
    }
    texts = {"txt": _odl(groups), "json": json.dumps({"LANDSAT_METADATA_FILE": groups}), "xml": _xml(groups)}
    for form in metadata:
        (folder / f"{LANDSAT}_MTL.{form}").write_text(texts[form])
    return bands


def _odl(groups):
    lines = ["GROUP = LANDSAT_METADATA_FILE"]
    for group, values in groups.items():
        quoted = {key: value if value[:1] in "-0123456789" else f'"{value}"' for key, value in values.items()}
        inner = [f"    {key} = {value}" for key, value in quoted.items()]
        lines += [f"  GROUP = {group}", *inner, f"  END_GROUP = {group}"]
    return "\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END", ""])


def _xml(groups):
    inner = "".join(
        f"<{group}>{''.join(f'<{key}>{value}</{key}>' for key, value in values.items())}</{group}>"
        for group, values in groups.items()
    )
    return f'<?xml version="1.0" encoding="UTF-8"?><LANDSAT_METADATA_FILE>{inner}</LANDSAT_METADATA_FILE>'


def planet(folder: Path, product="AnalyticMS_SR", mask="udm2"):
    """A PlanetScope scene of four bands (blue, green, red, near infrared), with its usable data mask."""
    values = np.stack([band(f"planet-{number}", 10, 100, 6000) for number in range(4)])
    write(folder / f"{PLANET}_3B_{product}.tif", values, 3, nodata=0)
    unusable = np.zeros(values[0].shape, "uint8")
    unusable[:, 5] = 1
    unusable[:, 6] = 2  # cloud, which has values
    if mask == "udm2":
        write(folder / f"{PLANET}_3B_udm2.tif", np.stack([unusable * 0] * 7 + [unusable]), 3)
    elif mask == "udm":
        write(folder / f"{PLANET}_3B_AnalyticMS_DN_udm.tif", unusable, 3)
    if product == "AnalyticMS":
        planet_metadata(folder / f"{PLANET}_3B_AnalyticMS_metadata.xml", 4, 2e-5)
    return values


def planet_metadata(path: Path, bands, step):
    """Coefficients of PlanetScope bands, multiples of a step."""
    stated = "".join(
        f"<ps:bandSpecificMetadata><ps:bandNumber>{number}</ps:bandNumber>"
        f"<ps:reflectanceCoefficient>{step * number:g}</ps:reflectanceCoefficient></ps:bandSpecificMetadata>"
        for number in range(1, bands + 1)
    )
    path.write_text(
        f'<ps:EarthObservation xmlns:ps="http://schemas.planet.com/ps/v1/planet_product_metadata_geocorrected_level">'
        f"{stated}</ps:EarthObservation>"
    )


def naip(folder: Path):
    """An aerial photograph of four bands, the last of which GDAL takes for transparency."""
    values = np.random.default_rng(4).integers(20, 230, (4, 40, 40)).astype("uint8")
    write(folder / "m_3807708_ne_18_060_20210619.tif", values, 10, photometric="rgb", alpha="yes")
    return values


def item(name, assets, **properties):
    """A STAC item."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "geometry": None,
        "properties": {"datetime": "2024-08-14T10:15:59Z", **properties},
        "links": [],
        "assets": assets,
    }
