"""Version of a product: it changes with any of its files."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.archive.products.find import is_packed, is_part, scene_start
from orchestrator.archive.products.members import files_beginning, parse_xml, resolved
from orchestrator.archive.products.stac_items import reference
from orchestrator.archive.products.types import Product, unreadable
from orchestrator.foundation.buckets.s3 import facts_of
from orchestrator.foundation.file_listing import FileFacts
from orchestrator.foundation.storage import Storage


def identity(product: Product) -> FileFacts:
    """Version, bytes and last change of a product as its files are now; the path means nothing.

    Raises:
        SceneError: ``unreadable``, if there is no such product.
        OSError: If its storage cannot be read.
    """
    if is_packed(product):
        files = [_facts(Storage(product.place))]
        if product.kind == "vrt" and not Storage(product.place).remote:
            files += [_facts(Storage(str(path))) for path in _sources(Path(product.place)) if path.is_file()]
        return joined(files) if len(files) > 1 else files[0]
    if product.kind == "stac":
        return joined(_of_item(product))
    start, place = scene_start(product), Storage(product.place)
    listed = files_beginning(place, start) if start else place.files()
    found = [facts for facts in listed if is_part(product, facts.path)]
    if not found:
        raise unreadable("There is no such product, or its folder is empty.")
    return joined(found)


def joined(files: Iterable[FileFacts]) -> FileFacts:
    """One version, size and time of several files."""
    known = sorted(files, key=lambda facts: facts.path)
    listed = [[facts.path, facts.version, facts.size] for facts in known]
    digest = hashlib.sha256(json.dumps(listed).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return FileFacts("", sum(facts.size for facts in known), max(facts.modified for facts in known), digest)


def _facts(place: Storage) -> FileFacts:
    if place.remote:
        found = facts_of(place.uri)
        if found is None:
            raise unreadable("There is no such file.")
        return FileFacts(place.uri, found.size, found.modified, found.version)
    path = Path(place.path)
    return FileFacts.on_disk(path.name, path.stat())


def _of_item(product: Product) -> Iterator[FileFacts]:
    """The item itself, and those of its assets that can be looked at."""
    item: dict[str, Any] = json.loads(product.item)
    yield FileFacts("", len(product.item), 0.0, hashlib.sha256(product.item.encode()).hexdigest())
    for asset in item["assets"].values():
        followed = reference(str(asset["href"]))
        if followed is not None:
            place = resolved(Storage(product.place), followed)
            if place.remote or Path(place.path).is_file():
                yield _facts(place)


def _sources(vrt: Path) -> Iterator[Path]:
    """Files that a VRT names."""
    for element in parse_xml(vrt.read_bytes(), vrt.name).iter():
        if element.tag in ("SourceFilename", "SourceDataset") and (text := (element.text or "").strip()):
            yield vrt.parent / text if element.get("relativeToVRT") == "1" else Path(text)
