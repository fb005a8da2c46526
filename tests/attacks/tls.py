"""Handshakes that two readers may read differently, as raw bytes to a granted host.

Arguments: the host's name, and that of one whose TLS is passed by its name. A server that goes on with a
handshake answers with a ServerHello; one to any of these is printed as `escaped: ...`. The plain ones must get
one, or the attack proves nothing.
"""

import os
import socket
import struct
import sys

host, passed = sys.argv[1:]
SERVER_HELLO = 2


def vector(size, content):
    return len(content).to_bytes(size, "big") + content


def extension(kind, content):
    return struct.pack("!H", kind) + vector(2, content)


def names(*listed):
    return extension(0, vector(2, b"".join(b"\0" + vector(2, name) for name in listed)))


# TLS 1.2 is enough: what is tried is read before any key is agreed on.
BASE = b"".join((
    extension(10, vector(2, b"\x00\x17\x00\x1d")),  # groups: P-256, X25519
    extension(11, vector(1, b"\0")),
    extension(13, vector(2, b"\x04\x03\x08\x04\x04\x01")),  # signatures
    extension(23, b""),
))


def hello(*extensions, behind=b"", version=b"\x03\x03"):
    suites = b"\xc0\x2b\xc0\x2f\xc0\x2c\xc0\x30"
    body = version + os.urandom(32) + vector(1, b"") + vector(2, suites) + vector(1, b"\0")
    body += vector(2, b"".join(extensions) + BASE)
    return b"\x01" + vector(3, body) + behind


def records(message, size=16384):
    pieces = [message[at:at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + vector(2, piece) for piece in pieces)


def goes_on(data, host=host):
    """Whether the other side took the hello: its first record is of a handshake, a ServerHello."""
    with socket.create_connection((host, 443), timeout=60) as sock:
        sock.sendall(data)
        # Who reads what is no handshake waits for more, unless there is none.
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while len(answer) < 6:
                piece = sock.recv(4096)
                if not piece:
                    break
                answer += piece
        except OSError:
            pass
        return answer[:1] == b"\x16" and answer[5:6] == bytes([SERVER_HELLO])


name, other = host.encode(), b"other.example.com"
# Browsers send one that means nothing (GREASE) to everybody.
encrypted = extension(0xFE0D, b"\0\0\x01\0\x01\0" + vector(2, os.urandom(32)) + vector(2, os.urandom(64)))
for what, data in {
    "the plain handshake": records(hello(names(name))),
    "one in pieces": records(hello(names(name)), 64),
    # TLS ends at the gate, under the name outside; nobody has a key to what is inside.
    "one with an encrypted hello": records(hello(names(name), encrypted)),
}.items():
    if not goes_on(data):
        print(what, "did not go on")

# Where TLS is passed on, the name is all that is known of it.
if not goes_on(records(hello(names(passed.encode()))), passed):
    print("what is passed by its name did not go on")
for what, extensions in {
    "an encrypted hello": (names(passed.encode()), encrypted),
    "another name": (names(other),),
    "no name": (),
    "two names": (names(passed.encode(), other),),
}.items():
    if goes_on(records(hello(*extensions)), passed):
        print(f"escaped: {what}, passed on")

for what, data in {
    "another name": records(hello(names(other))),
    "two names": records(hello(names(name, other))),
    "the other name first": records(hello(names(other, name))),
    "a name twice": records(hello(names(name), names(name))),
    "two lists of names": records(hello(names(other), names(name))),
    "an empty list": records(hello(extension(0, vector(2, b"")))),
    "an empty name": records(hello(names(b""))),
    "a name with a NUL": records(hello(names(name + b"\0." + other))),
    "a NUL first": records(hello(names(other + b"\0." + name))),
    "a name with a dot behind it": records(hello(names(name + b"."))),
    "a name with a port": records(hello(names(name + b":443"))),
    "a name with userinfo": records(hello(names(b"a@" + name))),
    "an address for a name": records(hello(names(b"127.0.0.1"))),
    "a wildcard": records(hello(names(b"*." + name.split(b".", 1)[1]))),
    "a name of another type": records(hello(extension(0, vector(2, b"\x01" + vector(2, name))))),
    "a list that is longer than it says": records(hello(extension(0, vector(2, b"\0" + vector(2, name)) + b"\0"))),
    "a second hello behind it": records(hello(names(name), behind=hello(names(other)))),
    "the form of SSL 2": b"\x80\x2e\x01\x03\x01" + bytes(41),
    "a request in clear": f"GET /v1/good HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(),
}.items():
    try:
        if goes_on(data):
            print("escaped:", what)
    except OSError:
        pass
print("done")
