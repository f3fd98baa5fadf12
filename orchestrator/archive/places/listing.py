"""Listing of scenes to upscale: a file, a folder, a prefix or a list, with the output of each.

An output's key is the scene's path below the archive, so that scenes of different folders have different outputs;
``.tif`` is added to other endings. Scenes of a list that would have the same output are found here, before any work.
"""

import hashlib
import posixpath
import stat
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from orchestrator.archive.ledger.ledger import FOLDER
from orchestrator.archive.places.scene_list import Row, key_problem, read_list
from orchestrator.archive.places.workspace import WORKSPACES
from orchestrator.archive.products.find import (
    FoundProduct,
    find_products,
    is_packed,
    may_belong,
    product_of_file,
    scene_name,
)
from orchestrator.archive.products.identity import identity, joined
from orchestrator.archive.products.stac_items import as_product, item_key, read_items
from orchestrator.archive.products.types import Product
from orchestrator.archive.scene.band_map import read_band_map
from orchestrator.archive.scene.types import BandMap, Normalisation, SceneError, SceneSettings
from orchestrator.archive.scene.value_range import read_normalisation
from orchestrator.foundation.buckets.s3 import bucket_and_key, client, error_class
from orchestrator.foundation.file_listing import (
    FileFacts,
    FileListing,
    list_tree,
    matches,
    nothing_found,
    take_out,
    version_on_disk,
)
from orchestrator.foundation.file_types import ALL_INPUTS, LISTS, STAC, TIFF, As, is_tiff, kind_of, suffix_of
from orchestrator.foundation.storage import Storage
from trainables.errors import ImageSetError, UsageError, printable, reason_of

SIDECAR = ".json"
"""Ending of a STAC item's name, after the whole name of its output."""

_HEADS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Scene:
    """One file or product to upscale.

    Attributes:
        name: Its path below the archive, or as a list names it.
        source: Its place, as a URI or an absolute path.
        version: Version of its content: the ETag in a bucket, size and time of change in nanoseconds elsewhere.
        size: Its bytes.
        modified: Time of its last change in seconds since 1970.
        output: The place of its output.
        problem: Class and reason why it cannot even be started; None for all but a few.
        normalisation: Its own normalisation, which a list states; None for that of the run.
        band_map: Its own band map, likewise.
        product: The product that it is; None for a single raster file.
    """

    name: str
    source: str
    version: str
    size: int
    modified: float
    output: str
    problem: tuple[str, str] | None = None
    normalisation: Normalisation | None = None
    band_map: BandMap | None = None
    product: Product | None = None

    def settings(self, settings: SceneSettings) -> SceneSettings:
        """A run's settings with the scene's own."""
        own = {"normalisation": self.normalisation, "band_map": self.band_map}
        stated: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
        if self.normalisation is not None:
            stated["range_from"] = "given"
        return replace(settings, source_name=self.source, **stated)


@dataclass(frozen=True, slots=True)
class Listing:
    """An archive, sorted by name.

    Attributes:
        scenes: Scenes that become a Cloud-Optimised GeoTIFF, with those that cannot be started.
        plain: Further images, which become PNG, with what of them cannot be used, and all that is passed over.
    """

    scenes: list[Scene]
    plain: FileListing

    @property
    def images(self) -> list[str]:
        """Names of further images, which become PNG."""
        return [facts.path for facts in self.plain.files]


