"""Memory, queues and names that processes of the host share.

Arguments: the key of a System V segment of the host, a file in its /dev/shm, the name of an abstract
socket, a text that stands in segment and file.
"""

import ctypes
import os
import socket
import sys

key, shared, name, text = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4].encode()
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p

segment = libc.shmget(key, 0, 0)
if segment >= 0:
    address = libc.shmat(segment, None, 0o10000)
    if address not in (None, ctypes.c_void_p(-1).value):
        print("escaped: the host's segment", ctypes.string_at(address, len(text)))
try:
    with open("/proc/sysvipc/shm") as table:
        if any(line.split()[:1] == [str(key)] for line in table):
            print("escaped: the host's segments are listed")
except OSError:
    pass
try:
    with open(shared, "rb") as file:
        print("escaped: the host's /dev/shm", file.read())
except OSError:
    pass
with socket.socket(socket.AF_UNIX) as sock:
    try:
        sock.connect("\0" + name)
        print("escaped: an abstract socket of the host")
    except OSError:
        pass
print("done")
