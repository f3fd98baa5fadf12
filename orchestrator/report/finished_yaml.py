"""The finished model and what `rayscale finetune` needs, as entries of ``best.yaml``."""

from orchestrator.report.schema import DomainReport


def finished_yaml(domain: DomainReport) -> dict[str, object]:
    """Entries of one domain; none in a report of an earlier version, or where nothing is fine-tuned."""
    entry: dict[str, object] = {}
    if (found := domain.finished) is not None and found.steps is not None:
        scores = next((arm for arm in domain.arms if arm.name == "finished"), None)
        entry["finished"] = {
            "steps": found.steps,
            "seeds_averaged": len(found.seeds),
            "trained_on": found.trained_on,
            "test_psnr": scores.psnr if scores else None,
            "confirmed_model": found.confirmed_model,
        }
    if domain.recipe is not None:
        entry["finetune"] = domain.recipe.model_dump(mode="json", exclude_none=True)
    return entry
