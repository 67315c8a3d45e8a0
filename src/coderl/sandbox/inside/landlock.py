"""Landlock: which files may be opened at all. Read-only standard library, one writable folder, no TCP, no signals out.

Set once in the fork server; every fork inherits it. Raises OSError where the kernel has no Landlock.
"""

import ctypes
import os
import struct

from . import kernel

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_FILES_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}  # bits known; version 5 adds ioctl on devices
_READ = _EXECUTE | _READ_FILE | _READ_DIR


def version():
    """The kernel's Landlock version, 1 or more; OSError without Landlock."""
    return kernel.syscall(_CREATE, ctypes.c_void_p(None), 0, 1)


def restrict(readable, writable, devices):
    """Allow reading below `readable` folders, everything below `writable` ones, reading and writing of `devices`; nothing else."""
    abi = version()
    known = (1 << _FILES_BY_VERSION.get(abi, 16)) - 1
    rules = struct.pack("<QQQ", known, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    buffer = ctypes.create_string_buffer(rules, len(rules))
    ruleset = kernel.syscall(_CREATE, ctypes.byref(buffer), size, 0)
    for path in readable:
        _allow(ruleset, path, _READ & known)
    for path in writable:
        _allow(ruleset, path, known & ~_EXECUTE)
    for path in devices:
        _allow(ruleset, path, _READ_FILE | _WRITE_FILE)
    kernel.syscall(_RESTRICT, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset, path, access):
    if not os.path.exists(path):
        return
    if not os.path.isdir(path):
        access &= _EXECUTE | _READ_FILE | _WRITE_FILE
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = ctypes.create_string_buffer(struct.pack("<Qi", access, handle), 12)
    kernel.syscall(_ADD, ruleset, 1, ctypes.byref(rule), 0)
    os.close(handle)
