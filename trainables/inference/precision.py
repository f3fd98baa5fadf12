"""Number format that convolutions compute in; weights and images stay in 32 bits.

Settings name it, so that torch is imported only where a device is asked.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "float32", "bfloat16"]


def resolve(precision: Precision, device: "torch.device") -> Literal["float32", "bfloat16"]:
    """Resolves ``auto`` for a device: bfloat16 where its hardware multiplies in it, else float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if device.type == "cpu" and _cpu_multiplies_bfloat16() else "float32"


def _cpu_multiplies_bfloat16() -> bool:
    import torch

    flags: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not before torch 2.12
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("bf16"))
