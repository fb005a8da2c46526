"""Requests that two readers may read differently, sent as raw bytes over TLS to a granted host.

Argument: the host's name. `/v1/` is granted there, `/admin` is not. An answer of the origin to any of
these (it answers `reached`) is printed as `escaped: ...`; the test looks at what the origin got as well.
"""

import concurrent.futures
import socket
import ssl
import sys

host = sys.argv[1]
GOOD = f"GET /v1/good HTTP/1.1\r\nHost: {host}\r\n\r\n"
SMUGGLED = f"GET /admin HTTP/1.1\r\nHost: {host}\r\n\r\n"


def speak(data, server_name=host):
    context = ssl.create_default_context()
    if server_name != host:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((host, 443), timeout=10) as plain:
        plain.settimeout(3)
        with context.wrap_socket(plain, server_hostname=server_name) as tls:
            tls.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
            answer = b""
            try:
                while True:
                    piece = tls.recv(65536)
                    if not piece:
                        break
                    answer += piece
            except OSError:
                pass
            return answer


def must_not_reach(what, data, server_name=host):
    try:
        answer = speak(data, server_name)
    except OSError:
        return
    if b"reached" in answer:
        print("escaped:", what)


def head(line, *fields):
    return "\r\n".join([line, *fields]) + "\r\n\r\n"


HOST = f"Host: {host}"
ATTEMPTS = {
    "two lengths": head("POST /v1/x HTTP/1.1", HOST, "Content-Length: 4", "Content-Length: 0") + SMUGGLED,
    "length and chunks": head("POST /v1/x HTTP/1.1", HOST, "Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n" + SMUGGLED,
    "two codings": head("POST /v1/x HTTP/1.1", HOST, "Transfer-Encoding: chunked, identity") + "0\r\n\r\n",
    "a coding with a tab": head("POST /v1/x HTTP/1.1", HOST, "Transfer-Encoding:\x0bchunked") + "0\r\n\r\n" + SMUGGLED,
    "a folded field": head("GET /v1/x HTTP/1.1", HOST, "X-A: b", " Host: other.example.com"),
    "space before the colon": head("POST /v1/x HTTP/1.1", HOST, "Content-Length : 5") + "hello",
    "bare line feeds": f"GET /v1/x HTTP/1.1\nHost: {host}\n\n",
    "a bare carriage return": head("GET /v1/x HTTP/1.1", HOST, "X-A: b\rX-C: d"),
    "a NUL in a field": head("GET /v1/x HTTP/1.1", HOST, "X-A: b\0c"),
    "two hosts": head("GET /v1/x HTTP/1.1", HOST, "Host: other.example.com"),
    "no host": head("GET /v1/x HTTP/1.1", "Accept: */*"),
    "another host": head("GET /v1/x HTTP/1.1", "Host: other.example.com"),
    "a host with userinfo": head("GET /v1/x HTTP/1.1", f"Host: {host}@other.example.com"),
    "a host with a NUL": head("GET /v1/x HTTP/1.1", f"Host: other.example.com\0.{host}"),
    "a host with an escape": head("GET /v1/x HTTP/1.1", f"Host: other.example.com%00.{host}"),
    "another port": head("GET /v1/x HTTP/1.1", f"Host: {host}:8443"),
    "an absolute target elsewhere": head("GET https://other.example.com/v1/x HTTP/1.1", HOST),
    "an absolute target with userinfo": head(f"GET https://{host}@other.example.com/v1/x HTTP/1.1", HOST),
    "a tunnel": head("CONNECT other.example.com:443 HTTP/1.1", "Host: other.example.com:443"),
    "a trace": head("TRACE /v1/x HTTP/1.1", HOST),
    "a fragment": head("GET /v1/x#/admin HTTP/1.1", HOST),
    "a backslash": head("GET /v1\\..\\admin HTTP/1.1", HOST),
    "dots": head("GET /v1/../admin HTTP/1.1", HOST),
    "escaped dots": head("GET /v1/%2e%2e/admin HTTP/1.1", HOST),
    "an escaped slash": head("GET /v1/..%2fadmin HTTP/1.1", HOST),
    "a parameter": head("GET /v1/..;/admin HTTP/1.1", HOST),
    "an overlong slash": head("GET /v1/..%c0%afadmin HTTP/1.1", HOST),
    "an upgrade to HTTP/2 in clear": head("GET /v1/x HTTP/1.1", HOST, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    "HTTP/2 by prior knowledge": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": "GET /v1/x\r\n",
    "an unknown version": head("GET /v1/x HTTP/1.2", HOST),
    "a lower-case verb": head("get /v1/x HTTP/1.1", HOST),
    "a chunk size that wraps": head("POST /v1/x HTTP/1.1", HOST, "Transfer-Encoding: chunked") + "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a chunk with a sign": head("POST /v1/x HTTP/1.1", HOST, "Transfer-Encoding: chunked") + "+5\r\nhello\r\n0\r\n\r\n",
}

# All at once: a refused connection that stays open costs its time-out only once.
with concurrent.futures.ThreadPoolExecutor(len(ATTEMPTS)) as pool:
    list(pool.map(must_not_reach, ATTEMPTS.keys(), ATTEMPTS.values()))

# The name of the handshake is the name of the address.
must_not_reach("another server name", GOOD, "other.example.com")

# A second request on a connection is judged like the first.
answer = speak(GOOD + SMUGGLED + GOOD)
if b"reached: /admin" in answer:
    print("escaped: the second request of a connection")
if b"reached: /v1/good" not in answer:
    print("the plain request did not pass:", answer[:200])

print("done")
