"""A small real mesh on loopback: the sidecars are Envoy processes, the workloads are threads of this one.

`web` and `cart` call `ledger`; every call leaves through the caller's outbound listener, crosses in mTLS with SPIFFE
identities and enters through the callee's inbound listener. `ledger` is permissive: it takes plaintext too, which is
the hole that the test attacks. Each Envoy exports access logs, spans and metrics over OTLP/gRPC. Envoy reads JSON as
well as YAML, so the configuration is plain data here.
"""

import http.client
import http.server
import json
import os
import ssl
import subprocess
import threading

from local import Failed, answers_200, free_ports, request, wait_until

NAMESPACE = "bank"
TRUST_DOMAIN = "mesh.test"
CALLERS = ("web", "cart")
CALLEE = "ledger"
TYPE = "type.googleapis.com/"
READY_SECONDS = 30


def spiffe(workload):
    return f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{workload}"


# ---- certificates ------------------------------------------------------------------------------------------------


def _openssl(*arguments):
    done = subprocess.run(("openssl", *arguments), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"openssl {arguments[0]} failed: {done.stderr}")


def _new_key(path):
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)


def make_ca(folder, name):
    """A self-signed certificate authority: `<folder>/<name>.pem` and `.key`."""
    base = os.path.join(folder, name)
    _new_key(f"{base}.key")
    _openssl(
        "req", "-x509", "-new", "-key", f"{base}.key", "-days", "30", "-subj", f"/O={TRUST_DOMAIN}/CN={name}",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", f"{base}.pem",
    )
    return base


def issue(folder, ca, name, identity):
    """A certificate of a day, with the identity (`URI:...`, `IP:...`) as its only name."""
    base = os.path.join(folder, name)
    _new_key(f"{base}.key")
    _openssl("req", "-new", "-key", f"{base}.key", "-subj", f"/O={TRUST_DOMAIN}", "-out", f"{base}.csr")
    with open(f"{base}.ext", "w", encoding="utf-8") as extensions:
        extensions.write(
            f"subjectAltName={identity}\nkeyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=critical,CA:FALSE\n"
        )
    _openssl(
        "x509", "-req", "-in", f"{base}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial",
        "-days", "1", "-extfile", f"{base}.ext", "-out", f"{base}.pem",
    )
    return base


# ---- Envoy configuration -----------------------------------------------------------------------------------------


def typed(name, kind, **fields):
    return {"name": name, "typed_config": {"@type": TYPE + kind, **fields}}


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _key_values(values):
    return {"values": [{"key": key, "value": {"string_value": value}} for key, value in values.items()]}


CONNECTION_FIELDS = {
    "source.principal": "%DOWNSTREAM_PEER_URI_SAN%",
    "destination.principal": "%DOWNSTREAM_LOCAL_URI_SAN%",
    "tls.version": "%DOWNSTREAM_TLS_VERSION%",
    "tls.cipher": "%DOWNSTREAM_TLS_CIPHER%",
    "tls.sni": "%REQUESTED_SERVER_NAME%",
    "tls.peer.issuer": "%DOWNSTREAM_PEER_ISSUER%",
    "tls.peer.fingerprint_sha256": "%DOWNSTREAM_PEER_FINGERPRINT_256%",
    "tls.peer.not_before": "%DOWNSTREAM_PEER_CERT_V_START%",
    "tls.peer.not_after": "%DOWNSTREAM_PEER_CERT_V_END%",
    "tls.failure": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
    "source.direct_address": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "connection.id": "%CONNECTION_ID%",
    "filter_chain": "%FILTER_CHAIN_NAME%",
    "response.flags": "%RESPONSE_FLAGS%",
    "bytes.received": "%BYTES_RECEIVED%",
    "bytes.sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
}

REQUEST_FIELDS = {
    "http.request_id": "%REQ(X-REQUEST-ID)%",
    "http.method": "%REQ(:METHOD)%",
    "http.path": "%REQ(:PATH)%",
    "http.authority": "%REQ(:AUTHORITY)%",
    "http.protocol": "%PROTOCOL%",
    "http.user_agent": "%REQ(USER-AGENT)%",
    "response.code": "%RESPONSE_CODE%",
    "response.code_details": "%RESPONSE_CODE_DETAILS%",
    "route.name": "%ROUTE_NAME%",
    "upstream.cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream.host": "%UPSTREAM_HOST%",
    "upstream.peer.principal": "%UPSTREAM_PEER_URI_SAN%",
    "upstream.local.principal": "%UPSTREAM_LOCAL_URI_SAN%",
    "upstream.tls.version": "%UPSTREAM_TLS_VERSION%",
}


