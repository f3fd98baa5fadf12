"""All benchmarks by name."""

from orchestrator.protocols.camera_sets import DREALSR, REALSR, SUPER
from orchestrator.protocols.classic_sets import BSD100, DIV2K, SET5, SET14, URBAN100
from orchestrator.protocols.mri_sets import FASTMRI, IXI
from orchestrator.protocols.protocol import Protocol
from orchestrator.protocols.satellite_sets import OPENSR_TEST, SEN2VENUS
from trainables.errors import UsageError, suggestion

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        REALSR,
        DREALSR,
        SEN2VENUS,
        OPENSR_TEST,
        SUPER,
        FASTMRI,
        IXI,
        DIV2K,
        SET5,
        SET14,
        BSD100,
        URBAN100,
    )
}


def find_protocol(name: str) -> Protocol:
    """The benchmark of a name.

    Raises:
        UsageError: If there is none.
    """
    if name not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise UsageError(f"There is no benchmark '{name}'; known are {known}.{suggestion(name, PROTOCOLS)}")
    return PROTOCOLS[name]
