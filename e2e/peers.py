"""The other peers: a real Alertmanager, a receiver of webhooks, and the OpenTelemetry SDK's exporters."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import threading

from local import answers_200, free_ports, get_json, wait_until

ALERTMANAGER_READY_SECONDS = 30


class WebhookReceiver:
    """Records what is posted to it: `posts` is a list of (path, headers, body)."""

    def __init__(self):
        self.posts = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.posts.append((self.path, headers, body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def bodies(self, path):
        """Bodies posted to a path, decoded, with their headers and raw bytes."""
        return [(json.loads(body), headers, body) for at, headers, body in list(self.posts) if at == path]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def signature_holds(secret, headers, body):
    """True when a delivery is signed by the Standard Webhooks scheme."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return expected in headers["webhook-signature"].split(" ")


class Alertmanager:
    """A real Alertmanager on a free port, alone (no cluster), that routes everything to a webhook."""

    def __init__(self, folder, processes, binary, webhook_url):
        self.port = free_ports(1)[0]
        config = {
            "route": {"receiver": "people", "group_by": ["..."], "group_wait": "1s", "group_interval": "1s",
                      "repeat_interval": "1h"},
            "receivers": [{"name": "people", "webhook_configs": [{"url": webhook_url, "send_resolved": True}]}],
        }
        path = os.path.join(folder, "alertmanager.yml")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
        process = processes.start(
            "alertmanager", binary, f"--config.file={path}", f"--storage.path={folder}/alertmanager",
            f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address=")
        ready = answers_200(self.port, "/-/ready")
        wait_until("Alertmanager to be ready", ready, ALERTMANAGER_READY_SECONDS, process)

    def alerts(self):
        """Active alerts."""
        return get_json(self.port, "/api/v2/alerts?active=true")


def sdk_spans(count):
    """Finished spans, made by the OpenTelemetry SDK: a client span with a server span inside, again and again."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace import SpanKind

    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "report", "service.namespace": "bank"}))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("e2e")
    for number in range(count // 2):
        attributes = {"http.request.method": "GET", "url.path": f"/reports/{number}", "http.response.status_code": 200}
        with tracer.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=attributes):
            with tracer.start_as_current_span("GET /reports/{id}", kind=SpanKind.SERVER, attributes=attributes):
                pass
    provider.shutdown()
    return memory.get_finished_spans()


def export_grpc(spans, port):
    """Sends spans with the SDK's gRPC exporter, gzip; true when it reports success."""
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    exporter = OTLPSpanExporter(
        endpoint=f"http://127.0.0.1:{port}", insecure=True, compression=Compression.Gzip, timeout=10)
    try:
        return exporter.export(spans) is SpanExportResult.SUCCESS
    finally:
        exporter.shutdown()


def export_http(spans, port):
    """Sends spans with the SDK's HTTP exporter, gzip; true when it reports success."""
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    exporter = OTLPSpanExporter(
        endpoint=f"http://127.0.0.1:{port}/v1/traces", compression=Compression.Gzip, timeout=10)
    try:
        return exporter.export(spans) is SpanExportResult.SUCCESS
    finally:
        exporter.shutdown()
