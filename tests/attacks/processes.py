"""What a process inside learns of the supervisor and the host, and what it can do to them.

Arguments: the process id of the supervisor outside, and a text that stands in its environment only.
"""

import glob
import os
import signal
import socket
import sys

supervisor, marker = int(sys.argv[1]), sys.argv[2].encode()

own = os.getpid()
for entry in glob.glob("/proc/[0-9]*"):
    for file in ("environ", "cmdline", "maps", "mem", "auxv"):
        try:
            with open(f"{entry}/{file}", "rb") as opened:
                if file != "mem" and marker in opened.read(1 << 20) and not entry.endswith(f"/{own}"):
                    print(f"escaped: the marker stands in {entry}/{file}")
        except OSError:
            pass

# Everything that can be signalled is this session's: the first process there is its init.
for pid in (supervisor, -supervisor):
    try:
        os.kill(pid, 0)
        # An id of this namespace may be equal by chance; then it is a process of this session.
        if not os.path.exists(f"/proc/{abs(pid)}"):
            print("escaped: the supervisor can be signalled")
    except OSError:
        pass
signal.signal(signal.SIGTERM, signal.SIG_IGN)

for path in ("/proc/1/root", "/proc/1/cwd", "/proc/1/exe", "/proc/1/fd", "/proc/1/mem", "/proc/1/environ"):
    try:
        if os.path.isdir(path):
            os.listdir(path)
        else:
            open(path, "rb").read(1)
        print("escaped:", path)
    except OSError:
        pass

# Writable switches of the kernel, among them the one that names a program of the host.
for path in (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sysrq-trigger",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/net/ipv4/ip_forward",
    "/sys/kernel/uevent_helper",
):
    try:
        os.close(os.open(path, os.O_WRONLY))
        print("escaped:", path)
    except OSError:
        pass
for pattern in ("/sys/fs/cgroup/**/release_agent", "/sys/fs/cgroup/**/cgroup.procs"):
    for path in glob.glob(pattern, recursive=True):
        try:
            os.close(os.open(path, os.O_WRONLY))
            print("escaped:", path)
        except OSError:
            pass

# Daemons of the host that would start something outside.
for path in (
    "/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock",
    "/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/journal/socket", "/dev/log",
    f"/run/user/{os.getuid()}/bus", f"/run/user/{os.getuid()}/wayland-0",
    f"/run/user/{os.getuid()}/gnupg/S.gpg-agent", "/tmp/.X11-unix/X0",
):
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
            print("escaped:", path)
        except OSError:
            pass

print("done")
