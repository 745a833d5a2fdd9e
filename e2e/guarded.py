"""A real mesh that takes its quarantines from Selvedge, normal load through it, and an intruder in one of its workloads.

Five workloads, each behind its own Envoy, in mTLS with SPIFFE identities. Every sidecar subscribes to the engine's xDS
port for what is denied on its way in and out, and starts with nothing denied (`default_config`). Beside it each has an
allow list in dry run, as a cautious owner would have it: of the callers and paths that are known.
"""

import http.client
import http.server
import json
import os
import random
import threading
import time

from local import answers_200, expect, request, wait_until
from mesh import NAMESPACE, READY_SECONDS, REQUEST_FIELDS, TYPE, Sidecar, cluster, issue, make_ca, spiffe, typed

WORKLOADS = ("web", "courier", "cart", "ledger", "vault")
# Who calls whom when nothing is wrong. All other pairs are lateral movement.
NORMAL_EDGES = (("web", "ledger"), ("courier", "ledger"), ("web", "cart"), ("cart", "vault"), ("ledger", "vault"),
                ("vault", "courier"), ("courier", "web"))
LATERAL_EDGES = tuple((source, destination) for source in WORKLOADS for destination in WORKLOADS
                      if source != destination and (source, destination) not in NORMAL_EDGES)
# What only an intruder asks for.
LOOT = ("/admin/export", "/admin/users", "/internal/keys", "/backup/latest", "/debug/config")
RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
QUARANTINE_PREFIX = "selvedge-q-"
REQUEST_PAUSE = 0.02


def host(workload):
    return f"{workload}.{NAMESPACE}.svc.cluster.local"


