"""A gRPC origin: says which port it has, then echoes messages until it is ended."""

import sys
from concurrent import futures

import grpc


def shout(request, context):
    seen = dict(context.invocation_metadata()).get("authorization", "none")
    # The second one is in no spelling that anybody looks for.
    context.set_trailing_metadata([("x-seen", seen), ("x-backwards", seen[::-1])])
    return request.upper()


def talk(requests, context):
    for request in requests:
        yield request.upper()
    context.set_trailing_metadata([("x-end", "done")])


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/test.Echo/Shout":
            return grpc.unary_unary_rpc_method_handler(shout)
        if details.method == "/test.Echo/Talk":
            return grpc.stream_stream_rpc_method_handler(talk)
        return None


certificate, key = (open(path, "rb").read() for path in sys.argv[1:3])
server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Echo()])
port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
server.start()
print(port, flush=True)
server.wait_for_termination()