def list_archive(
    source: str, target: str, as_: As = "auto", include: Collection[str] = (), exclude: Collection[str] = ()
) -> Listing:
    """Finds every scene and the place of its output.

    Args:
        source: A file, a folder, an ``s3://`` prefix, a product, a STAC item or item collection, or a list of scenes
            (.txt: one a line; .csv: a column ``scene`` and, if wanted, columns ``output`` with the key below
            ``target``, ``normalisation`` and ``band_map``). Relative names in a list start from its folder.
        target: The folder or prefix of the outputs.
        as_: ``auto`` makes scenes of :data:`RASTERS`, ``cog`` of all images, ``png`` of none.
        include: Patterns; if there are any, a name must match one of them. ``*`` matches ``/`` too.
        exclude: Patterns; a name must match none of them.

    Raises:
        UsageError: If there is nothing to upscale, a list is malformed, or outputs would mix with the archive.
    """
    place, out = Storage.at(source), Storage.at(target)
    if place.remote:
        place.check_readable()
    listed = kind_of(place.uri) == "list" and _is_file(place)
    if as_ != "png" and suffix_of(place.uri) in STAC and _is_file(place):
        return _of_items(place, out, include, exclude)
    if not listed:
        return _of_place(place, out, as_, include, exclude)
    found = [scene for scene in _listed(place, out) if matches(scene.name, include, exclude)]
    if not found:
        raise ImageSetError(f"'{place.uri}' holds no images or scenes ({', '.join(sorted(ALL_INPUTS))}).")
    reason = "a plain image in a list; take --as cog, or name its folder instead of the list"
    plain = ("unsupported", reason)
    scenes = [
        scene
        if scene.problem or scene.product or kind_of(scene.name, as_) == "scene"
        else replace(scene, problem=plain)
        for scene in found
    ]
    return Listing(_without_collisions(scenes, out), FileListing())


def output_key(name: str) -> str:
    """The path of a scene's output below the target."""
    return name if is_tiff(name) else f"{name}{TIFF[0]}"


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == WORKSPACES for part in path.parts)
    return kind_of(name) not in ("list", "other") and not hidden


def _is_file(place: Storage) -> bool:
    return place.kind() == "file"


def _of_place(place: Storage, out: Storage, as_: As, include: Collection[str], exclude: Collection[str]) -> Listing:
    """A file, a product, a folder or a prefix."""
    product = product_of_file(PurePosixPath(place.uri).name, place) if as_ != "png" else None
    if product is not None:
        place.check_found()
        _check_apart(place, out)
        name = scene_name(PurePosixPath(place.uri).name, product)
        return Listing([_scene_of_product(name, place.uri, product, out.child(output_key(name)).uri)], FileListing())
    if _is_file(place):
        name = PurePosixPath(place.uri).name
        if not _is_image(name):
            raise ImageSetError(
                f"'{place.uri}' is no image or scene ({', '.join(sorted(ALL_INPUTS | LISTS))}) and by its name no "
                "product (S2?_MSIL2A_….SAFE or .zip, L???_…_MTL.txt or .tar, .vrt, .ntf, STAC .json)."
            )
        scene = _facts_of(name, place.uri, out.child(output_key(name)).uri)
        if scene.problem or kind_of(name, as_) == "scene":
            return Listing([scene], FileListing())
        return Listing([], FileListing([FileFacts(name, scene.size, scene.modified, scene.version)]))
    place.check_found()
    _check_apart(place, out)
    also = may_belong if as_ != "png" else None
    found = list_tree(place, ALL_INPUTS, include, exclude, outputs=out, also=also)
    products: list[Scene] = []
    if also is not None:
        products, found = _products_in(found, place, out, include, exclude)
    scenes = [_scene_of(facts, place, out) for facts in found.files if kind_of(facts.path, as_) == "scene"]
    for file in found.refused:
        if kind_of(file.path, as_) == "scene":
            output = out.child(output_key(file.path)).uri
            scenes.append(_unusable(file.path, place.child(file.path).uri, output, ("unreadable", file.reason)))
    scenes += products
    left = {scene.name for scene in scenes}
    plain = replace(
        found,
        files=[facts for facts in found.files if facts.path not in left],
        refused=[file for file in found.refused if file.path not in left],
    )
    if not scenes and not plain.files:
        raise ImageSetError(nothing_found(place, plain, ALL_INPUTS, "images or scenes"))
    return Listing(_without_collisions(scenes, out), plain)


