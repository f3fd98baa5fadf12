"""Valid places of an output: below OUTPUT, not among RayScale's own files, and behind no link that leads elsewhere."""

from pathlib import Path, PurePosixPath

from orchestrator.foundation.file_listing import OWN_FOLDERS

OUTSIDE = "outside"
"""Class of the failure of a scene whose output may not be written at its place."""


def misplaced(output: str, out: str) -> str | None:
    """Returns the reason why an output must not be written at its place.

    Args:
        output: Place of the output, an absolute path or an ``s3://`` URI.
        out: Place of all outputs.

    Returns:
        The reason; None where it may be written.
    """
    base = out.rstrip("/") + "/"
    parts = output.removeprefix(base).split("/")
    if not output.startswith(base) or ".." in parts or not parts[-1]:
        return f"its output '{output}' would lie outside OUTPUT; give it another name"
    if parts[0].casefold() in OWN_FOLDERS:
        return (
            f"its output '{output}' would lie in '{parts[0]}', where RayScale keeps its own files; give it another name"
        )
    if not out.startswith("s3://"):
        return _behind_link(Path(output).parent, Path(out), output)
    return None


def _behind_link(folder: Path, out: Path, output: str) -> str | None:
    try:
        inner = folder.resolve().relative_to(out.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links; not below it
        return f"a link on the way to its output '{output}' leads out of OUTPUT; remove the link"
    if inner.parts and PurePosixPath(inner).parts[0].casefold() in OWN_FOLDERS:
        return f"a link on the way to its output '{output}' leads to RayScale's own files; remove the link"
    return None