class Sidecar:
    """One workload's Envoy: its ports and its bootstrap configuration."""

    log_flush = "0.5s"
    request_fields = REQUEST_FIELDS

    def __init__(self, workload, certificates, otlp_port):
        self.workload = workload
        self.certificates = certificates
        self.otlp_port = otlp_port
        self.inbound, self.outbound, self.admin = free_ports(3)

    def resource(self):
        return {
            "service.name": self.workload,
            "service.namespace": NAMESPACE,
            "k8s.namespace.name": NAMESPACE,
            "k8s.pod.name": f"{self.workload}-0",
        }

    def bootstrap(self, app_port, callee=None):
        clusters = [cluster("otlp", self.otlp_port, h2=True), cluster("inbound|8080||", app_port)]
        listeners = [self._inbound_listener()]
        if callee is not None:
            name = f"outbound|80||{callee.workload}.{NAMESPACE}.svc.cluster.local"
            socket = self._upstream_tls(callee.workload)
            clusters.append(cluster(name, callee.inbound, h2=True, transport_socket=socket))
            listeners.append(self._outbound_listener(name))
        detectors = [self._static_resource("envoy.extensions.tracers.opentelemetry.resource_detectors.v3")]
        sink = typed(
            "envoy.stat_sinks.open_telemetry", "envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig",
            grpc_service=_otlp_service(), emit_tags_as_attributes=True, use_tag_extracted_name=True, prefix="envoy",
            resource_detectors=detectors,
        )
        return {
            "node": {"id": f"sidecar~127.0.0.1~{self.workload}-0.{NAMESPACE}~{NAMESPACE}.svc.cluster.local",
                     "cluster": f"{self.workload}.{NAMESPACE}"},
            "admin": {"address": address(self.admin)},
            "static_resources": {"listeners": listeners, "clusters": clusters},
            "stats_flush_interval": "2s",
            "stats_sinks": [sink],
            "layered_runtime": {"layers": [{"name": "static", "static_layer": {
                "tracing.opentelemetry.flush_interval_ms": 500, "tracing.opentelemetry.min_flush_spans": 20}}]},
        }

    def _static_resource(self, package):
        return typed(
            "envoy.tracers.opentelemetry.resource_detectors.static_config",
            f"{package}.StaticConfigResourceDetectorConfig", attributes=self.resource(),
        )

    def _access_log(self, name, fields):
        return typed(
            "envoy.access_loggers.open_telemetry",
            "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
            log_name=name, grpc_service=_otlp_service(), buffer_flush_interval=self.log_flush,
            resource_attributes=_key_values(self.resource()), attributes=_key_values(fields), stat_prefix=f"{name}.",
        )

    def _http(self, reporter, routes):
        inbound = reporter == "inbound"
        tags = {
            "mesh.reporter": reporter,
            "source.principal": "%DOWNSTREAM_PEER_URI_SAN%" if inbound else spiffe(self.workload),
            "destination.principal": "%DOWNSTREAM_LOCAL_URI_SAN%" if inbound else "%UPSTREAM_PEER_URI_SAN%",
        }
        tracing = {
            "random_sampling": {"value": 100},
            "custom_tags": [{"tag": tag, "value": value} for tag, value in tags.items()],
            "provider": typed(
                "envoy.tracers.opentelemetry", "envoy.config.trace.v3.OpenTelemetryConfig",
                service_name=self.workload, grpc_service=_otlp_service(),
                resource_detectors=[
                    self._static_resource("envoy.extensions.tracers.opentelemetry.resource_detectors.v3")],
            ),
        }
        fields = {"mesh.reporter": reporter, **self.request_fields, **CONNECTION_FIELDS}
        return typed(
            "envoy.filters.network.http_connection_manager",
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="inbound_8080" if inbound else "outbound_80", codec_type="AUTO", tracing=tracing,
            generate_request_id=True, access_log=[self._access_log(f"mesh_{reporter}", fields)],
            forward_client_cert_details="APPEND_FORWARD" if inbound else "SANITIZE",
            route_config={"name": reporter, "virtual_hosts": [{"name": reporter, "domains": ["*"], "routes": routes}]},
            http_filters=self._http_filters(reporter),
        )

    def _http_filters(self, _reporter):
        return [typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")]

    def _inbound_listener(self):
        route = [{"name": "default", "match": {"prefix": "/"}, "route": {"cluster": "inbound|8080||"}}]
        chains = [{
            "name": "mtls", "filter_chain_match": {"transport_protocol": "tls"},
            "transport_socket": typed(
                "envoy.transport_sockets.tls", "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                require_client_certificate=True,
                common_tls_context=self._tls({"prefix": f"spiffe://{TRUST_DOMAIN}/"}, ["h2", "http/1.1"]),
            ),
            "filters": [self._http("inbound", route)],
        }]
        if self.workload == CALLEE:
            chains.append({
                "name": "plaintext", "filter_chain_match": {"transport_protocol": "raw_buffer"},
                "filters": [self._http("inbound", route)],
            })
        connection = {"mesh.reporter": "inbound", "log.kind": "connection", **CONNECTION_FIELDS}
        return {
            "name": "virtualInbound", "traffic_direction": "INBOUND", "address": address(self.inbound),
            "listener_filters": [typed("envoy.filters.listener.tls_inspector",
                                        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector")],
            # A refused handshake stands in the listener's log, and nowhere else.
            "access_log": [self._access_log("mesh_connection", connection)],
            "filter_chains": chains,
        }

    def _outbound_listener(self, cluster):
        route = [{"name": "default", "match": {"prefix": "/"}, "route": {"cluster": cluster}}]
        return {
            "name": "virtualOutbound", "traffic_direction": "OUTBOUND", "address": address(self.outbound),
            "filter_chains": [{"name": "outbound", "filters": [self._http("outbound", route)]}],
        }

    def _tls(self, peer_name, protocols):
        own = f"{self.certificates}/{self.workload}"
        return {
            "alpn_protocols": protocols,
            # An Envoy client stops at TLS 1.2 unless told otherwise.
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{"certificate_chain": {"filename": f"{own}.pem"},
                                  "private_key": {"filename": f"{own}.key"}}],
            "validation_context": {
                "trusted_ca": {"filename": f"{self.certificates}/mesh-ca.pem"},
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": peer_name}],
            },
        }

    def _upstream_tls(self, callee):
        return typed(
            "envoy.transport_sockets.tls", "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            sni=f"outbound_.8080_._.{callee}.{NAMESPACE}.svc.cluster.local",
            common_tls_context=self._tls({"exact": spiffe(callee)}, ["h2"]),
        )


def _otlp_service():
    return {"envoy_grpc": {"cluster_name": "otlp"}, "timeout": "2s"}


def cluster(name, port, h2=False, **more):
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address(port)}}]}
    cluster = {"name": name, "alt_stat_name": name.split(".")[0], "type": "STATIC", "connect_timeout": "1s",
               "load_assignment": {"cluster_name": name, "endpoints": [endpoint]}, **more}
    if h2:
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        cluster["typed_extension_protocol_options"] = {
            options: {"@type": TYPE + options, "explicit_http_config": {"http2_protocol_options": {}}}}
    return cluster


