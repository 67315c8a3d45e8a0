"""What programs import most, imported once, before anything of the sandbox's own.

In that order what the server and its children work with lies closer together: a program makes the kernel copy about 20 pages less.
"""

import _sitebuiltins
import builtins
import importlib.util
import sys

_APPS_NAMES = """
import sys, time, itertools, collections, math, fractions, random, heapq
from itertools import accumulate, product, permutations, combinations
from collections import Counter, OrderedDict, deque, defaultdict, ChainMap
from functools import lru_cache
from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2
from typing import List, Tuple
from heapq import *
"""
_WARM = "bisect copy enum functools operator re string typing contextlib"  # what fewer than one program in fifty imports makes every fork slower


def warm():
    """Import what programs import most, once, and make `exit` and `quit`; the names that the APPS tester gives every program."""
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    for name in _WARM.split():
        importlib.import_module(name)
    names: dict[str, object] = {}
    exec(_APPS_NAMES, names)
    del names["__builtins__"]
    return names


def load_numpy(folder):
    """Make `import numpy` work from its own folder alone, without the rest of site-packages."""
    if folder is None or "numpy" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location("numpy", f"{folder}/__init__.py", submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["numpy"] = module
    try:
        spec.loader.exec_module(module)
        importlib.import_module("numpy.random")
    except Exception:
        for name in [name for name in sys.modules if name.split(".")[0] == "numpy"]:
            del sys.modules[name]
