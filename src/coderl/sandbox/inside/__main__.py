"""Start of the sandbox process: warm up, put on every layer that was asked for, then serve.

Run by the judge as a fresh interpreter: `python -S -s -P -B -X utf8 <this file> SETTINGS`, SETTINGS being a JSON object:
`handle` (socket to the judge), `layers` (of "namespaces", "landlock", "seccomp"), `readable` (folders), `numpy` (folder or null),
`mountpoint`, `folder` (scratch folder where there are no namespaces, or null), `scratch_bytes`. A layer that cannot be put on ends the
process with a message on stderr: the judge decides whether to try with fewer.
"""

import json
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from inside import warmth

NAMES = warmth.warm()
from inside import frames, kernel, landlock, namespaces, seccomp, server  # noqa: E402  (see `warmth`)

del sys.path[0]


def main():
    settings = json.loads(sys.argv[1])
    layers = settings["layers"]
    if unknown := set(layers) - {"namespaces", "landlock", "seccomp"}:
        sys.exit(f"unknown layers: {', '.join(sorted(unknown))}")
    if "namespaces" in layers:
        namespaces.enter()
        pid = os.fork()
        if pid:
            os.close(settings["handle"])
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    serve(settings, layers)


def serve(settings, layers):
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    if "namespaces" in layers:
        if os.getpid() != 1:  # the server ends everything it can see after each program: that must not be the machine
            sys.exit("the process space is not its own")
        namespaces.build_root(settings["readable"], settings["mountpoint"], settings["scratch_bytes"])
        namespaces.become_nobody()
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    state = server.Server(settings["handle"], settings, layers, statm)
    if "landlock" in layers:
        inside = "namespaces" in layers
        writable = ["/tmp"] if inside else [settings["folder"]] if settings["folder"] else []
        landlock.restrict(
            ["/"] if inside else settings["readable"], writable, [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")]
        )
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(
        kernel.PR_SET_PDEATHSIG if "namespaces" in layers else kernel.PR_SET_CHILD_SUBREAPER, signal.SIGKILL if "namespaces" in layers else 1
    )
    os.umask(0o077)
    os.chdir(state.folder or "/")
    if "seccomp" in layers:
        seccomp.install(seccomp.prepare(seccomp.server_filter(read_only="landlock" not in layers)))
    for name in [name for name in sys.modules if name.split(".")[0] == "inside"]:
        del sys.modules[name]
    state.rehearse(NAMES)
    frames.send_events(settings["handle"], [({"event": "ready", "layers": layers, "pid": os.getpid()}, b"")])
    try:
        state.serve()
    except frames.Gone:
        pass


main()
