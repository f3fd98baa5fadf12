"""`rayscale evaluate`, `adapt`, `finetune` and `export`: commands on one model, without an experiment."""

from typing import Annotated, Literal

import typer

from orchestrator.cli.options import (
    AsJson,
    BandNames,
    ChipSide,
    LogFile,
    Model,
    PrecisionName,
    SelfEnsemble,
    SliceAxis,
    ValueRangeText,
    Verbose,
)
from orchestrator.cli.output import (
    counter,
    print_adaptation,
    print_evaluation,
    print_export,
    print_finetuning,
    print_json,
)


def evaluate(
    model: Model,
    images: Annotated[
        list[str], typer.Option(help="Folder or s3:// prefix of HR images; give it again for further sets.")
    ],
    space: Annotated[
        str | None,
        typer.Option(help="Search space whose degradation makes the LR images; the model's own by default."),
    ] = None,
    precision: PrecisionName = "auto",
    self_ensemble: SelfEnsemble = False,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Score bilinear and Lanczos interpolation beside bicubic.")
    ] = False,
    lr: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder or prefix of LR images named as the HR ones, for each --images; by default made from HR."
        ),
    ] = None,
    normalisation: Annotated[
        str,
        typer.Option(
            help="GeoTIFF values that mean black and white: LOW,HIGH, scales (the file's own), dtype (its limits) or "
            "auto (uint8: 0,255; otherwise the range in the model's card, or else of the file's scales or product)."
        ),
    ] = "auto",
    band_map: Annotated[
        str,
        typer.Option(help="GeoTIFF bands that the model sees together: auto, singly, or groups such as 1,2,3;4."),
    ] = "auto",
    lpips: Annotated[
        bool,
        typer.Option("--lpips", help="Compare plain images by LPIPS too, with torchvision's AlexNet."),
    ] = False,
    back_project: Annotated[
        Literal["on", "model", "off"],
        typer.Option("--back-project", help="As in upscale; by default as LR images are made. Not for plain images."),
    ] = "model",
    chip: ChipSide = 1024,
    slice_axis: SliceAxis = 2,
    as_json: AsJson = False,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Scores a model and bicubic on your HR images, from which LR images are made by degradation.

    PSNR and SSIM are on luma (BT.601, studio range), or the single channel of gray images, without a border of r
    pixels.

    DICOM, NIfTI, .npy and 16-bit pictures are scored with a model whose card states a value range: each band on it.

    GeoTIFF scenes are compared band by band in their own depth, where they have values, also by spatial correlation
    (SCC), spectral angle (SAM) and ERGAS.
    """
    from orchestrator.archive.scene.band_map import read_band_map
    from orchestrator.archive.scene.value_range import read_normalisation

    scene_options = read_normalisation(normalisation), read_band_map(band_map)
    _check_there(model, *images, *(lr or ()))
    from orchestrator.apply.evaluation.evaluate import evaluate_model

    with counter("scored") as report_progress:
        evaluation = evaluate_model(
            model,
            images,
            space,
            self_ensemble,
            precision,
            baselines,
            lr or (),
            *scene_options,
            lpips,
            report_progress,
            chip,
            slice_axis,
            back_project,
        )
    if as_json:
        print_json(evaluation)
    else:
        print_evaluation(evaluation)


def adapt(
    images: Annotated[
        str, typer.Argument(metavar="LR_IMAGES", help="Folder or s3:// prefix of images like those to be upscaled.")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder or s3:// prefix of the adapted model.")],
    model: Model,
    space: Annotated[str, typer.Option(help="Search space whose degradation the images went through.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of 8 patches.")] = 200,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-4,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the patches.")] = 0,
    scenes: Annotated[Literal["file", "folder"], typer.Option(help="Whether a scene is a file or a folder.")] = "file",
    keep: Annotated[bool, typer.Option("--keep", help="Write the model even if it is no better.")] = False,
    value_range: ValueRangeText = None,
    bands: BandNames = None,
    chip: ChipSide = 256,
    slice_axis: SliceAxis = 2,
    as_json: AsJson = False,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Adapts a model to LR images without HR counterparts; exit code 1 if it is no better and nothing is written.

    The images serve as HR: they are degraded once more, and the model learns to undo that. Some images are held out to
    compare the adapted model with the original one. Where a value range is stated, they may have any depth and bands,
    and the adapted model's card states both.
    """
    _check_there(model, images)
    from orchestrator.apply.adapt import Settings, adapt_model
    from orchestrator.image_sets.deep_reading import read_bands, read_value_range

    settings = Settings(
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        scenes=scenes,
        keep=keep,
        value_range=read_value_range(value_range),
        bands=read_bands(bands),
        chip=chip,
        slice_axis=slice_axis,
    )
    with counter("done", unit="step") as report_progress:
        result = adapt_model(images, out, model, space, settings, report_progress)
    if as_json:
        print_json(result)
    else:
        print_adaptation(result, images)
    if not result["written"]:
        raise typer.Exit(1)


def finetune(
    best: Annotated[str, typer.Argument(metavar="BEST.yaml", help="best.yaml in the report of an experiment.")],
    images: Annotated[
        str, typer.Argument(metavar="IMAGES", help="Folder or s3:// prefix of HR images of that domain.")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder or s3:// prefix of the fine-tuned model.")],
    domain: Annotated[str | None, typer.Option(help="Domain of the file; needed where it holds several.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Source model, as in `rayscale evaluate`; the experiment's by default.")
    ] = None,
    lr: Annotated[
        str | None, typer.Option(help="Folder or prefix of the LR images, where the domain's images are pairs.")
    ] = None,
    scenes: Annotated[Literal["file", "folder"], typer.Option(help="Whether a scene is a file or a folder.")] = "file",
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the patches.")] = 0,
    as_json: AsJson = False,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Fine-tunes a model to other images by the best configuration and steps of an experiment, without a search.

    A fifth of the scenes is held out to compare the model with the source model.
    """
    _check_there(model, images, *([] if lr is None else [lr]))
    from orchestrator.finish.finetune_images import Settings, finetune_images

    settings = Settings(domain=domain, model=model, lr=lr, scenes=scenes, seed=seed)
    with counter("done", unit="step") as report_progress:
        result = finetune_images(best, images, out, settings, report_progress)
    if as_json:
        print_json(result)
    else:
        print_finetuning(result, images)


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A packaged model (base-x2, base-x4), a folder or an s3:// prefix; see `upscale`."
        ),
    ],
    to: Annotated[Literal["onnx"], typer.Option(help="Format of the file.")] = "onnx",
    out: Annotated[
        str | None, typer.Option(help="The .onnx file; by default one of the model's name in the current folder.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    as_json: AsJson = False,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Writes a model as an ONNX file for other programs, once its output is found to be that of torch.

    The file takes any batch, height and width. Its metadata hold the model's card, the halo that tiles need, the
    largest difference from torch, and the latency with ONNX Runtime and torch on this machine.
    """
    from orchestrator.foundation.model_store import find_model_files

    files = find_model_files(model)
    from orchestrator.apply.export import export_model

    result = export_model(files.unpacked(), out, to, overwrite)
    if as_json:
        print_json(result)
    else:
        print_export(result)


def _check_there(model: str | None, *folders: str) -> None:
    """Refuses a model or folder that is not there, before PyTorch is imported, which takes seconds."""
    from orchestrator.foundation.model_store import check_there
    from orchestrator.foundation.storage import Storage

    if model is not None:
        check_there(model)
    for folder in folders:
        Storage.at(folder).check_readable()
