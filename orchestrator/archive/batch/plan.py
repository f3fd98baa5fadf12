"""Plan of a run: scenes to upscale, scenes that are done, and scenes that must not be tried again."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.archive.ledger.ledger import SceneHistory
from orchestrator.archive.ledger.ledger_event import AGAIN, Event
from orchestrator.archive.places.listing import Scene
from orchestrator.archive.places.output_path import OUTSIDE, misplaced

PASSING = frozenset({"transient", "disk", "denied", "memory", "archived", OUTSIDE, "exists", "collision"})
"""Failures of the environment, which the next run may not meet again; all others are the scene's own."""

FLAGGED = "flagged"
"""Class of scenes whose output is flagged, where that makes them failures."""

SUSPECT = 2
"""Attempts without an end, from which on a scene is started after all others, and in a process that it may end."""

DEATHS = 2
"""Workers that may die of a scene before it is set aside."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Model and settings that, with its source, determine an output.

    Attributes:
        model: Digest of the model's files.
        settings: Digest of all settings that the output depends on.
    """

    model: str
    settings: str

    def key(self, scene: Scene) -> str:
        """Key that identifies a finished scene: its content, the model and the settings."""
        kind = None if scene.product is None else scene.product.kind
        own = [value for value in (scene.normalisation, scene.band_map, kind) if value is not None]
        return digest([scene.source, scene.version, self.model, self.settings, *([own] if own else [])])[:16]


@dataclass(frozen=True, slots=True)
class Planned:
    """A scene to upscale, and the number of workers that have died of it so far."""

    scene: Scene
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Work of a run, and the scenes that need none.

    Attributes:
        work: Scenes to upscale: the largest first, so that none is left over at the end; suspects last.
        failed: Outcomes of scenes that are not tried: failed before, or impossible to start.
        new: Those of them that no ledger holds yet.
        skipped: Number of scenes that were finished before.
    """

    work: list[Planned]
    failed: list[Event]
    new: list[Event] = field(default_factory=list)
    skipped: int = 0

    @property
    def rows(self) -> list[Event]:
        """Events for the ledger: new failures, and how many scenes need no row, since an earlier one tells it all."""
        known = len(self.failed) - len(self.new)
        if not self.skipped and not known:
            return self.new
        return [*self.new, {"event": "run", "skipped": self.skipped, "failed_before": known}]


def digest(value: Any) -> str:
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def brief(event: Literal["attempt", "death", "scene"], scene: Scene, recipe: Recipe) -> Event:
    """The columns that every event of a scene has."""
    return {"event": event, "name": scene.name, "output": scene.output, "key": recipe.key(scene)}


def about(scene: Scene, recipe: Recipe) -> Event:
    """The columns that a scene's outcome starts with."""
    return brief("scene", scene, recipe) | {
        "source": scene.source,
        "version": scene.version,
        "size": scene.size,
        "modified": scene.modified,
        "model": recipe.model,
        "settings": recipe.settings,
    }


def make_plan(
    scenes: Iterable[Scene],
    histories: dict[str, SceneHistory],
    existing: dict[str, int],
    recipe: Recipe,
    overwrite: bool = False,
    retry_failed: bool = False,
    out: str | None = None,
    strict: bool = False,
) -> Plan:
    """Sorts scenes by their histories.

    Args:
        scenes: The archive.
        histories: Scene histories from former runs, by output.
        existing: Bytes of every file that is among the outputs, by place.
        recipe: The model and the settings of this run.
        overwrite: True to upscale finished scenes again, and to replace files that no ledger knows.
        retry_failed: True to try scenes again that failed for a reason of their own.
        out: Place of all outputs, if they are to be held to it.
        strict: True to make scenes with flagged outputs failures.
    """
    work: list[tuple[bool, Planned]] = []
    failed: list[Event] = []
    new: list[Event] = []
    skipped = 0
    for scene in scenes:
        before = histories.get(scene.output, SceneHistory())
        same = before.key == recipe.key(scene)
        event = None if (problem := _problem(scene, out)) is None else _failed(*problem)
        if event is None and not overwrite:
            event = _settled(scene, before, existing, recipe, retry_failed, strict)
        if event is not None and event["status"] == "skipped":
            skipped += 1
        elif event is not None:
            failed.append(about(scene, recipe) | event)
            if not _known(before.outcome, failed[-1]):
                new.append(failed[-1])
        else:
            known = same and not (overwrite or retry_failed)
            suspect = same and before.interrupted >= SUSPECT
            work.append((suspect, Planned(scene, before.deaths if known else 0)))
    work.sort(key=lambda item: (item[0], -item[1].scene.size, item[1].scene.name))
    return Plan([planned for _, planned in work], failed, new, skipped)


def _known(outcome: Event | None, failure: Event) -> bool:
    """Returns True if a failure is the scene's last outcome, as the ledger has it, or follows from that alone."""
    if outcome is None or outcome["status"] != "failed":
        return failure["error"] == FLAGGED
    same = (outcome["key"], outcome["error"]) == (failure["key"], failure["error"])
    return same and outcome["message"].removesuffix(AGAIN) == failure["message"].removesuffix(AGAIN)


def _problem(scene: Scene, out: str | None) -> tuple[str, str] | None:
    """Class and reason why a scene must not even be started."""
    if scene.problem is not None or out is None:
        return scene.problem
    reason = misplaced(scene.output, out)
    return None if reason is None else (OUTSIDE, reason)


def _settled(
    scene: Scene,
    before: SceneHistory,
    existing: dict[str, int],
    recipe: Recipe,
    retry_failed: bool,
    strict: bool,
) -> Event | None:
    outcome = before.outcome
    # Once it was found, it stays foreign until an attempt of ours may have replaced it.
    found = outcome is not None and outcome.get("error") == "exists" and not before.interrupted
    if scene.output in existing and (found or not before.key):
        return _failed("exists", "there is a file that no ledger here knows; move it, or replace it by --overwrite")
    if outcome is None:
        if before.key == recipe.key(scene) and before.deaths >= DEATHS and not retry_failed:
            return _failed("crashed", f"{before.deaths} workers died of it; --retry-failed tries again")
        return None
    if outcome["key"] != recipe.key(scene):
        return None
    if outcome["status"] == "ok":
        complete = outcome["output"] == scene.output and existing.get(scene.output) == outcome["output_bytes"]
        compared = outcome.get("consistency")
        flags = compared["flags"] if compared else []
        if complete and strict and flags:
            return _failed(FLAGGED, f"its output of run {outcome['run']} is flagged: {', '.join(flags)}")
        return {"status": "skipped"} if complete else None
    if outcome["error"] in PASSING or retry_failed or (outcome["error"] == FLAGGED and not strict):
        return None
    return _failed(outcome["error"], f"{outcome['message'].removesuffix(AGAIN)}{AGAIN}")


def _failed(error: str, message: str) -> Event:
    return {"status": "failed", "error": error, "message": message, "attempts": 0}
