"""Numbers, bytes and times in words, as pages and the terminal show them."""


def number(value: float) -> str:
    """Three significant digits; from 1,000 on all whole ones."""
    return f"{value:,.0f}" if value >= 999.5 else f"{value:.3g}"


def plural(count: float, noun: str) -> str:
    """A number of things, such as ``1 image`` or ``2 images``."""
    shown = f"{count:g}" if isinstance(count, float) else str(count)
    return f"{shown} {noun}" if count == 1 else f"{shown} {noun}s"


def resources(cpus: float, gpus: float) -> str:
    """CPUs and GPUs, such as ``2 CPUs and 1 GPU``; GPUs are left out where there are none."""
    return plural(cpus, "CPU") + (f" and {plural(gpus, 'GPU')}" if gpus else "")


def size(count: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5:
            return f"{number(count)} {unit}"
        count /= 1000
    return f"{number(count)} PB"


def duration(seconds: float, digits: int = 0) -> str:
    """A time in words; one below a minute in seconds with so many digits."""
    if round(seconds, digits) < 60:
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min {rest:02} s"
