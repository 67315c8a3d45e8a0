"""What this machine offers: interpreter, cores, memory, and each layer of the judge's isolation, found out by trying.

Prints and writes nothing. A layer that is missing comes with the reason and with what could be done about it. Where no tier can be
had (`sandbox/tiers.py`), it ends with SandboxError, as every stage that judges would.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from ..sandbox.forkserver import ForkServer, Place, ServerGone, this_place
from ..sandbox.tiers import probe

_LAYERS = {
    "namespaces": "own process, network and file spaces",
    "landlock": "which files may be opened",
    "seccomp": "which system calls may be made",
}
_SWITCHES = {  # file of the kernel, the value that refuses, what to say
    "/proc/sys/user/max_user_namespaces": ("0", "user namespaces are switched off: `sysctl user.max_user_namespaces=10000`"),
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "only root may make user namespaces: `sysctl kernel.unprivileged_userns_clone=1`"),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "AppArmor refuses user namespaces to programs without a profile: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
}
_MORE = {
    "namespaces": "in a container, allow `unshare` and `mount` (Docker: --security-opt seccomp=unconfined), or run outside of it",
    "landlock": "needs Linux 5.13 or later with `landlock` in the kernel's list of security modules (boot option lsm=landlock,..)",
    "seccomp": "needs Linux on x86-64 or AArch64 with CONFIG_SECCOMP_FILTER",
}


@dataclass(frozen=True)
class Config:
    """Show what this machine offers the judge, layer by layer, and what is missing for more."""


def main(config: Config) -> None:
    print("\n".join(machine()))
    place = this_place()
    for layer, what in _LAYERS.items():
        reason = missing(layer, place)
        print(f"{layer:10}  {'yes' if reason is None else 'no '}  {what}")
        if reason is not None:
            print("\n".join(f"{'':17}{line}" for line in (reason, *advice(layer))))
    found = probe(place, "ABC")
    words = {"A": "everything", "B": "no namespaces", "C": "no namespaces, no Landlock: programs can read what you can read"}
    print(f"tier        {found.tier}    {words[found.tier]}; a canary program tried what must fail, and it failed")


def machine() -> list[str]:
    """One line a fact."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    numpy = this_place().numpy
    return [
        f"coderl      {_version('coderl')}",
        f"python      {platform.python_version()} ({sys.executable})",
        f"torch       {_version('torch')}",
        f"numpy       {_version('numpy')}{'' if numpy else ' (programs under test have none)'}",
        f"system      {platform.system()} {platform.release()} {platform.machine()}, user {'root' if os.geteuid() == 0 else os.geteuid()}",
        f"cores       {len(os.sched_getaffinity(0))} of {os.cpu_count()}",
        f"memory      {memory:.1f} GiB",
    ]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def missing(layer: str, place: Place) -> str | None:
    """Why a layer cannot be put on by itself, or None when it can."""
    try:
        ForkServer((layer,), place).close()
    except ServerGone as error:
        return str(error)
    return None


def advice(layer: str) -> list[str]:
    """What may be done about a missing layer."""
    lines = []
    for file, (refusing, what) in _SWITCHES.items() if layer == "namespaces" else ():
        try:
            if Path(file).read_text().strip() == refusing:
                lines.append(what)
        except OSError:
            continue
    return lines or [_MORE[layer]]
