"""Libraries beyond the base installation: imported where they are asked for, or the error names what installs them."""

from __future__ import annotations

import importlib
from typing import Any


def require(package: str, wanted_by: str, extra: str | None = None) -> Any:
    """The imported package.

    wanted_by: what asks for it, as the user wrote it. extra: the extra that brings it; None where the extra has the
    package's name.  Raises UserError when it is missing or cannot be imported.
    """
    from charter.errors import UserError

    try:
        return importlib.import_module(package)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package
        reason = "which is not installed" if missing else f"which cannot be imported ({error})"
        raise UserError(
            f"{wanted_by} needs the package {package}, {reason}. Install it with "
            f"`pip install 'charter[{extra or package}]'`, or leave the option out."
        ) from None
