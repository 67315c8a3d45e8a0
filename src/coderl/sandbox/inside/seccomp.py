"""Two seccomp filters, as BPF programs: a broad one for the fork server (inherited for free), a narrow one for each child.

The server's filter allows the calls of `syscalls.py` and refuses the rest with EPERM. The child's filter, about 40 instructions long,
takes away what only the server needs: making processes, signalling others, changing limits, making memory files. The kernel runs
every installed filter and the strictest answer wins; no filter can be taken off again.
"""

import ctypes
import errno
import struct

from . import kernel
from .syscalls import AARCH64, FILE_CHANGES, X86_64

TABLES = {"x86_64": X86_64, "aarch64": AARCH64}
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
ABSENT = 0x00050000 | errno.ENOSYS
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_CLONE_THREAD = 0x00010000
_OPEN_FOR_CHANGE = 0x1 | 0x2 | 0x40 | 0x200 | 0x400  # O_WRONLY O_RDWR O_CREAT O_TRUNC O_APPEND
_SET_OWNER = (8, 10, 15)  # fcntl F_SETOWN, F_SETSIG, F_SETOWN_EX: a signal to others by a detour
_IOCTL_REFUSED = (0x5412, 0x8901, 0x8902)  # TIOCSTI, FIOSETOWN, SIOCSPGRP


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def _instruction(code, value, if_true=0, if_false=0):
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _argument(index, high=False):
    return _instruction(_LOAD, _ARGUMENTS + 8 * index + (4 if high else 0))


def _start():
    lines = [_instruction(_LOAD, _ARCHITECTURE), _instruction(_JUMP_EQUAL, _ARCHITECTURES[kernel.MACHINE], 1, 0), _instruction(_RETURN, KILL)]
    lines.append(_instruction(_LOAD, _NUMBER))
    if kernel.MACHINE == "x86_64":  # the x32 interface has its own numbers
        lines += [_instruction(_JUMP_GREATER_EQUAL, 0x40000000, 0, 1), _instruction(_RETURN, KILL)]
    return lines


def _when(table, name, body):
    """`body` for the call `name`; it must end in a return. Nothing where the machine has no such call."""
    if name not in table:
        return []
    return [_instruction(_JUMP_EQUAL, table[name], 0, len(body)), *body]


def _refuse_if(index, test, value):
    """Body: refuse when the test on an argument holds, else allow."""
    return [_argument(index), _instruction(test, value, 1, 0), _instruction(_RETURN, ALLOW), _instruction(_RETURN, REFUSE)]


def _refuse_values(index, values):
    jumps = [_instruction(_JUMP_EQUAL, value, len(values) - position, 0) for position, value in enumerate(values)]
    return [_argument(index), *jumps, _instruction(_RETURN, ALLOW), _instruction(_RETURN, REFUSE)]


def server_filter(read_only):
    """Allow-list. `read_only`: also refuse to open files for writing and to make or remove names (where Landlock is missing)."""
    table = TABLES[kernel.MACHINE]
    lines = _start()
    skip = set()
    if read_only:
        lines += _when(table, "open", _refuse_if(1, _JUMP_ANY_BIT, _OPEN_FOR_CHANGE))
        lines += _when(table, "openat", _refuse_if(2, _JUMP_ANY_BIT, _OPEN_FOR_CHANGE))
        skip = {"open", "openat", *FILE_CHANGES}
    lines += _when(
        table, "socketpair", [_argument(0), _instruction(_JUMP_EQUAL, 1, 0, 1), _instruction(_RETURN, ALLOW), _instruction(_RETURN, REFUSE)]
    )
    for name in table:
        if name not in skip and name != "socketpair":
            lines += _when(table, name, [_instruction(_RETURN, ALLOW)])
    return b"".join([*lines, _instruction(_RETURN, REFUSE)])


def child_filter(pid):
    """What the server may do and a program may not; `pid` is the child's own."""
    table = TABLES[kernel.MACHINE]
    refuse = [_instruction(_RETURN, REFUSE)]
    only_self = [_argument(0), _instruction(_JUMP_EQUAL, pid, 0, 1), _instruction(_RETURN, ALLOW), _instruction(_RETURN, REFUSE)]
    thread_only = [_argument(0), _instruction(_JUMP_ANY_BIT, _CLONE_THREAD, 0, 1), _instruction(_RETURN, ALLOW), _instruction(_RETURN, REFUSE)]
    only_reading = [_argument(2), _instruction(_JUMP_EQUAL, 0, 0, 3), _argument(2, high=True), _instruction(_JUMP_EQUAL, 0, 0, 1)]
    only_reading += [_instruction(_RETURN, ALLOW), _instruction(_RETURN, REFUSE)]
    lines = _start()
    lines += _when(table, "clone", thread_only)
    lines += _when(table, "clone3", [_instruction(_RETURN, ABSENT)])  # glibc then falls back to clone
    lines += _when(table, "prlimit64", only_reading)
    lines += _when(table, "fcntl", _refuse_values(1, _SET_OWNER))
    lines += _when(table, "ioctl", _refuse_values(1, _IOCTL_REFUSED))
    for name in ("kill", "tgkill"):
        lines += _when(table, name, only_self)
    for name in ("tkill", "fork", "vfork", "prctl", "memfd_create", "pidfd_open", "chmod", "fchmodat"):
        lines += _when(table, name, refuse)
    return b"".join([*lines, _instruction(_RETURN, ALLOW)])


def prepare(instructions):
    """A filter as the kernel takes it; keep it alive until it is installed."""
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    program = _Program(len(instructions) // 8, ctypes.cast(buffer, ctypes.c_void_p).value)
    program.keep = buffer
    return program


def install(program):
    """Install a prepared filter on this process (one thread) for good. Needs no_new_privs or a capability."""
    kernel.prctl(kernel.PR_SET_SECCOMP, 2, ctypes.addressof(program))


class ChildFilter:
    """The filter for children, made once: a child puts in its own process id and installs it."""

    def __init__(self):
        marker = 0x7ABCDEF1
        text = child_filter(marker)
        self.program = prepare(text)
        wanted = struct.pack("<I", marker)
        self.words = memoryview(self.program.keep).cast("B").cast("I")
        self.places = [at // 4 for at in range(4, len(text), 8) if text[at : at + 4] == wanted]
        self.arguments = ctypes.c_int(kernel.PR_SET_SECCOMP), *[ctypes.c_ulong(value) for value in (2, ctypes.addressof(self.program), 0, 0)]

    def install(self, pid):
        for place in self.places:
            self.words[place] = pid
        if kernel.bare_prctl(*self.arguments):
            raise OSError(0, "the child's filter cannot be installed")