def _products_in(
    listing: FileListing, place: Storage, out: Storage, include: Collection[str], exclude: Collection[str]
) -> tuple[list[Scene], FileListing]:
    """Products of a listing, and the listing of the other files.

    A product whose name no pattern of ``include`` names is taken apart: its files are scenes if patterns name them.
    """
    products, single = find_products((facts for facts in listing.files if may_belong(facts.path)), place)
    scenes: list[Scene] = []
    used: list[FileFacts] = []
    left_out: list[FileFacts] = []
    for found in products:
        if matches(found.name, include, exclude):
            scenes.append(_scene_in(found, place, out))
            used += found.files
        elif matches(found.name, (), exclude):
            single += found.files
        else:  # by name, with all its files
            left_out += found.files
    taken = {facts.path for facts in used}
    listing = replace(listing, files=[facts for facts in listing.files if facts.path not in taken])
    listing = take_out(listing, left_out, exclude=("*",))
    return scenes, take_out(listing, (f for f in single if f.path not in taken), ALL_INPUTS, include, exclude)


def _scene_in(found: FoundProduct, place: Storage, out: Storage) -> Scene:
    leading = found.product.main or PurePosixPath(found.name).name
    source = found.product.place if not found.product.main else Storage(found.product.place).child(leading).uri
    facts = None
    if place.remote and not is_packed(found.product):  # on a disk, looking again is cheap
        below = found.product.place.removeprefix(place.uri).lstrip("/")
        facts = joined(replace(file, path=file.path.removeprefix(below).lstrip("/")) for file in found.files)
    return _scene_of_product(found.name, source, found.product, out.child(output_key(found.name)).uri, facts)


def _scene_of_product(name: str, source: str, product: Product, output: str, facts: FileFacts | None = None) -> Scene:
    """The scene of a product; one that cannot be looked at has its reason."""
    try:
        facts = facts or identity(product)
    except SceneError as error:
        return _unusable(name, source, output, (error.kind, error.reason), product)
    except (OSError, BotoCoreError, ClientError) as error:
        return _unusable(name, source, output, error_class(error), product)
    return Scene(name, source, facts.version, facts.size, facts.modified, output, product=product)


def _of_items(place: Storage, out: Storage, include: Collection[str], exclude: Collection[str]) -> Listing:
    """Items of a STAC file, each a scene; its output is named by the item."""
    folder = Storage(place.uri.rpartition("/")[0])

    def scene_of(item: dict[str, Any]) -> Scene:
        name, key = item["id"], output_key(item_key(item["id"]))
        if problem := key_problem(key):
            return _refused(out, Row(printable(name)), "unreadable", problem)
        source = f"{place.uri}#{name}"
        return _scene_of_product(name, source, as_product(item, folder.uri), out.child(key).uri)

    items = [item for item in read_items(place) if matches(item["id"], include, exclude)]
    if not items:
        raise ImageSetError(f"None of the STAC items of '{place.uri}' is left by --include and --exclude.")
    with ThreadPoolExecutor(_HEADS_AT_ONCE) as pool:
        return Listing(_without_collisions(pool.map(scene_of, items), out), FileListing())


def _scene_of(facts: FileFacts, place: Storage, out: Storage) -> Scene:
    output = out.child(output_key(facts.path)).uri
    return Scene(facts.path, place.child(facts.path).uri, facts.version, facts.size, facts.modified, output)


def _check_apart(place: Storage, out: Storage) -> None:
    inner, outer = (out.uri, place.uri) if out.remote or place.remote else (_resolved(out), _resolved(place))
    if f"{inner}/".startswith(f"{outer}/"):
        raise UsageError(f"OUTPUT '{out.uri}' must lie outside INPUT '{place.uri}', whose images it would mix with.")


def _resolved(place: Storage) -> str:
    return str(Path(place.path).resolve())


def _listed(place: Storage, out: Storage) -> Iterator[Scene]:
    folder = Storage(place.uri.rpartition("/")[0])
    rows = read_list(place, _facts_of("", place.uri, "").size)
    seen = set()
    with ThreadPoolExecutor(_HEADS_AT_ONCE) as pool:
        for scene in pool.map(lambda row: _scene_of_row(folder, out, row), rows):
            # However it is spelt, a scene that is listed twice is one scene.
            same = (posixpath.normpath(scene.source), scene.output, str((scene.normalisation, scene.band_map)))
            if same not in seen:
                seen.add(same)
                yield scene


