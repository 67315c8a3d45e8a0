"""System calls that a program under test may make: names and numbers for x86-64 and AArch64. What is absent is refused.

Data only; `seccomp.py` turns it into a filter. The numbers are those of the kernel's unistd tables. Absent on purpose: sockets other
than `socketpair`, `execve`, `ptrace`, `process_vm_*`, `io_uring_*`, `bpf`, `unshare`, `setns`, `mount` and its new forms, `pivot_root`,
`chroot`, key rings, `kexec*`, modules, `perf_event_open`, `userfaultfd`, `pidfd_getfd`, System V and POSIX message queues and shared
memory, `fchmod`, `chown`, `utimensat`, extended attributes, `setuid` and its kin, `setsid`, `setpgid`, `link`, clock setting.
"""

# fmt: off
X86_64 = {
    "read": 0, "write": 1, "readv": 19, "writev": 20, "pread64": 17, "pwrite64": 18, "preadv": 295, "pwritev": 296, "close": 3,
    "close_range": 436, "lseek": 8, "fstat": 5, "newfstatat": 262, "stat": 4, "lstat": 6, "statx": 332, "statfs": 137, "fstatfs": 138,
    "poll": 7, "ppoll": 271, "select": 23, "pselect6": 270, "epoll_create": 213, "epoll_create1": 291, "epoll_ctl": 233, "epoll_wait": 232,
    "epoll_pwait": 281, "eventfd2": 290, "pipe": 22, "pipe2": 293, "dup": 32, "dup2": 33, "dup3": 292, "fcntl": 72, "flock": 73,
    "ioctl": 16, "open": 2, "openat": 257, "access": 21, "faccessat": 269, "faccessat2": 439, "readlink": 89, "readlinkat": 267,
    "getcwd": 79, "chdir": 80, "fchdir": 81, "getdents": 78, "getdents64": 217, "mkdir": 83, "mkdirat": 258, "rmdir": 84, "unlink": 87,
    "unlinkat": 263, "rename": 82, "renameat": 264, "renameat2": 316, "symlink": 88, "symlinkat": 266, "truncate": 76, "ftruncate": 77,
    "creat": 85, "fsync": 74, "fdatasync": 75, "fadvise64": 221, "sendfile": 40, "copy_file_range": 326, "mmap": 9, "munmap": 11,
    "mprotect": 10, "mremap": 25, "madvise": 28, "brk": 12, "msync": 26, "membarrier": 324, "memfd_create": 319, "sched_yield": 24,
    "sched_getaffinity": 204, "sched_getparam": 143, "sched_getscheduler": 145, "sched_get_priority_max": 146,
    "sched_get_priority_min": 147, "getpriority": 140, "getcpu": 309, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230,
    "nanosleep": 35, "gettimeofday": 96, "time": 201, "times": 100, "getrusage": 98, "getitimer": 36, "setitimer": 38, "alarm": 37,
    "pause": 34, "timer_create": 222, "timer_settime": 223, "timer_gettime": 224, "timer_delete": 226, "timer_getoverrun": 225,
    "timerfd_create": 283, "timerfd_settime": 286, "timerfd_gettime": 287, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
    "rt_sigpending": 127, "rt_sigtimedwait": 128, "rt_sigsuspend": 130, "sigaltstack": 131, "restart_syscall": 219, "kill": 62,
    "tkill": 200, "tgkill": 234, "clone": 56, "clone3": 435, "fork": 57, "vfork": 58, "exit": 60, "exit_group": 231, "wait4": 61,
    "waitid": 247, "pidfd_open": 434, "getpid": 39, "getppid": 110, "gettid": 186, "getpgrp": 111, "getpgid": 121, "getsid": 124,
    "getuid": 102, "geteuid": 107, "getgid": 104, "getegid": 108, "getresuid": 118, "getresgid": 120, "getgroups": 115, "capget": 125,
    "set_tid_address": 218, "set_robust_list": 273, "get_robust_list": 274, "rseq": 334, "futex": 202, "futex_waitv": 449, "prctl": 157,
    "arch_prctl": 158, "prlimit64": 302, "getrlimit": 97, "uname": 63, "sysinfo": 99, "getrandom": 318, "umask": 95, "socketpair": 53,
    "chmod": 90, "fchmodat": 268,
    "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "shutdown": 48, "getsockopt": 55, "setsockopt": 54, "getsockname": 51,
}

AARCH64 = {
    "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pwrite64": 68, "preadv": 69, "pwritev": 70, "close": 57,
    "close_range": 436, "lseek": 62, "fstat": 80, "newfstatat": 79, "statx": 291, "statfs": 43, "fstatfs": 44, "ppoll": 73, "pselect6": 72,
    "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22, "eventfd2": 19, "pipe2": 59, "dup": 23, "dup3": 24, "fcntl": 25, "flock": 32,
    "ioctl": 29, "openat": 56, "faccessat": 48, "faccessat2": 439, "readlinkat": 78, "getcwd": 17, "chdir": 49, "fchdir": 50,
    "getdents64": 61, "mkdirat": 34, "unlinkat": 35, "renameat": 38, "renameat2": 276, "symlinkat": 36, "truncate": 45, "ftruncate": 46,
    "fsync": 82, "fdatasync": 83, "fadvise64": 223, "sendfile": 71, "copy_file_range": 285, "mmap": 222, "munmap": 215, "mprotect": 226,
    "mremap": 216, "madvise": 233, "brk": 214, "msync": 227, "membarrier": 283, "memfd_create": 279, "sched_yield": 124,
    "sched_getaffinity": 123, "sched_getparam": 121, "sched_getscheduler": 120, "sched_get_priority_max": 125,
    "sched_get_priority_min": 126, "getpriority": 141, "getcpu": 168, "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115,
    "nanosleep": 101, "gettimeofday": 169, "times": 153, "getrusage": 165, "getitimer": 102, "setitimer": 103, "timer_create": 107,
    "timer_settime": 110, "timer_gettime": 108, "timer_delete": 111, "timer_getoverrun": 109, "timerfd_create": 85, "timerfd_settime": 86,
    "timerfd_gettime": 87, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "rt_sigpending": 136, "rt_sigtimedwait": 137,
    "rt_sigsuspend": 133, "sigaltstack": 132, "restart_syscall": 128, "kill": 129, "tkill": 130, "tgkill": 131, "clone": 220, "clone3": 435,
    "exit": 93, "exit_group": 94, "wait4": 260, "waitid": 95, "pidfd_open": 434, "getpid": 172, "getppid": 173, "gettid": 178,
    "getpgid": 155, "getsid": 156, "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177, "getresuid": 148, "getresgid": 150,
    "getgroups": 158, "capget": 90, "set_tid_address": 96, "set_robust_list": 99, "get_robust_list": 100, "rseq": 293, "futex": 98,
    "futex_waitv": 449, "prctl": 167, "prlimit64": 261, "getrlimit": 163, "uname": 160, "sysinfo": 179, "getrandom": 278, "umask": 166,
    "socketpair": 199, "sendto": 206, "recvfrom": 207, "sendmsg": 211, "recvmsg": 212, "shutdown": 210, "getsockopt": 209,
    "setsockopt": 208, "getsockname": 204, "fchmodat": 53,
}

# Where Landlock is missing, these would change files that the program has no business with.
FILE_CHANGES = (
    "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2", "symlink", "symlinkat", "truncate", "creat",
    "chmod", "fchmodat",
)
# fmt: on
