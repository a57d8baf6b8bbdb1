"""Make the TLS context of the data plane from the system's or the user's certificates."""

from __future__ import annotations

import functools
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from s3rolefs.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

_WAY_OUT = "correct the path in ca_bundle, AWS_CA_BUNDLE or the profile, whichever names it."


def tls_maker(ca_bundle: str | None) -> Callable[[], ssl.SSLContext]:
    """Return a function that makes the context once, when first asked; callable from any thread.

    `ca_bundle` is a PEM file or a hashed directory (None: the system's own certificates). Raise
    UserError, at once, for one that is missing or unusable.
    """
    if ca_bundle is not None:
        context = _context(ca_bundle)
        return lambda: context
    return functools.cache(lambda: _context(None))


def _context(ca_bundle: str | None) -> ssl.SSLContext:
    if ca_bundle is None:
        return ssl.create_default_context()
    try:
        if Path(ca_bundle).is_dir():
            return ssl.create_default_context(capath=ca_bundle)
        return ssl.create_default_context(cafile=ca_bundle)
    except ssl.SSLError:
        raise UserError(f"The CA bundle {ca_bundle} holds no certificate in PEM form: {_WAY_OUT}") from None
    except OSError as error:
        raise UserError(f"The CA bundle {ca_bundle} cannot be read ({error.strerror}): {_WAY_OUT}") from None
