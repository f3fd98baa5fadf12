"""Failures of single domains: each is recorded with its stage and reason, and the other domains go on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from trainables.errors import PartlyDoneError, RayScaleError, RunError, reason_of


class DomainFailures:
    """Domains that have failed in a run, with the reasons.

    Args:
        domains: All domains of the run.
        log: Logs one line.

    Attributes:
        reasons: Stage and reason by domain.
    """

    def __init__(self, domains: Sequence[str], log: Callable[[str], None]) -> None:
        self._domains, self._log = tuple(domains), log
        self.reasons: dict[str, str] = {}
        self._last: Exception | None = None

    @property
    def going(self) -> tuple[str, ...]:
        """The domains that have not failed."""
        return tuple(domain for domain in self._domains if domain not in self.reasons)

    def add(self, domain: str, reason: str, stage: str) -> None:
        """Records and logs the failure of a domain."""
        self.reasons[domain] = f"{stage}: {reason.rstrip('.')}"
        self._log(f"{stage} {domain}: failed, {reason}")

    @contextmanager
    def leaving_behind(self, domain: str, stage: str) -> Iterator[None]:
        """Records the failure of a domain if the block raises; Ctrl-C passes through."""
        try:
            yield
        except Exception as error:
            self._last = error
            self.add(domain, reason_of(error), stage)

    def check_some_left(self) -> None:
        """Ends the run if all domains have failed.

        Raises:
            RayScaleError: The failure itself if there is only one domain; otherwise an error that names all.
        """
        if self.going:
            return
        if len(self._domains) == 1 and isinstance(self._last, RayScaleError):
            raise self._last
        raise RunError(self._sentence())

    def check_none(self, reported: bool) -> None:
        """Ends a run with an error if domains have failed.

        Raises:
            PartlyDoneError: If there is a report of the other domains.
            RunError: If there is none.
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
