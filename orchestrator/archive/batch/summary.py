"""Summary of a run on an archive: counts by outcome, each failure, and ledger lines that were skipped."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from orchestrator.archive.batch.archive_progress import Progress
from orchestrator.archive.ledger.ledger import Ledger
from orchestrator.archive.ledger.ledger_event import Event
from orchestrator.archive.ledger.ledger_lines import OddLines
from orchestrator.archive.places.workspace import WORKSPACES, earlier_workspaces
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.foundation.model_store import ModelFiles
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.summaries import UpscaleSummary


class Flagged(TypedDict):
    """A scene whose output does not match its source, and in what."""

    file: str
    flags: list[str]


class ArchiveSummary(UpscaleSummary):
    """Result of a run of an archive.

    Beside what every summary holds: the ledger and the run's name in it, failures by class, scenes that do not match
    their source, what killed runs and odd lines left behind, and how many scenes were not tried because of what.
    """

    ledger: str
    run: str
    errors: dict[str, int]
    flagged: list[Flagged]
    leftovers: list[str]
    odd_ledger_lines: int
    odd_ledgers: list[str]
    not_tried: int
    stopped: str | None


@dataclass(frozen=True, slots=True)
class Summary:
    """A run's summary, as ``--json`` prints it.

    Attributes:
        model: The model.
        out: Place of the outputs.
        ledger: The run's ledger.
        settings: Settings for upscaling.
        odd: Lines of ledgers that were passed over.
    """

    model: ModelFiles
    out: Storage
    ledger: Ledger
    settings: SceneSettings
    odd: list[OddLines]

    def of(
        self, ended: list[Event], skipped: int, progress: Progress | None = None, stopped: str | None = None
    ) -> ArchiveSummary:
        """The summary of all scenes that have ended or were finished before, and why a run gave up, if it did."""
        by_status = Counter(event["status"] for event in ended)
        failed = sorted((event for event in ended if event["status"] == "failed"), key=lambda event: str(event["name"]))
        return {
            "model": self.model.where,
            "scale": self.model.architecture.scale,
            "output": self.out.uri,
            "ledger": self.ledger.uri,
            "run": self.ledger.run,
            "written": by_status["ok"],
            "skipped": skipped + (progress.elsewhere if progress else 0),
            "failed": [{"file": e["name"], "error": e["error"], "reason": e["message"]} for e in failed],
            "errors": dict(sorted(Counter(event["error"] for event in failed).items())),
            "flagged": [
                {"file": e["name"], "flags": found["flags"]}
                for e in ended
                if (found := e.get("consistency")) and found["flags"]
            ],
            "notes": [{"file": e["name"], "note": note} for e in ended for note in e.get("notes", [])],
            "leftovers": self._leftovers(),
            "odd_ledger_lines": sum(odd.count for odd in self.odd),
            "odd_ledgers": [str(odd) for odd in self.odd],
            "not_tried": progress.scenes - progress.done if progress else 0,
            "stopped": stopped,
            "megapixels": round(progress.megapixels, 3) if progress else 0.0,
            "seconds": round(progress.seconds, 1) if progress else 0.0,
            "device": self.settings.device,
            "precision": self.settings.precision,
        }

    def _leftovers(self) -> list[str]:
        """Workspaces of killed runs of an earlier version, which carry no marker."""
        if self.out.remote:
            return []
        return [f"{WORKSPACES}/{name}" for name in earlier_workspaces(Path(self.out.path, WORKSPACES))]
