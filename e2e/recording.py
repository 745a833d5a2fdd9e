"""Records what a mesh exports as OTLP/gRPC into a capture, which the engine can be taught with (`--learn`)."""

import threading
import time
import zlib
from concurrent import futures

from cookbook import FRAME_HEAD, MAGIC, SIGNALS

SERVICES = {"logs": "logs.v1.LogsService", "metrics": "metrics.v1.MetricsService", "traces": "trace.v1.TraceService"}


class Recorder:
    """Takes OTLP on a port until closed. Messages stay bytes: what is no UTF-8 is recorded as it came."""

    def __init__(self, port, path):
        import grpc

        self.lock = threading.Lock()
        self.counts = dict.fromkeys(SERVICES, 0)
        self.numbers = {name: number for number, name in SIGNALS.items()}
        self.file = open(path, "wb")
        self.file.write(MAGIC)
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        for kind, service in SERVICES.items():
            export = grpc.unary_unary_rpc_method_handler(lambda payload, _, kind=kind: self._take(kind, payload))
            self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
                f"opentelemetry.proto.collector.{service}", {"Export": export}),))
        self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()

    def _take(self, kind, payload):
        head = FRAME_HEAD.pack(self.numbers[kind], time.time_ns(), len(payload), zlib.crc32(payload))
        with self.lock:
            self.file.write(head + payload)
            self.counts[kind] += 1
        return b""  # an empty Export*ServiceResponse

    def close(self):
        self.server.stop(1).wait()
        self.file.close()
