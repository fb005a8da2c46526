"""Every way to a server on the host, or to the world, that is not a gate.

Arguments: the host's own addresses, each with a port where something listens (TCP and UDP). Whatever
answers or accepts is printed as `escaped: ...`; the test looks at what the host heard as well.
"""

import errno
import os
import socket
import struct
import sys

SOL_TCP_MPTCP = 262
SCTP = 132
MSG_FASTOPEN = 0x20000000


def attempt(what, action):
    try:
        action()
    except (OSError, ValueError, AttributeError):
        return
    print("escaped:", what)


def connect(family, kind, protocol, address):
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(1)
        sock.connect(address)


def fast_open(address):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(1)
        sock.sendto(b"early", MSG_FASTOPEN, address)
        sock.getpeername()


def datagram(family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        sock.sendto(b"a datagram from inside", address)
        sock.recv(64)


def ping(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as sock:
        sock.settimeout(0.5)
        sock.sendto(struct.pack("!BBHHH", 8, 0, 0, 1, 1) + b"ping", (address, 0))
        sock.recv(64)


for target in sys.argv[1:]:
    host, port = target.rsplit(":", 1)
    family = socket.AF_INET6 if ":" in host.strip("[]") else socket.AF_INET
    address = (host.strip("[]"), int(port))
    attempt(f"TCP to {target}", lambda: connect(family, socket.SOCK_STREAM, 0, address))
    attempt(f"MPTCP to {target}", lambda: connect(family, socket.SOCK_STREAM, SOL_TCP_MPTCP, address))
    attempt(f"SCTP to {target}", lambda: connect(family, socket.SOCK_STREAM, SCTP, address))
    attempt(f"UDP to {target}", lambda: datagram(family, address))
    if family == socket.AF_INET:
        attempt(f"TCP Fast Open to {target}", lambda: fast_open(address))
        attempt(f"ICMP to {host}", lambda: ping(host))

# Metadata services, the world, and the gates' own side of the link. 443 there is a gate's business.
for address in ("169.254.169.254", "100.100.100.200", "192.0.0.192", "1.1.1.1"):
    for port in (22, 53, 80, 5432):
        attempt(f"TCP to {address}:{port}", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, 0, (address, port)))
    attempt(f"UDP to {address}:53", lambda: datagram(socket.AF_INET, (address, 53)))
for address in ("fd00:ec2::254", "2606:4700:4700::1111"):
    attempt(f"TCP to {address}", lambda: connect(socket.AF_INET6, socket.SOCK_STREAM, 0, (address, 80)))

# Families that are no network of ours.
for name, family, kind, protocol in (
    ("packet", 17, socket.SOCK_RAW, 0x0300),
    ("raw IPv4", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    ("raw IPv6", socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
    ("vsock", 40, socket.SOCK_STREAM, 0),
    ("kernel crypto", 38, socket.SOCK_SEQPACKET, 0),
    ("XDP", 44, socket.SOCK_RAW, 0),
    ("Bluetooth", 31, socket.SOCK_RAW, 1),
    ("CAN", 29, socket.SOCK_RAW, 1),
    ("TIPC", 30, socket.SOCK_RDM, 0),
    ("netfilter netlink", 16, socket.SOCK_RAW, 12),
):
    attempt(f"a {name} socket", lambda: socket.socket(family, kind, protocol).close())

print("done")