# ---- the running mesh --------------------------------------------------------------------------------------------


class _App(http.server.BaseHTTPRequestHandler):
    """The workload behind every inbound listener: reads the body and answers 200."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b'{"balance":12}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


class Mesh:
    """Brings the mesh up; `call` is normal traffic, `plaintext_call` and `forged_call` are the attacks."""

    def __init__(self, folder, processes, envoy, otlp_port):
        self.folder = folder
        self.certificates = os.path.join(folder, "certificates")
        os.makedirs(self.certificates, exist_ok=True)
        mesh_ca = make_ca(self.certificates, "mesh-ca")
        other_ca = make_ca(self.certificates, "other-ca")
        for workload in (*CALLERS, CALLEE):
            issue(self.certificates, mesh_ca, workload, f"URI:{spiffe(workload)}")
        issue(self.certificates, other_ca, "forged-web", f"URI:{spiffe('web')}")

        self.app = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _App)
        threading.Thread(target=self.app.serve_forever, daemon=True).start()
        self.ledger = Sidecar(CALLEE, self.certificates, otlp_port)
        self.callers = {name: Sidecar(name, self.certificates, otlp_port) for name in CALLERS}
        self._start(processes, envoy, self.ledger)
        for caller in self.callers.values():
            self._start(processes, envoy, caller, self.ledger)

    def _start(self, processes, envoy, sidecar, callee=None):
        path = os.path.join(self.folder, f"{sidecar.workload}.json")
        with open(path, "w", encoding="utf-8") as config:
            json.dump(sidecar.bootstrap(self.app.server_port, callee), config, indent=1)
        process = processes.start(
            f"envoy-{sidecar.workload}", envoy, "-c", path, "--concurrency", "1", "--disable-hot-restart", "-l", "warning")
        ready = answers_200(sidecar.admin, "/ready")
        wait_until(f"the sidecar of {sidecar.workload} to be ready", ready, READY_SECONDS, process)

    def call(self, caller, method="GET", path="/accounts/1", body=None):
        """A call from a workload to ledger, through both sidecars: its status."""
        headers = {"host": f"ledger.{NAMESPACE}.svc.cluster.local", "user-agent": f"{caller}/1.0"}
        return request(self.callers[caller].outbound, method, path, body, headers)[0]

    def plaintext_call(self, path="/accounts/1"):
        """Straight to ledger's inbound port, in the clear: its status."""
        headers = {"host": f"ledger.{NAMESPACE}.svc.cluster.local", "user-agent": "curl/8.5.0"}
        return request(self.ledger.inbound, "GET", path, None, headers)[0]

    def forged_call(self):
        """A TLS client whose certificate claims to be web, signed by another authority: what became of it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(f"{self.certificates}/mesh-ca.pem")
        context.load_cert_chain(f"{self.certificates}/forged-web.pem", f"{self.certificates}/forged-web.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.ledger.inbound, timeout=10, context=context)
        try:
            connection.request("GET", "/accounts/1")
            return f"answered {connection.getresponse().status}"
        except (OSError, http.client.HTTPException):
            return "refused"
        finally:
            connection.close()

    def close(self):
        self.app.shutdown()
        self.app.server_close()
