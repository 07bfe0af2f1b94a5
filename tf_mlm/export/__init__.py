"""Export as one SavedModel, checked and warmed up. `tf_mlm.export` is also the function that does it."""

from __future__ import annotations

import sys
import types
from typing import Any


class _Export(types.ModuleType):
    """This package, callable: `tf_mlm.export(model, base_path)` works whoever has imported what before."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from tf_mlm.export.saved_model import export

        return export(*args, **kwargs)


sys.modules[__name__].__class__ = _Export
