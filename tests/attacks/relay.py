"""What reaches a gate through another process inside, or through a socket file, is judged as ever.

Argument: a granted host's name. `/v1/` is granted there, `/admin` is not, nor is any other host. What comes
back from the origin through a relay where it must not is printed as `escaped: ...`.
"""

import os
import socket
import ssl
import sys
import threading

host = sys.argv[1]


def pipe(source, target):
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def relay(listener, target):
    while True:
        client, _ = listener.accept()
        try:
            server = socket.create_connection((target, 443), timeout=60)
        except OSError:
            client.close()
            continue
        for ends in ((client, server), (server, client)):
            threading.Thread(target=pipe, args=ends, daemon=True).start()


def listening(family, address):
    listener = socket.socket(family)
    listener.bind(address)
    listener.listen()
    return listener


def relayed(family, address, target):
    """Another process that passes on what is said to `address`."""
    listener = listening(family, address)
    where = listener.getsockname()
    if os.fork() == 0:
        relay(listener, target)
    listener.close()
    return where


def ask(family, where, name, path, host_field):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.socket(family) as plain:
        plain.settimeout(60)
        plain.connect(where)
        with context.wrap_socket(plain, server_hostname=name) as tls:
            tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {host_field}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := tls.recv(65536):
                answer += piece
            return answer


ways = {
    "loopback": (socket.AF_INET, relayed(socket.AF_INET, ("127.0.0.1", 0), host)),
    "a socket file": (socket.AF_UNIX, relayed(socket.AF_UNIX, "relay.sock", host)),
    "an abstract name": (socket.AF_UNIX, relayed(socket.AF_UNIX, "\0relay", host)),
    "another host": (socket.AF_INET, relayed(socket.AF_INET, ("127.0.0.1", 0), "other.example.com")),
}
for way, (family, where) in ways.items():
    for what, (name, path, field) in {
        "the granted path": (host, "/v1/good", host),
        "another path": (host, "/admin", host),
        "another Host": (host, "/v1/x", "other.example.com"),
        "another name": ("other.example.com", "/v1/x", "other.example.com"),
        "a name in front": ("other.example.com", "/v1/x", host),
    }.items():
        try:
            reached = b"reached" in ask(family, where, name, path, field)
        except OSError:
            reached = False
        is_granted = what == "the granted path" and way != "another host"
        if reached and not is_granted:
            print(f"escaped: {what} by {way}")
        if is_granted and not reached:
            print(f"what is granted did not pass by {way}")
print("done")
