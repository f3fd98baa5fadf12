"""The certificate of a training: digests of all that decides its result, as the training loop received it.

A trial and its confirmation must have been trained alike but for the seed. Their certificates say whether they were: a
search whose settings do not reach the training gives scores that look right and mean nothing.
"""

from typing import Annotated

from pydantic import Field

from orchestrator.foundation.record import Record
from orchestrator.foundation.stage_record import fingerprint
from trainables.loops.received import Received

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class Certificate(Record):
    """Digests of what a training received, by part, and its seed.

    A setting that a later version adds must leave the digests as they are where it has the value of before.

    Attributes:
        configuration: Learning rate, λ, the weights that train, and the network's shape.
        method: Method of transfer.
        budget: Steps, patches per step and evaluations.
        patches: Degradation, scale and settings of the patches.
        images: The domain's shards.
        source: Initial weights.
        seed: Seed of all that is random.
    """

    configuration: _Digest
    method: _Digest
    budget: _Digest
    patches: _Digest
    images: _Digest
    source: _Digest
    seed: int

    def unlike(self, other: "Certificate") -> list[str]:
        """Names of the parts that differ, the seed apart."""
        parts = [name for name in type(self).model_fields if name != "seed"]
        return [name for name in parts if getattr(self, name) != getattr(other, name)]


def certificate_of(received: Received, shards_digest: str, splits: tuple[str, ...] = ("train",)) -> Certificate:
    """The certificate of a training on those splits of shards of that digest."""
    return Certificate(
        configuration=fingerprint(received.configuration),
        method=fingerprint(received.method),
        budget=fingerprint(received.budget),
        patches=fingerprint(received.patches),
        images=fingerprint(shards_digest, *([] if splits == ("train",) else splits)),
        source=received.start,
        seed=received.seed,
    )
