"""Typing into the terminal that the session runs in: what a later shell outside would execute.

Prints `escaped: ...` for each request that the kernel did not refuse.
"""

import fcntl
import os
import termios

TIOCLINUX = 0x541C
TIOCSETD = 0x5423
TIOCCONS = 0x541D

terminal = os.open("/dev/tty", os.O_RDWR)
for what, request, argument in (
    ("TIOCSTI", termios.TIOCSTI, b"e"),
    # The filter must look at 32 bits only, as the kernel does.
    ("TIOCSTI with high bits", termios.TIOCSTI | (1 << 32), b"e"),
    ("TIOCLINUX", TIOCLINUX, b"\x02"),
    ("TIOCCONS", TIOCCONS, b"\0"),
    ("TIOCSETD", TIOCSETD, b"\x01\0\0\0"),
):
    try:
        fcntl.ioctl(terminal, request, argument)
        print("escaped:", what)
    except (OSError, OverflowError):
        pass
print("all" + " tried")
