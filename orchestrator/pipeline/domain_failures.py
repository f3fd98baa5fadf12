"""Domains that a run had to leave behind: each is named with its stage and reason, and the others go on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from trainables.errors import PartlyDoneError, RayScaleError, RunError, reason_of


class DomainFailures:
    """Which domains failed in a run, and why.

    Args:
        domains: All domains of the run.
        say: Prints one line.
    """

    def __init__(self, domains: Sequence[str], say: Callable[[str], None]) -> None:
        self._domains, self._say = tuple(domains), say
        self.reasons: dict[str, str] = {}
        self._last: Exception | None = None

    @property
    def going(self) -> tuple[str, ...]:
        """The domains that have not failed."""
        return tuple(domain for domain in self._domains if domain not in self.reasons)

    def add(self, domain: str, reason: str, stage: str) -> None:
        """Leaves a domain behind."""
        self.reasons[domain] = f"{stage}: {reason.rstrip('.')}"
        self._say(f"{stage} {domain}: failed, {reason}")

    @contextmanager
    def leaving_behind(self, domain: str, stage: str) -> Iterator[None]:
        """Leaves the domain behind if the block fails; Ctrl-C passes."""
        try:
            yield
        except Exception as error:
            self._last = error
            self.add(domain, reason_of(error), stage)

    def check_some_left(self) -> None:
        """Ends the run where no domain is left.

        Raises:
            RayScaleError: The failure itself where there is one domain alone; else all of them.
        """
        if self.going:
            return
        if len(self._domains) == 1 and isinstance(self._last, RayScaleError):
            raise self._last
        raise RunError(self._sentence())

    def check_none(self, reported: bool) -> None:
        """Ends a run that is otherwise done with what is missing.

        Raises:
            PartlyDoneError: If domains failed and there is a report of the others.
            RunError: If domains failed.
        """
        if self.reasons:
            raise (PartlyDoneError if reported else RunError)(self._sentence())

    def _sentence(self) -> str:
        failed = "; ".join(f"{domain}, {reason}" for domain, reason in self.reasons.items())
        others = f" {', '.join(self.going)} went on without." if self.going else ""
        return (
            f"{len(self.reasons)} of {len(self._domains)} domains failed: {failed}.{others} What had finished is kept; "
            "the same command does what is missing."
        )