class GuardedSidecar(Sidecar):
    """A sidecar that enforces, and says in its access log what its policies made of a request."""

    request_fields = {**REQUEST_FIELDS, "rbac.metadata": "%DYNAMIC_METADATA(envoy.filters.http.rbac)%"}

    def __init__(self, workload, certificates, otlp_port, xds_port, log_flush):
        super().__init__(workload, certificates, otlp_port)
        self.xds_port = xds_port
        self.log_flush = log_flush

    def guarded_bootstrap(self, app_port, others):
        """Like `bootstrap`, with a way to every other workload, and with the control plane."""
        config = self.bootstrap(app_port)
        static = config["static_resources"]
        static["clusters"].append(cluster("xds", self.xds_port, h2=True))
        routes = []
        for other in others:
            name = f"outbound|80||{host(other.workload)}"
            static["clusters"].append(cluster(
                name, other.inbound, h2=True, transport_socket=self._upstream_tls(other.workload)))
            asked = {"name": ":authority", "string_match": {"exact": host(other.workload)}}
            routes.append({"name": "default", "match": {"prefix": "/", "headers": [asked]}, "route": {"cluster": name}})
        static["listeners"].append({**self._outbound_listener(""), "filter_chains": [
            {"name": "outbound", "filters": [self._http("outbound", routes)]}]})
        config["dynamic_resources"] = {"ads_config": {
            "api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": True,
            # By default Envoy waits up to 30 s before it looks for its control plane again.
            "grpc_services": [{"envoy_grpc": {"cluster_name": "xds", "retry_policy": {
                "retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}}}}]}}
        return config

    def _http_filters(self, reporter):
        ours = {"name": f"selvedge-{reporter}", "config_discovery": {
            "config_source": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "2s"},
            "type_urls": [TYPE + RBAC], "default_config": {"@type": TYPE + RBAC},
            "apply_default_config_without_warming": True}}
        theirs = [typed("baseline", RBAC, shadow_rules=self._allow_list(), shadow_rules_stat_prefix="baseline_")]
        return (theirs if reporter == "inbound" else []) + [ours] + super()._http_filters(reporter)

    def _allow_list(self):
        callers = [source for source, destination in NORMAL_EDGES if destination == self.workload]
        return {"action": "ALLOW", "policies": {"known-callers": {
            "permissions": [{"url_path": {"path": {"prefix": "/accounts"}}}],
            "principals": [{"authenticated": {"principal_name": {"exact": spiffe(caller)}}} for caller in callers]}}}

    def enforced(self):
        """Ids of the quarantines in Envoy's own configuration, in dry run or not."""
        status, body = request(self.admin, "GET", "/config_dump?resource=ecds_filters")
        expect(status == 200, f"config dump of {self.workload}: {status} {body[:200]!r}")
        found = set()

        def look(value):
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                if isinstance(key, str) and key.startswith(QUARANTINE_PREFIX):
                    found.add(key)
                if isinstance(inner, (dict, list)):
                    look(inner)

        look(json.loads(body))
        return found

    def counter(self, name):
        """The sum of Envoy's own counters whose names end so."""
        status, body = request(self.admin, "GET", f"/stats?format=json&filter={name}$")
        expect(status == 200, f"statistics of {self.workload}: {status}")
        return sum(stat["value"] for stat in json.loads(body)["stats"] if stat.get("name", "").endswith(name))


class _App(http.server.BaseHTTPRequestHandler):
    """The workload behind every inbound listener: reads the body and answers 200."""

    protocol_version = "HTTP/1.1"
    # One write an answer: two of them, with Nagle's algorithm and a delayed acknowledgement, take 40 ms.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

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


def issue_identities(folder):
    """Certificates of all workloads; the folder."""
    os.makedirs(folder, exist_ok=True)
    authority = make_ca(folder, "mesh-ca")
    for workload in WORKLOADS:
        issue(folder, authority, workload, f"URI:{spiffe(workload)}")
    return folder


class GuardedMesh:
    """Five Envoys and their workloads. Telemetry goes to `otlp_port`, quarantines come from `xds_port`."""

    def __init__(self, folder, processes, envoy, certificates, ports, log_flush):
        os.makedirs(folder, exist_ok=True)
        self.app = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _App)
        self.app.daemon_threads = True
        threading.Thread(target=self.app.serve_forever, daemon=True).start()
        otlp_port, xds_port = ports
        self.sidecars = {name: GuardedSidecar(name, certificates, otlp_port, xds_port, log_flush) for name in WORKLOADS}
        self.processes = []
        for sidecar in self.sidecars.values():
            others = [other for other in self.sidecars.values() if other is not sidecar]
            path = os.path.join(folder, f"{sidecar.workload}.json")
            with open(path, "w", encoding="utf-8") as config:
                json.dump(sidecar.guarded_bootstrap(self.app.server_port, others), config, indent=1)
            self.processes.append(processes.start(
                f"envoy-{os.path.basename(folder)}-{sidecar.workload}", envoy, "-c", path, "--concurrency", "1",
                "--disable-hot-restart", "-l", "warning"))
        for sidecar, process in zip(self.sidecars.values(), self.processes):
            wait_until(f"the sidecar of {sidecar.workload} to be ready", answers_200(sidecar.admin, "/ready"),
                       READY_SECONDS, process)

    def enforced(self, workload):
        return self.sidecars[workload].enforced()

    def connected(self):
        """True when every sidecar has a stream to the control plane."""
        return all(sidecar.counter("control_plane.connected_state") == 1 for sidecar in self.sidecars.values())

    def clean(self):
        """True when nothing is denied anywhere, and the control plane says so."""
        return self.connected() and not any(sidecar.enforced() for sidecar in self.sidecars.values())

    def caller(self, source, destination):
        return Caller(self.sidecars[source].outbound, source, destination)

    def plaintext_call(self, destination, path):
        """Straight to an inbound port, in the clear: its status."""
        headers = {"host": host(destination), "user-agent": "curl/8.5.0"}
        return request(self.sidecars[destination].inbound, "GET", path, None, headers)[0]

    def close(self):
        self.app.shutdown()
        self.app.server_close()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(10)


class Caller:
    """A kept-alive connection of a workload to its own sidecar, which takes the calls to another workload."""

    def __init__(self, port, source, destination):
        self.port = port
        self.headers = {"host": host(destination), "user-agent": f"{source}/1.0"}
        self.connection = None

    def call(self, method, path, body=None):
        """The status, or what went wrong in words."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            self.connection.request(method, path, body, self.headers)
            answer = self.connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return f"{type(error).__name__}: {error}"

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Load:
    """Normal calls on every normal edge, until closed: `answers` are (start ns, source, destination, status)."""

    def __init__(self, mesh, seed):
        self.answers = []
        self.stop = threading.Event()
        self.threads = [
            threading.Thread(target=self._run, args=(mesh.caller(*edge), edge, random.Random(f"{seed} {edge}")), daemon=True)
            for edge in NORMAL_EDGES]
        for thread in self.threads:
            thread.start()

    def _run(self, caller, edge, draw):
        while not self.stop.wait(draw.uniform(0.06, 0.18)):
            account, start = draw.randint(1, 40), time.time_ns()
            if draw.random() < 0.25:
                status = caller.call("POST", f"/accounts/{account}/entries", b"x" * draw.randint(80, 400))
            else:
                status = caller.call("GET", f"/accounts/{account}")
            self.answers.append((start, *edge, status))
        caller.close()

    def harmed(self):
        """Calls that were not answered 200."""
        return [answer for answer in list(self.answers) if answer[3] != 200]

    def close(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


class Intruder:
    """Somebody in the workload `source` asks `destination` for what it should not, every 20 ms, until stopped.

    `answers` are (start ns, end ns, status) by the wall clock, which the audit log is on too.
    """

    def __init__(self, mesh, source, destination, path, method="GET"):
        self.source, self.destination = source, destination
        self.request = (method, path)
        self.answers = []
        self.got_in, self.denied = threading.Event(), threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(mesh.caller(source, destination),), daemon=True)
        self._thread.start()

    def _run(self, caller):
        while not self._stop.is_set():
            start = time.time_ns()
            status = caller.call(*self.request)
            self.answers.append((start, time.time_ns(), status))
            if status == 200:
                self.got_in.set()
            if status == 403:
                self.denied.set()
            spent = (time.time_ns() - start) / 1e9
            self._stop.wait(max(0.0, REQUEST_PAUSE - spent))
        caller.close()

    def first(self, status):
        """The first answer with this status, or None."""
        return next((answer for answer in list(self.answers) if answer[2] == status), None)

    def slipped(self):
        """Answers other than 403 since the first 403."""
        answers = [answer for answer in list(self.answers)]
        at = next((at for at, answer in enumerate(answers) if answer[2] == 403), len(answers))
        return [answer for answer in answers[at:] if answer[2] != 403]

    def close(self):
        self._stop.set()
        self._thread.join()
