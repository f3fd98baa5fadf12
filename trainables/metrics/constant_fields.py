"""Constant fields through a network: how far they come back from the value that they had."""

import torch

from trainables.network.network import SuperResolutionNet

LIMIT = 0.002
"""Deviation, as a share of the range, above which a network is said to change constant fields."""
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Values of the fields on the network's scale."""
_CORE = 8


@torch.inference_mode()
def constant_field_error(net: SuperResolutionNet) -> float:
    """Mean deviation, over pixels and bands, of the field that comes back worst; its sign says whether it is too dark.

    Borders, which a network pads with zeros, are left out.
    """
    radius, scale = net.receptive_radius(), net.architecture.scale
    side, edge = _CORE + 2 * radius, radius * scale
    place = next(net.parameters()).device
    errors = []
    for level in LEVELS:
        field = torch.full((1, net.architecture.channels, side, side), level, device=place)
        errors.append(float(net(field)[..., edge:-edge, edge:-edge].double().mean()) - level)
    return max(errors, key=abs)


def constant_field_sentence(error: float | None) -> str | None:
    """The deviation in words if it is beyond :data:`LIMIT`; None if it is not, or is not known."""
    if error is None or abs(error) <= LIMIT:
        return None
    return (
        f"Constant fields come back up to {abs(error):.2%} of the range too {'bright' if error > 0 else 'dark'} "
        f"(limit {LIMIT:.1%}); `rayscale upscale` corrects that by back-projection, other uses of the model do not."
    )
