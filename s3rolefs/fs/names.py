"""Say which components of a key can be shown as a file name."""

from __future__ import annotations

from s3rolefs.errors import FileSystemError, Reason

NAME_LIMIT_BYTES = 255
KEY_LIMIT_BYTES = 1024


def is_showable(component: str) -> bool:
    """Tell whether a component of a key can be a file name as it is."""
    return (
        component not in ("", ".", "..")
        and "\0" not in component
        and "/" not in component
        and len(component.encode("utf-8", "surrogatepass")) <= NAME_LIMIT_BYTES
    )


def component_of(name: bytes, prefix: str, *, creating: bool) -> str:
    """Return the component that a file name stands for below `prefix`.

    Creating raises NAME_TOO_LONG (S3 keys hold 1,024 bytes) and NAME_UNREPRESENTABLE (keys are
    UTF-8); a look-up of such a name is NOT_FOUND.
    """
    if len(name) > NAME_LIMIT_BYTES:
        raise FileSystemError(Reason.NAME_TOO_LONG)
    try:
        component = name.decode("utf-8")
    except UnicodeDecodeError:
        reason = Reason.NAME_UNREPRESENTABLE if creating else Reason.NOT_FOUND
        raise FileSystemError(reason, "S3 keys are UTF-8; this name is not") from None
    # One byte is left for the slash of a directory's marker.
    if creating and len(prefix.encode()) + len(name) > KEY_LIMIT_BYTES - 1:
        raise FileSystemError(Reason.NAME_TOO_LONG, "an S3 key holds at most 1,024 bytes")
    return component
