"""`rayscale upscale`. Exit codes: 0 all done, 1 nothing could run, 2 some failed, 130 interrupted."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, cast

import typer

from orchestrator.cli.options import AsJson, Model, PrecisionName, SelfEnsemble
from orchestrator.cli.output import counter, print_json, print_upscaled
from trainables.errors import RunError, UsageError

_SOME_FAILED = 2
_PICTURES = (".png", ".jpg", ".jpeg")
_FILES = (*_PICTURES, ".dcm", ".tif", ".tiff")
_SCENES, _IMAGES = "Scenes (GeoTIFF, JPEG 2000)", "Plain images (PNG, JPEG)"


def upscale(
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="A file, a folder, an s3:// prefix, or a list of scenes (.txt or .csv)."),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT",
            help="A folder or s3:// prefix, which mirrors INPUT's names; for one plain image also a .png or .jpg path.",
        ),
    ],
    model: Model,
    as_: Annotated[
        Literal["auto", "cog", "png"],
        typer.Option(
            "--as",
            help="auto: scenes become Cloud-Optimised GeoTIFFs and plain images PNG; cog or png: all become that.",
        ),
    ] = "auto",
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            metavar="PATTERN",
            help="Only what matches, by its path below INPUT, such as '*_TCI.tif'; * matches / too. May be repeated.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="PATTERN", help="Nothing that matches, such as '*SCL*'. May be repeated."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU cores to work on; all by default.")] = None,
    device: Annotated[str, typer.Option(help="auto (GPUs where there are any), cpu or cuda.")] = "auto",
    precision: PrecisionName = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make outputs again that are there already.")] = False,
    address: Annotated[
        str | None,
        typer.Option(help="auto or ray://…: work on that Ray cluster.", rich_help_panel=_SCENES),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Try scenes again that failed before.", rich_help_panel=_SCENES),
    ] = False,
    normalisation: Annotated[
        str,
        typer.Option(
            help="Which values mean 0 and 1: auto (0 and 255, else the model's card, else the file's scales), dtype, "
            "scales, or LOW,HIGH.",
            rich_help_panel=_SCENES,
        ),
    ] = "auto",
    band_map: Annotated[
        str,
        typer.Option(
            help="Bands that the model sees together: auto, singly, or groups such as 1,2,3;4",
            rich_help_panel=_SCENES,
        ),
    ] = "auto",
    expand_palette: Annotated[
        bool,
        typer.Option("--expand-palette", help="Turn palettes into colours; else refused.", rich_help_panel=_SCENES),
    ] = False,
    labels: Annotated[
        Literal["auto", "repeat", "refuse", "filter"],
        typer.Option(
            help="Classes, masks and flags, known by name, file and values: auto repeats each value r times, refuse "
            "refuses them; repeat takes all scenes for such, filter none.",
            rich_help_panel=_SCENES,
        ),
    ] = "auto",
    compression: Annotated[
        Literal["zstd", "deflate"],
        typer.Option(help="Of outputs; deflate for readers from before 2018.", rich_help_panel=_SCENES),
    ] = "zstd",
    memory_mb: Annotated[
        int,
        typer.Option("--memory-mb", min=1, help="The network's memory, for each worker.", rich_help_panel=_SCENES),
    ] = 1024,
    scene_timeout: Annotated[
        float | None,
        typer.Option(
            "--scene-timeout",
            min=1,
            help="Seconds that a worker may take for a scene, or its part of one; by default an hour and more by size.",
            rich_help_panel=_SCENES,
        ),
    ] = None,
    side_by_side: Annotated[
        bool,
        typer.Option("--side-by-side", help="Work beside another run on OUTPUT, for other scenes."),
    ] = False,
    scratch: Annotated[
        str | None,
        typer.Option(
            help="Folder for work in progress, on each node; by default below OUTPUT, or the temporary folder for S3.",
            rich_help_panel=_SCENES,
        ),
    ] = None,
    tile: Annotated[
        int,
        typer.Option(min=16, help="Largest side of a tile; less takes less memory.", rich_help_panel=_IMAGES),
    ] = 256,
    self_ensemble: SelfEnsemble = False,
    as_json: AsJson = False,
) -> None:
    """Upscales images or whole archives with a model; what cannot be upscaled is named and stops nothing.

    Scenes (.tif, .jp2) each become one Cloud-Optimised GeoTIFF with a STAC item, on a Ray of our own or a cluster, with
    a row in OUTPUT/_ledger. Plain images become PNG: gray stays gray, transparency is kept, palette and CMYK turn RGB.

    What is finished is skipped, so the same command goes on after an interruption. Exit code: 0 all done, 2 some
    failed, 1 nothing could run.
    """
    from orchestrator.apply.upscale import Settings
    from orchestrator.archive.batch.run import Options
    from orchestrator.archive.scene.types import SceneSettings

    try:
        images = Settings(
            tile=tile, threads=threads, device=device, precision=precision, overwrite=overwrite, ensemble=self_ensemble
        )
        scenes = SceneSettings(
            memory_mb=memory_mb,
            precision=precision,
            normalisation=cast(Any, _normalisation(normalisation)),
            band_map=cast(Any, _band_map(band_map)),
            compression=compression,
            expand_palette=expand_palette,
            labels=labels,
        )
        options = Options(
            address=address,
            cpus=threads,
            device=device,
            scratch=scratch,
            overwrite=overwrite,
            retry_failed=retry_failed,
            scene_timeout=scene_timeout,
            side_by_side=side_by_side,
        )
        patterns = {"include": include or [], "exclude": exclude or []}
        told = _upscaled(model, source, target, as_, images, scenes, options, patterns, as_json)
    except UsageError as error:
        raise RunError(str(error)) from None  # whose exit code is 1: 2 says that some failed
    if as_json:
        print_json(told)
    if told["stopped"] and not told["written"] + told["skipped"]:
        raise typer.Exit(1)
    if told["failed"] or told["stopped"]:
        raise typer.Exit(_SOME_FAILED)


def _upscaled(
    model: str,
    source: str,
    target: str,
    as_: Any,
    images: Any,
    scenes: Any,
    options: Any,
    patterns: dict[str, list[str]],
    quiet: bool,
) -> dict[str, Any]:
    """Plain images by themselves, scenes on Ray; a folder may hold both."""
    from orchestrator.apply.upscale import upscale_images
    from orchestrator.archive.batch.listing import list_archive
    from orchestrator.archive.batch.output_lock import only_run
    from orchestrator.archive.batch.run import upscale_archive
    from orchestrator.cli.archive_output import print_archive, watching
    from orchestrator.foundation.storage import Storage

    pictures = as_ == "png" or PurePosixPath(target).suffix.lower() in _PICTURES
    listing = None if pictures else list_archive(source, target, as_, **patterns)
    told: list[dict[str, Any]] = []
    one_file = PurePosixPath(target).suffix.lower() in _FILES
    nothing = nullcontext[Callable[[], None]](lambda: None)
    with nothing if one_file else only_run(Storage.at(target), options.side_by_side) as check:

        def checked(show: Callable[..., None]) -> Callable[..., None]:
            def report(*progress: Any) -> None:
                check()
                show(*progress)

            return report

        if listing is None or not listing.scenes or listing.images:
            mixed = listing is not None and bool(listing.scenes)
            with counter("upscaled") as tell:
                plain = listing.plain if listing is not None and mixed else None
                told.append(upscale_images(model, source, target, images, checked(tell), plain, **patterns))
            _unless(quiet, print_upscaled, told[-1])
        if listing is not None and listing.scenes:
            if images.ensemble:
                raise UsageError("--self-ensemble is for plain images; scenes are upscaled once.")
            with watching() as show:
                told.append(upscale_archive(model, listing.scenes, target, scenes, options, checked(show)))
            if not listing.images:  # else what was found beside the scenes is in the report on images
                refused = [{"file": o.path, "error": "unreadable", "reason": o.reason} for o in listing.plain.refused]
                told[-1]["failed"] = [*refused, *told[-1]["failed"]]
                told[-1]["passed_over"] = listing.plain.report()
            _unless(quiet, print_archive, told[-1])
    return _merged(told)


def _unless(quiet: bool, show: Callable[[Any], None], told: Any) -> None:
    if not quiet:
        show(told)


def _merged(told: list[dict[str, Any]]) -> dict[str, Any]:
    """One summary of plain images and scenes; the scenes' own facts come last."""
    merged: dict[str, Any] = {"stopped": None}
    for one in told:
        merged |= one
    for count in ("written", "skipped", "megapixels", "seconds"):
        merged[count] = round(sum(one[count] for one in told), 3)
    for entries in ("failed", "notes"):
        merged[entries] = [entry for one in told for entry in one[entries]]
    return merged


def _normalisation(told: str) -> str | tuple[float, float]:
    if told in ("auto", "dtype", "scales"):
        return told
    try:
        low, high = (float(value) for value in told.split(","))
    except ValueError:
        raise UsageError(f"--normalisation is auto, dtype, scales or LOW,HIGH, found '{told}'.") from None
    return low, high


def _band_map(told: str) -> str | tuple[tuple[int, ...], ...]:
    if told in ("auto", "singly"):
        return told
    try:
        return tuple(tuple(int(band) for band in group.split(",")) for group in told.split(";"))
    except ValueError:
        raise UsageError(f"--band-map is auto, singly or groups such as 1,2,3;4, found '{told}'.") from None
