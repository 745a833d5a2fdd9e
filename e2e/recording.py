"""Takes what a mesh exports as OTLP/gRPC: records it into captures, and passes it on when there is somebody to take it."""

import threading
import time
import zlib
from concurrent import futures

from cookbook import FRAME_HEAD, MAGIC, SIGNALS

SERVICES = {"logs": "logs.v1.LogsService", "metrics": "metrics.v1.MetricsService", "traces": "trace.v1.TraceService"}
FORWARD_SECONDS = 5


class Recorder:
    """Takes OTLP on a port until closed. Messages stay bytes: what is no UTF-8 is recorded and passed on as it came."""

    def __init__(self, port, forward_port=None):
        import grpc

        self.lock, self.file = threading.Lock(), None
        self.counts, self.heard = dict.fromkeys(SERVICES, 0), None
        self.numbers = {name: number for number, name in SIGNALS.items()}
        self.channel = None if forward_port is None else grpc.insecure_channel(f"127.0.0.1:{forward_port}")
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        for kind, service in SERVICES.items():
            name = f"opentelemetry.proto.collector.{service}"
            onward = None if self.channel is None else self.channel.unary_unary(f"/{name}/Export")
            export = grpc.unary_unary_rpc_method_handler(self._taker(kind, onward))
            self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": export}),))
        self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()

    def record(self, path):
        """From now on into a new capture."""
        self.stop()
        with self.lock:
            self.file = open(path, "wb")
            self.file.write(MAGIC)

    def stop(self):
        """The capture is complete."""
        with self.lock:
            if self.file is not None:
                self.file.close()
                self.file = None

    def quiet(self):
        """True when no log and no span came since it was asked last."""
        heard = (self.counts["logs"], self.counts["traces"])
        same, self.heard = heard == self.heard, heard
        return same

    def _taker(self, kind, onward):
        def take(payload, context):
            import grpc

            with self.lock:
                self.counts[kind] += 1
                if self.file is not None:
                    head = FRAME_HEAD.pack(self.numbers[kind], time.time_ns(), len(payload), zlib.crc32(payload))
                    self.file.write(head + payload)
            if onward is None:
                return b""  # an empty Export*ServiceResponse
            try:
                return onward(payload, timeout=FORWARD_SECONDS)
            except grpc.RpcError as error:
                return context.abort(error.code(), error.details())

        return take

    def close(self):
        self.server.stop(1).wait()
        self.stop()
        if self.channel is not None:
            self.channel.close()
