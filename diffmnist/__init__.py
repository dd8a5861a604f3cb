"A literate course on diffusion and flow models, as a library: `import diffmnist as dm; dm.load(\"ddpm\").sample()`."
__version__ = "0.1.0"

import sys
from importlib import import_module
from types import ModuleType


def _homes():
    "Public names and the modules that define them, from nbdev's index: nothing is imported to know them."
    from ._modidx import d

    found = {name.split(".")[-1]: module for module, names in d["syms"].items() if module != "diffmnist.cli" for name in names if name.count(".") == 2}
    constants = {"recipes": "zoo", "METHODS": "zoo", "SAMPLERS": "pipeline", "CONDITIONS": "conditioning", "CONTROLS": "controlnet",
                 "TIMES": "flow_matching", "SPACINGS": "dpm_solver", "TABLE": "evaluation", "HEADLINE": "evaluation"}  # which the index does not hold
    return found | {name: f"diffmnist.{module}" for name, module in constants.items()}


def __getattr__(name):
    "Import a public name's module when it is first asked for."
    if name.startswith("__") or (home := _homes().get(name)) is None:
        raise AttributeError(f"module 'diffmnist' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__():
    return sorted([*globals(), *_homes(), "ddpm", "ddim", "dpm_solver"])


class _Package(ModuleType):
    "Three samplers bear the names of their modules: `dm.ddpm` is the function, also once its module is imported."

    ddpm = property(lambda self: import_module("diffmnist.ddpm").ddpm, lambda self, module: None)
    ddim = property(lambda self: import_module("diffmnist.ddim").ddim, lambda self, module: None)
    dpm_solver = property(lambda self: import_module("diffmnist.dpm_solver").dpm_solver, lambda self, module: None)


sys.modules[__name__].__class__ = _Package
