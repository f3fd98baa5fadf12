"""One kind of error for whatever is wrong with an image file."""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.archive.scene.types import SceneError
from trainables.errors import UnreadableImageError, UsageError


@contextmanager
def one_reason() -> Iterator[None]:
    """Turns all that reading a file raises into one short reason.

    Raises:
        UnreadableImageError: For any of these errors but a wrong argument.
    """
    try:
        yield
    except (UnreadableImageError, UsageError):
        raise
    except SceneError as error:
        raise UnreadableImageError(error.reason[:1].lower() + error.reason[1:].rstrip(".")) from None
    except MemoryError:
        raise UnreadableImageError("too little memory is free to decode it; cut it into pieces") from None
    except OSError as error:
        raise UnreadableImageError(f"it cannot be read: {error.strerror or type(error).__name__}") from None
    except Exception as error:  # decoders raise anything at all on damaged bytes
        raise UnreadableImageError(f"its header or data are damaged ({type(error).__name__})") from None
