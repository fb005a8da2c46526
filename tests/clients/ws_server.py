"""A WebSocket origin: says which port it has, then echoes messages until it is ended."""

import ssl
import sys

from websockets.sync.server import serve


def echo(connection):
    for message in connection:
        connection.send(message)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
with serve(echo, "127.0.0.1", 0, ssl=context) as server:
    print(server.socket.getsockname()[1], flush=True)
    server.serve_forever()
