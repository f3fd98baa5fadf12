"""`rayscale upscale`. Exit codes: 0 all done, 1 nothing could run, 2 some failed, 130 interrupted."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli.options import AsJson, LogFile, Model, PrecisionName, SelfEnsemble, SliceAxis, Verbose
from orchestrator.cli.output import counter, print_json, print_upscaled
from orchestrator.foundation.task_progress import CountCallback
from trainables.errors import RunError, UsageError

if TYPE_CHECKING:
    from orchestrator.archive.batch.archive_progress import Progress
    from orchestrator.archive.batch.summary import ArchiveSummary
    from orchestrator.foundation.summaries import UpscaleSummary

_SOME_FAILED = 2
_SCENES, _IMAGES = "Scenes (GeoTIFF, JPEG 2000)", "Plain images (PNG, JPEG)"


def upscale(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A file, a folder, an s3:// prefix, a product such as .SAFE, a STAC file, or a list of scenes (.txt, "
            ".csv).",
        ),
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
            help="auto: scenes become Cloud-Optimised GeoTIFFs and plain images PNG; cog or png: all files do.",
        ),
    ] = "auto",
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            metavar="PATTERN",
            help="Only files whose path below INPUT matches, such as '*_TCI.tif'; * matches / too. May be repeated.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="PATTERN", help="No files that match, such as '*SCL*'. May be repeated."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU cores to work on; all by default.")] = None,
    device: Annotated[str, typer.Option(help="auto (GPUs where there are any), cpu or cuda.")] = "auto",
    precision: PrecisionName = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write outputs again that exist already.")] = False,
    address: Annotated[
        str | None,
        typer.Option(help="auto or ray://…: work on that Ray cluster.", rich_help_panel=_SCENES),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="GPUs that the cluster at --address may grow to: they are asked for, and used as they join.",
            rich_help_panel=_SCENES,
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Try scenes again that failed before.", rich_help_panel=_SCENES),
    ] = False,
    normalisation: Annotated[
        list[str] | None,
        typer.Option(
            help="Values that mean 0 and 1: auto (for 8 bits 0 and 255, otherwise those of the model's card, or else "
            "of the file's scales or product), dtype, scales, LOW,HIGH (also for DICOM, volumes and arrays), measured "
            "(once, on a sample of the scenes), or by data type, such as uint16=0,10000, which may be repeated.",
            show_default="auto",
            rich_help_panel=_SCENES,
        ),
    ] = None,
    band_map: Annotated[
        str,
        typer.Option(
            help="Bands that the model sees together: auto, singly, or groups such as 1,2,3;4",
            rich_help_panel=_SCENES,
        ),
    ] = "auto",
    bands: Annotated[
        str,
        typer.Option(
            help="Bands to take of products such as Sentinel-2 SAFE or Landsat, such as B04,B03,B02 or red,green,blue; "
            "by default those that suit the model.",
            rich_help_panel=_SCENES,
        ),
    ] = "",
    expand_palette: Annotated[
        bool,
        typer.Option(
            "--expand-palette",
            help="Turn palettes into colours; without it, they are refused.",
            rich_help_panel=_SCENES,
        ),
    ] = False,
    labels: Annotated[
        Literal["auto", "repeat", "refuse", "filter"],
        typer.Option(
            help="Bands of classes, masks and flags, detected by name, file and values: auto repeats their pixels r×r "
            "times, refuse fails such scenes; repeat treats all bands as such, filter none.",
            rich_help_panel=_SCENES,
        ),
    ] = "auto",
    back_project: Annotated[
        Literal["on", "model", "off"],
        typer.Option(
            "--back-project",
            help="Adds the upsampled difference of source and downscaled output, but not to plain images. on: the mean "
            "of the output pixels of each source pixel becomes its value; model: downscaled as the model's training "
            "images were.",
            rich_help_panel=_SCENES,
        ),
    ] = "on",
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Scenes and DICOM files whose outputs are flagged (bias, overshoot, values out of range, …) fail.",
            rich_help_panel=_SCENES,
        ),
    ] = False,
    price_per_hour: Annotated[
        float | None,
        typer.Option(
            "--price-per-hour",
            min=0,
            help="Price of all machines per hour, in any currency; the report and --plan state the cost.",
            rich_help_panel=_SCENES,
        ),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Only estimate hours, price and bytes, from some scenes that are upscaled in part; nothing is kept.",
            rich_help_panel=_SCENES,
        ),
    ] = False,
    max_cost: Annotated[
        float | None,
        typer.Option(
            "--max-cost",
            min=0,
            help="Estimate first, and refuse to begin if the estimated price is higher; needs --price-per-hour.",
            rich_help_panel=_SCENES,
        ),
    ] = None,
    compression: Annotated[
        Literal["zstd", "deflate"],
        typer.Option(help="Compression of outputs; deflate for readers from before 2018.", rich_help_panel=_SCENES),
    ] = "zstd",
    memory_mb: Annotated[
        int,
        typer.Option("--memory-mb", min=1, help="Memory of the network in each worker.", rich_help_panel=_SCENES),
    ] = 1024,
    scene_timeout: Annotated[
        float | None,
        typer.Option(
            "--scene-timeout",
            min=1,
            help="Seconds that a worker may take for a scene or a part of one; by default at least an hour, by size.",
            rich_help_panel=_SCENES,
        ),
    ] = None,
    side_by_side: Annotated[
        bool,
        typer.Option("--side-by-side", help="Share the scenes with other runs on OUTPUT that have this option too."),
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
    slice_axis: SliceAxis = 2,
    self_ensemble: SelfEnsemble = False,
    as_json: AsJson = False,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Upscales images or whole archives with a model; files that cannot be upscaled are named, and the others go on.

    Each scene (.tif, .jp2) becomes a Cloud-Optimised GeoTIFF with a STAC item and a row in OUTPUT/_ledger, in this
    process if they are few and small, or on a local Ray or a cluster. Plain images become PNG: gray stays gray,
    transparency is kept, palette and CMYK turn RGB.
    DICOM images, NIfTI volumes (slice by slice) and .npy arrays keep their format, data type and units.

    Finished outputs are skipped, so the same command continues after an interruption. Exit code: 0 all done, 2 some
    failed, 1 nothing could run.
    """
    from orchestrator.apply.upscale import Settings
    from orchestrator.apply.upscale_inputs import Patterns, plan_inputs, upscale_inputs
    from orchestrator.archive.batch.options import Options
    from orchestrator.archive.products.choose import read_bands
    from orchestrator.archive.scene.band_map import read_band_map
    from orchestrator.archive.scene.types import SceneSettings
    from orchestrator.archive.scene.value_range import read_normalisation

    try:
        chosen_range = read_normalisation(*normalisation or ())
        images = Settings(
            tile=tile,
            threads=threads,
            device=device,
            precision=precision,
            overwrite=overwrite,
            ensemble=self_ensemble,
            value_range=None if isinstance(chosen_range, str) else chosen_range,
            slice_axis=slice_axis,
            back_project=back_project,
            strict=strict,
        )
        scenes = SceneSettings(
            memory_mb=memory_mb,
            precision=precision,
            normalisation=chosen_range,
            band_map=read_band_map(band_map),
            compression=compression,
            bands=read_bands(bands),
            expand_palette=expand_palette,
            labels=labels,
            back_project=back_project,
        )
        options = Options(
            address=address,
            cpus=threads,
            device=device,
            gpus=gpus,
            scratch=scratch,
            overwrite=overwrite,
            retry_failed=retry_failed,
            scene_timeout=scene_timeout,
            side_by_side=side_by_side,
            strict=strict,
            price_per_hour=price_per_hour,
            max_cost=max_cost,
        )
        patterns = Patterns(include or (), exclude or ())
        display = _Display(quiet=as_json)
        if plan:
            from orchestrator.cli.archive_output import print_estimate

            estimate = plan_inputs(model, source, target, as_, scenes, options, display, patterns)
            print_json(estimate) if as_json else print_estimate(estimate)
            return
        summary = upscale_inputs(model, source, target, as_, images, scenes, options, display, patterns)
    except UsageError as error:
        raise RunError(str(error)) from None  # with exit code 1, because 2 means that some failed
    if as_json:
        print_json(summary)
    if summary["stopped"] and not summary["written"] + summary["skipped"]:
        raise typer.Exit(1)
    if summary["failed"] or summary["stopped"]:
        raise typer.Exit(_SOME_FAILED)


class _Display:
    """Shows progress on the terminal and, unless quiet, the result of each kind of inputs."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def images(self) -> AbstractContextManager[CountCallback]:
        return counter("upscaled")

    def scenes(self) -> AbstractContextManager[Callable[["Progress"], None]]:
        from orchestrator.cli.archive_output import watching

        return watching()

    def note(self, text: str) -> None:
        typer.echo(text, err=True)

    def images_done(self, result: "UpscaleSummary") -> None:
        if not self._quiet:
            print_upscaled(result)

    def scenes_done(self, result: "ArchiveSummary") -> None:
        from orchestrator.cli.archive_output import print_archive

        if not self._quiet:
            print_archive(result)
