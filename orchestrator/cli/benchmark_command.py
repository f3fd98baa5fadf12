"""`rayscale benchmark`: a published benchmark on one's own copy of its images."""

from typing import Annotated

import typer

from orchestrator.cli.options import AsJson, LogFile, PrecisionName, SelfEnsemble, Verbose
from orchestrator.cli.output import counter, print_json


def benchmark(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="realsr, drealsr, sen2venus, opensr-test, super, fastmri, ixi, div2k, set5, set14, bsd100 or "
            "urban100.",
        ),
    ],
    data: Annotated[str, typer.Option(help="Folder of the data set, as its home distributes it.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="Packaged model, folder or s3:// prefix, scored beside bicubic. May be repeated."),
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="Scale factor; that of the models, or the benchmark's largest, by default.")
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Part to score, such as a site or a compression; all by default. May be repeated."),
    ] = None,
    precision: PrecisionName = "auto",
    self_ensemble: SelfEnsemble = False,
    as_json: AsJson = False,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Scores bicubic and models by a published protocol, beside the published results and their sources.

    Published results are shown only if all test images are there and our bicubic is within 0.05 dB of the published
    one; otherwise the exit code is 1.
    """
    from orchestrator.cli.benchmark_output import print_benchmark
    from orchestrator.protocols.all_protocols import find_protocol
    from orchestrator.protocols.run import run_benchmark
    from trainables.errors import RunError

    protocol = find_protocol(name)
    with counter("scored", unit="pair") as report_progress:
        result = run_benchmark(
            protocol, data, model or (), scale, part or (), self_ensemble, precision, report_progress
        )
    if as_json:
        print_json(result)
    else:
        print_benchmark(result)
    if result["refusal"]:
        raise RunError(result["refusal"])