def _scene_of_row(folder: Storage, out: Storage, row: Row) -> Scene:
    try:
        return _entry(folder, out, row)
    except Exception as error:  # whatever one row brings about is its own failure
        return _refused(out, row, "unreadable", reason_of(error).rstrip("."))


def _refused(out: Storage, row: Row, kind: str, reason: str) -> Scene:
    """A row that is not worked on; its output gets a place where no output can be, so that it collides with none."""
    mark = hashlib.sha256(f"{row.name}\n{row.key}".encode()).hexdigest()[:16]
    return _unusable(row.name, row.name, out.child(FOLDER, f"refused-{mark}").uri, (kind, reason))


def _entry(folder: Storage, out: Storage, row: Row) -> Scene:
    if row.problem is not None:
        return _refused(out, row, "unreadable", row.problem)
    source = folder.resolve(row.name)
    # A place of its own for what lies anywhere: bucket and key, or the path from the root.
    below = row.name if "://" not in row.name and not row.name.startswith(("/", "~")) else source.path.lstrip("/")
    product = product_of_file(PurePosixPath(row.name).name, source)
    key = output_key(row.key or posixpath.normpath(below if product is None else scene_name(below, product)))
    if product is None and not _is_image(PurePosixPath(row.name).name):
        return _refused(out, row, "unsupported", f"no scene by its name ({', '.join(sorted(ALL_INPUTS))})")
    if problem := key_problem(key):
        return _refused(out, row, "unreadable", problem)
    output = out.child(key).uri
    return replace(
        _scene_of_product(row.name, source.uri, product, output)
        if product
        else _facts_of(row.name, source.uri, output),
        normalisation=read_normalisation(*row.normalisation.split()) if row.normalisation else None,
        band_map=read_band_map(row.band_map) if row.band_map else None,
    )


def _facts_of(name: str, source: str, output: str) -> Scene:
    """Facts of a scene that is in no listing."""
    place = Storage(source)
    try:
        if place.remote:
            bucket, key = bucket_and_key(source)
            head: dict[str, Any] = dict(client().head_object(Bucket=bucket, Key=key))
            version, size = head["ETag"].strip('"'), head["ContentLength"]
            return Scene(name, source, version, size, head["LastModified"].timestamp(), output)
        facts = Path(place.path).stat()
    except (OSError, BotoCoreError, ClientError) as error:
        return _unusable(name, source, output, error_class(error))
    if not stat.S_ISREG(facts.st_mode):
        kind = "a folder" if stat.S_ISDIR(facts.st_mode) else "a special file, which is never opened"
        return _unusable(name, source, output, ("unreadable", f"no regular file but {kind}"))
    return Scene(name, source, version_on_disk(facts), facts.st_size, facts.st_mtime, output)


def _unusable(name: str, source: str, output: str, problem: tuple[str, str], product: Product | None = None) -> Scene:
    """A scene that cannot be started, with class and reason; its content is not known."""
    return Scene(name, source, "", 0, 0.0, output, problem, product=product)


def _without_collisions(scenes: Iterable[Scene], out: Storage) -> list[Scene]:
    """Marks scenes whose outputs, or STAC items, would overwrite each other."""
    same = str if out.remote else str.lower  # as a folder may be
    colliding: dict[str, list[Scene]] = defaultdict(list)
    for scene in scenes:
        colliding[same(scene.output)].append(scene)
    checked = []
    for group in colliding.values():
        for scene in group:
            others = ", ".join(other.name for other in group if other is not scene)
            problem = ("collision", f"its output would overwrite that of {others}") if others else scene.problem
            checked.append(replace(scene, problem=problem))
    return sorted(checked, key=lambda scene: scene.name)
