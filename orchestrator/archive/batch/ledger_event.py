"""Columns of a ledger's events."""

from typing import Literal, TypedDict

from trainables.metrics.consistency import ConsistencyRecord


class Event(TypedDict, total=False):
    """A line of a ledger, or some of its columns.

    What a run writes has the columns down to ``key``; an outcome those down to ``at`` too; a finished scene those of
    its output, see :class:`orchestrator.archive.scene.types.SceneOutput`.

    Attributes:
        event: ``attempt`` where a scene is about to start, ``death`` where its worker died, ``scene`` at its end.
        run: Name of the run.
        number: Of the event in its run, from 1.
        order: Of the run among all runs on these outputs; 0 of versions that did not number them.
        name: The scene's path below the archive.
        output: Place of its output.
        key: Digest of the source's version, the model and the settings.
        source: Its place.
        version: Version of its content.
        size: Its bytes.
        modified: Time of its last change in seconds since 1970.
        model: Digest of the model.
        settings: Digest of all settings that the output depends on.
        status: How it ended.
        error: Class of its failure.
        message: Reason of its failure, or of a worker's death.
        attempts: How often it was started in this run.
        at: Time of its end, in ISO 8601.
        node: The node that finished it.
        valid_percent: Share of valid image samples.
        output_bytes: Size of the output.
    """

    event: Literal["attempt", "death", "scene"]
    run: str
    number: int
    order: int
    name: str
    output: str
    key: str

    source: str
    version: str
    size: int
    modified: float
    model: str
    settings: str
    status: Literal["ok", "skipped", "failed"]
    error: str
    message: str
    attempts: int
    at: str

    node: str | None
    width: int
    height: int
    bands: int
    dtype: str
    tile: list[int]
    halo: int
    normalisation: str
    band_map: str
    seconds: dict[str, float]
    valid_percent: float
    minimum: list[float | None]
    maximum: list[float | None]
    notes: list[str]
    output_bytes: int
    sha256: str
    consistency: ConsistencyRecord | None
