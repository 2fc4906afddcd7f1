"""Registers the layers with Keras once TensorFlow is there, so that Keras finds them in files.

`import keras_layers` does not start TensorFlow, and a layer is registered where it is defined. The
modules of the layers are therefore imported right after TensorFlow is, whoever imports it.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Callable, Optional, Sequence


class AfterTensorFlow:
    """Finds TensorFlow and our modules, and calls `register` when the first of them is loaded.

    One of ours begins with the import of TensorFlow; the others can import it only when it is
    loaded itself, hence the depth.

    Args:
        package: Name of our package.
        register: Imports the modules of all layers.
    """

    def __init__(self, package: str, register: Callable[[], None]):
        self.prefix, self.register, self.depth = f"{package}.", register, 0

    def find_spec(
        self, name: str, path: Optional[Sequence[str]] = None, target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Finds a module as Python would, see `importlib.abc.MetaPathFinder`."""
        if name != "tensorflow" and not name.startswith(self.prefix):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        load = loader.exec_module

        def load_and_register(module: ModuleType) -> None:
            self.depth += 1
            try:
                load(module)
            finally:
                self.depth -= 1
            if not self.depth and "tensorflow" in sys.modules and self in sys.meta_path:
                sys.meta_path.remove(self)
                self.register()

        loader.exec_module = load_and_register
        return spec
