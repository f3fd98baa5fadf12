"""Damaged files of trainings: they are removed, so that a further run does not take them for finished ones."""

from orchestrator.confirm.run_record import FITTED, INTERPOLATION, RUN
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.vocabulary import INTERPOLATED
from trainables.network.model_files import CARD, WEIGHTS


def set_aside(home: Storage, path: str, opened: object) -> None:
    """Deletes what a damaged file makes worthless, or restores the record of the opened test split.

    Args:
        home: The experiment's folder.
        path: The damaged file, below it.
        opened: That record, as the stage's record has it.
    """
    place = home.child(path)
    if "/test-opened/" in path:
        if isinstance(opened, dict):
            place.write_json(opened)
        return
    folder = Storage(place.uri.rpartition("/")[0])
    own = folder.uri.rpartition("/")[2]
    redone = [place] if "/runs-" in path or path.endswith(f"/{FITTED}") else []
    if own.startswith(f"{INTERPOLATED}-seed"):
        redone.append(Storage(folder.uri.rpartition("/")[0]).child(INTERPOLATION))
    elif place.uri.rpartition("/")[2] in (WEIGHTS, CARD):
        redone.append(folder.child(RUN))
    elif "/classical-" in path:
        redone.append(folder.child(FITTED))
    for record_file in redone:
        if record_file.exists():
            record_file.delete()
