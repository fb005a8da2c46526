"""Calls the gRPC origin once, and talks to it in both directions at one time."""

import os
import queue
import sys

import grpc

roots = open(os.environ["SSL_CERT_FILE"], "rb").read()
channel = grpc.secure_channel("grpc.example.com:443", grpc.ssl_channel_credentials(roots))
shout = channel.unary_unary("/test.Echo/Shout")
talk = channel.stream_stream("/test.Echo/Talk")

metadata = [("authorization", "Bearer " + os.environ["ITEMS_KEY"])]
answer, call = shout.with_call(b"hello", metadata=metadata, timeout=30)
seen = dict(call.trailing_metadata())
print("unary", answer.decode(), seen["x-seen"] == metadata[0][1], seen["x-backwards"])

to_say = queue.Queue()
heard = talk(iter(to_say.get, None), timeout=30)
for word in [b"one", b"two", b"three"]:
    to_say.put(word)
    # Each answer comes before the next word is said.
    print("stream", next(heard).decode())
to_say.put(None)
print("left", list(heard), dict(heard.trailing_metadata())["x-end"])

try:
    shout(sys.argv[1].encode(), timeout=30)
    print("leaked")
except grpc.RpcError as error:
    print("refused", error.code())
