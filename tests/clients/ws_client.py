"""Talks to the WebSocket origin, which offers compression as most clients do."""

import sys

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

with connect("wss://ws.example.com/live") as connection:
    for message in ["hello", b"\x00\x01", "x" * 100_000]:
        connection.send(message)
        assert connection.recv() == message
    print("echoed", connection.response.headers.get("Sec-WebSocket-Extensions"))
    connection.send("it is " + sys.argv[1])
    try:
        print("leaked", connection.recv())
    except ConnectionClosed as closed:
        print("closed", closed.rcvd.code)

try:
    connect("wss://ws.example.com/other")
    print("opened")
except InvalidStatus as status:
    print("refused", status.response.status_code)
