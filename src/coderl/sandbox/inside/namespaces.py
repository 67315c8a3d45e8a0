"""Own user, process, network, mount, IPC and host-name spaces, and a root folder that holds nothing but the standard library.

`enter` runs in the launcher, before the fork server is forked; `build_root` runs in the fork server, which is process 1 of the new
process space. Both raise OSError where the machine refuses; the judge then starts again without namespaces.
"""

import os

from . import kernel

_NEW_SPACES = 0x10000000 | 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000  # user mount pid net ipc uts
_INSIDE_ID, _NOBODY = 1000, 65534
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_KEPT_FLAGS = ((2, 2), (4, 4), (8, 8), (1024, 1024), (2048, 2048), (4096, 1 << 21))  # statvfs flag, mount flag
_DEVICES = ("null", "zero", "full", "random", "urandom")
_STREAMS = (("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("fd", "fd"))


def enter():
    """Leave the host's namespaces. Root's own id is given up later: programs run as an id that owns nothing outside."""
    if os.geteuid() == 0:
        _unshare_as_root()
    else:
        user, group = os.geteuid(), os.getegid()
        kernel.unshare(_NEW_SPACES)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{_INSIDE_ID} {user} 1")
        _write("/proc/self/gid_map", f"{_INSIDE_ID} {group} 1")


def _unshare_as_root():
    """A helper that stays outside writes the id maps: 0 (to build the root folder) and an id that owns no files."""
    target = os.getpid()
    ready, done = os.pipe(), os.pipe()
    helper = os.fork()
    if helper == 0:
        try:
            os.close(ready[1])
            if os.read(ready[0], 1) == b"g":
                for name in ("uid_map", "gid_map"):
                    _write(f"/proc/{target}/{name}", f"0 0 1\n{_INSIDE_ID} {_NOBODY} 1\n")
                os.write(done[1], b"y")
        finally:
            os._exit(0)
    os.close(done[1])
    os.close(ready[0])
    try:
        kernel.unshare(_NEW_SPACES)
        os.write(ready[1], b"g")
    finally:
        os.close(ready[1])
        answer = os.read(done[0], 1)
        os.close(done[0])
        os.waitpid(helper, 0)
    if answer != b"y":
        raise OSError(1, "the id maps of the user namespace could not be written")


def become_nobody():
    """Root only: take the id that owns nothing. Call after `build_root`."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_INSIDE_ID, _INSIDE_ID, _INSIDE_ID)
        os.setresuid(_INSIDE_ID, _INSIDE_ID, _INSIDE_ID)


def _write(path, text):
    handle = os.open(path, os.O_WRONLY)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def build_root(readable, mountpoint, scratch_bytes):
    """Make a new root: `readable` folders at their own paths (read-only), /dev/null and friends, /proc of this space, an empty /tmp."""
    sources = [(path, os.open(path, os.O_PATH)) for path in readable if os.path.exists(path)]
    sources += [(f"/dev/{name}", os.open(f"/dev/{name}", os.O_PATH)) for name in _DEVICES if os.path.exists(f"/dev/{name}")]
    kernel.mount(None, "/", None, _REC | _PRIVATE)
    kernel.mount("tmpfs", mountpoint, "tmpfs", _NOSUID | _NODEV, "mode=0755,size=1m")
    for name in ("proc", "tmp"):
        os.makedirs(f"{mountpoint}/{name}", exist_ok=True)
    # before the folders: an interpreter that itself lives below /tmp is then seen inside the empty one
    kernel.mount("tmpfs", f"{mountpoint}/tmp", "tmpfs", _NOSUID | _NODEV | _NOEXEC, f"mode=0777,size={scratch_bytes},nr_inodes=4096")
    for path, handle in sources:
        _bind(path, f"/proc/self/fd/{handle}", mountpoint + path)
        os.close(handle)
    for name, target in _STREAMS:
        os.symlink(f"/proc/self/{target}", f"{mountpoint}/dev/{name}")
    _mount_proc(f"{mountpoint}/proc")
    os.chdir(mountpoint)
    kernel.pivot_root(".", ".")
    kernel.umount(".", 2)
    os.chdir("/")
    kernel.mount(None, "/", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)


def _bind(path, source, target):
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o444))
    try:
        kernel.mount(source, target, None, _BIND)
    except OSError:  # a folder with mounts below it can only be bound with them
        kernel.mount(source, target, None, _BIND | _REC)
    kept = os.statvfs(target).f_flag
    flags = sum(mount_flag for flag, mount_flag in _KEPT_FLAGS if kept & flag)
    if not path.startswith("/dev/"):
        flags |= _NOSUID | _NODEV | _RDONLY
    kernel.mount(None, target, None, _REMOUNT | _BIND | flags)


def _mount_proc(target):
    """/proc is wanted for /dev/stdin only; a container may refuse it, and then programs do without."""
    for options in ("hidepid=2,subset=pid", "hidepid=2", ""):
        try:
            kernel.mount("proc", target, "proc", _NOSUID | _NODEV | _NOEXEC, options)
            return
        except OSError:
            continue
