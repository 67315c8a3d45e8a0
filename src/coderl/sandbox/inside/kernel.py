"""Thin ctypes wrappers around the kernel calls that Python lacks. Every argument has a declared width: ctypes passes plain ints as 32 bits.

Used by the fork server before any program runs, and by the child just before it hands over to the program.
"""

import ctypes
import os
import platform
import struct

libc = ctypes.CDLL(None, use_errno=True)
_long, _text = ctypes.c_long, ctypes.c_char_p
libc.syscall.restype = _long
libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
libc.mount.argtypes = [_text, _text, _text, ctypes.c_ulong, _text]
libc.umount2.argtypes = [_text, ctypes.c_int]
libc.unshare.argtypes = [ctypes.c_int]


class _Buffer(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Message(ctypes.Structure):
    _fields_ = [
        *(("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32), ("buffers", ctypes.POINTER(_Buffer)), ("count", ctypes.c_size_t)),
        *(("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t), ("flags", ctypes.c_int)),
    ]


libc.recvmsg.argtypes = [ctypes.c_int, ctypes.POINTER(_Message), ctypes.c_int]
libc.recvmsg.restype = ctypes.c_ssize_t
_CONTROL = struct.Struct("@Niii4x")  # length, level, type, the descriptor
MACHINE = platform.machine()
bare_prctl = ctypes.CDLL(None).prctl  # for arguments that are ctypes objects already; leaves errno alone, which costs a child page after page
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


def receive_handle(socket):
    """The file descriptor that came with the next byte. Raises OSError when none did."""
    byte, control = ctypes.create_string_buffer(1), ctypes.create_string_buffer(_CONTROL.size)
    buffer = _Buffer(ctypes.addressof(byte), 1)
    message = _Message(None, 0, ctypes.pointer(buffer), 1, ctypes.addressof(control), _CONTROL.size, 0)
    _check(libc.recvmsg(socket, ctypes.byref(message), 0), "recvmsg")
    _, level, kind, handle = _CONTROL.unpack(control.raw)
    if (level, kind) != (1, 1):  # SOL_SOCKET, SCM_RIGHTS
        raise OSError(0, "no file descriptor came with the job")
    return handle


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
