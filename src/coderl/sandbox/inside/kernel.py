"""Thin ctypes wrappers around the kernel calls that Python lacks. Every argument has a declared width: ctypes passes plain ints as 32 bits.

Used by the fork server before any program runs, and by the child just before it hands over to the program.
"""

import ctypes
import os
import platform

libc = ctypes.CDLL(None, use_errno=True)
_long, _text = ctypes.c_long, ctypes.c_char_p
libc.syscall.restype = _long
libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
libc.mount.argtypes = [_text, _text, _text, ctypes.c_ulong, _text]
libc.umount2.argtypes = [_text, ctypes.c_int]
libc.unshare.argtypes = [ctypes.c_int]

MACHINE = platform.machine()
_plain_fork = ctypes.PyDLL(None).fork  # keeps the interpreter's lock, as a fork must
_plain_fork.argtypes = []

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
_CAPABILITY_VERSION_3 = 0x20080522


def fork():
    """Fork without what `os.fork` does in the child for programs with threads (half of its time). Only for a process with one thread."""
    pid = _plain_fork()
    if pid < 0:
        raise OSError(ctypes.get_errno(), "fork failed")
    return pid


def _check(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number, *arguments):
    """A raw system call; each argument an int or a ctypes object."""
    wide = [_long(a) if isinstance(a, int) else a for a in arguments]
    return _check(libc.syscall(_long(number), *wide), f"system call {number}")


def prctl(option, a=0, b=0, c=0, d=0):
    return _check(libc.prctl(option, a, b, c, d), f"prctl {option}")


def mount(source, target, kind, flags, data=""):
    encoded = [None if part is None else os.fsencode(part) for part in (source, target, kind, data)]
    return _check(libc.mount(encoded[0], encoded[1], encoded[2], flags, encoded[3]), f"mount {target}")


def umount(target, flags):
    return _check(libc.umount2(os.fsencode(target), flags), f"umount {target}")


def unshare(flags):
    return _check(libc.unshare(flags), "unshare")


def pivot_root(new, old):
    number = {"x86_64": 155, "aarch64": 41}[MACHINE]
    return syscall(number, ctypes.c_char_p(os.fsencode(new)), ctypes.c_char_p(os.fsencode(old)))


def drop_capabilities():
    """Give up every capability, for this process and all that it will fork."""
    for number in range(64):
        if libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            break  # past the last one, or not privileged: then there is nothing to give up
    libc.prctl(PR_CAP_AMBIENT, 4, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    syscall({"x86_64": 126, "aarch64": 91}[MACHINE], ctypes.byref(header), ctypes.byref(nothing))
