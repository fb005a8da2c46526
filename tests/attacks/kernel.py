"""System calls that have no business in a session, made without a library in between.

Prints `escaped: ...` for each that the kernel did not refuse with EPERM, EACCES or ENOSYS.
"""

import ctypes
import errno
import os

libc = ctypes.CDLL(None, use_errno=True)
REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)
CLONE_NEWUSER = 0x10000000
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000

# Numbers of x86-64.
CALLS = {
    "ptrace": (101, 16, 1, 0, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "process_vm_writev": (311, 1, 0, 0, 0, 0, 0),
    "kcmp": (312, 1, os.getpid(), 0, 0, 0),
    "pidfd_getfd": (438, 0, 0, 0),
    "add_key": (248, b"user", b"x", b"y", 1, -3),
    "request_key": (249, b"user", b"x", 0, 0),
    "keyctl": (250, 0, -3, 0),
    "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "userfaultfd": (323, 0),
    "io_uring_setup": (425, 8, ctypes.create_string_buffer(256)),
    "io_uring_register": (427, 0, 0, 0, 0),
    "clone3": (435, ctypes.create_string_buffer(88), 88),
    "unshare user": (272, CLONE_NEWUSER),
    "unshare mount": (272, CLONE_NEWNS),
    "unshare network": (272, CLONE_NEWNET),
    "setns": (308, 0, 0),
    "mount": (165, b"none", b"/mnt", b"tmpfs", 0, 0),
    "umount2": (166, b"/proc", 2),
    "pivot_root": (155, b"/", b"/"),
    "chroot": (161, b"/"),
    "open_tree": (428, -100, b"/", 1),
    "move_mount": (429, -100, b"/", -100, b"/", 0),
    "fsopen": (430, b"tmpfs", 0),
    "fsmount": (432, 0, 0, 0),
    "mount_setattr": (442, -100, b"/", 0, ctypes.create_string_buffer(32), 32),
    "open_by_handle_at": (304, -100, ctypes.create_string_buffer(136), 0),
    "init_module": (175, b"", 0, b""),
    "finit_module": (313, 0, b"", 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "reboot": (169, 0, 0, 0, 0),
    "swapon": (167, b"/dev/null", 0),
    "sethostname": (170, b"x", 1),
    "settimeofday": (164, ctypes.create_string_buffer(16), 0),
    "iopl": (172, 3),
    "ioperm": (173, 0, 1, 1),
    "acct": (163, 0),
    "quotactl": (179, 0, 0, 0, 0),
    "lookup_dcookie": (212, 0, 0, 0),
    "fanotify_init": (300, 0, 0),
    "syslog": (103, 3, ctypes.create_string_buffer(64), 64),
}

for name, (number, *arguments) in CALLS.items():
    ctypes.set_errno(0)
    answer = libc.syscall(ctypes.c_long(number), *[
        argument if isinstance(argument, (bytes, ctypes.Array)) else ctypes.c_long(argument)
        for argument in arguments
    ])
    if answer >= 0 or ctypes.get_errno() not in REFUSED:
        print("escaped:", name, answer, errno.errorcode.get(ctypes.get_errno(), "no error"))

# The same kernel through another door: 32-bit and x32 numbers.
ctypes.set_errno(0)
if libc.syscall(ctypes.c_long(0x40000000 + 101), 16, 1, 0, 0) >= 0:
    print("escaped: ptrace by its x32 number")

print("done")
