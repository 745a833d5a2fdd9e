"""The end-to-end test: a running Selvedge between a real Envoy mesh, the OpenTelemetry SDK and a real Alertmanager, and
its SQL asked by psql and psycopg.

Usage: run.py --selvedge PATH --envoy PATH --alertmanager PATH --out FOLDER

Builds nothing, listens on loopback only, takes free ports, ends everything it started. Prints a line a promise and at
the end `N passed, M failed`; exits 1 when one failed.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

from dashboard import check_dashboard
from kafka import add_kafka_arguments, check_kafka
from local import Failed, Processes, answers_200, expect, free_ports, get_json, request, wait_until
from mesh import CALLEE, CALLERS, NAMESPACE, Mesh, spiffe
from peers import Alertmanager, WebhookReceiver, export_grpc, export_http, sdk_spans, signature_holds
from quarantine import add_arguments, check_quarantine
from sql import check_sql

READY_SECONDS = 30
# Windows are ten seconds long: normal traffic must fill a few before the attack, or nothing is known to deviate from.
NORMAL_SECONDS = 35
ALERT_SECONDS = 60
# What an orchestrator grants between SIGTERM and SIGKILL, less five seconds.
DRAIN_SECONDS = 25
SDK_SPANS = 40
SIGNALS = {"traces": "spans", "logs": "access logs", "metrics": "metric points"}
SECRET = "whsec_c2VsdmVkZ2UtZW5kLXRvLWVuZC10ZXN0LXNlY3JldA=="

CONFIG = """\
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:{grpc}
      http:
        endpoint: 127.0.0.1:{http}
serve:
  endpoint: 127.0.0.1:{api}
journal:
  path: journal
sql:
  endpoint: 127.0.0.1:{sql}
alerts:
  alertmanager:
    urls: ["http://127.0.0.1:{alertmanager}"]
    resend_interval: 2s
  webhook:
    url: http://127.0.0.1:{webhook}/selvedge
    secret: {secret}
    format: selvedge
"""


class Report:
    """Counts promises kept and broken, and says each as it is decided."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, promise, probe):
        """Runs the probe; nothing found, a `Failed`, or any other exception breaks the promise. Returns what was found."""
        try:
            found = probe()
            expect(found, "it does not")
        except Failed as failure:
            self.failed += 1
            print(f"FAIL  {promise}\n      {failure}", flush=True)
            return None
        except Exception:  # a broken probe must not hide the promises after it
            self.failed += 1
            print(f"FAIL  {promise}\n{traceback.format_exc()}", flush=True)
            return None
        self.passed += 1
        print(f"PASS  {promise}", flush=True)
        return found


class Selvedge:
    """The program under test, and what it says of itself."""

    def __init__(self, folder, processes, binary, alertmanager_port, webhook_port):
        self.grpc, self.http, self.api, self.sql = free_ports(4)
        path = os.path.join(folder, "selvedge.yaml")
        with open(path, "w", encoding="utf-8") as config:
            config.write(CONFIG.format(
                grpc=self.grpc, http=self.http, api=self.api, sql=self.sql, alertmanager=alertmanager_port, webhook=webhook_port,
                secret=SECRET))
        shutil.rmtree(os.path.join(folder, "journal"), ignore_errors=True)  # of an earlier run
        self.process = processes.start("selvedge", binary, "run", "--config", path)
        wait_until("selvedge to be ready", answers_200(self.api, "/readyz"), READY_SECONDS, self.process)

    def samples(self):
        """Every sample of `/metrics`: (name, labels, value)."""
        status, body = request(self.api, "GET", "/metrics")
        if status != 200:
            raise Failed(f"GET /metrics answered {status}")
        found = []
        for line in body.decode().splitlines():
            match = re.match(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)", line)
            if match:
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match.group(2) or ""))
                found.append((match.group(1), labels, float(match.group(3))))
        return found

    def ledger(self, signal_kind):
        """Of one scrape: how many signals of a kind were received, and how many of those have a fate."""
        of_kind = [(name, value) for name, labels, value in self.samples() if labels.get("signal") == signal_kind]
        received = sum(value for name, value in of_kind if name == "selvedge_signals_total")
        fates = sum(value for name, value in of_kind if name == "selvedge_fates")
        return received, fates

    def incidents(self):
        """What `GET /api/v1/incidents` lists."""
        answer = get_json(self.api, "/api/v1/incidents")
        return answer["incidents"] if isinstance(answer, dict) else answer


class Traffic:
    """Normal calls of both callers, a few a second, until closed."""

    def __init__(self, mesh):
        self.mesh = mesh
        self.statuses = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(caller,), daemon=True) for caller in CALLERS]
        for thread in self.threads:
            thread.start()

    def _run(self, caller):
        draw = random.Random(caller)
        while not self.stop.wait(draw.uniform(0.05, 0.15)):
            account = draw.randint(1, 40)
            if draw.random() < 0.25:
                status = self.mesh.call(caller, "POST", f"/accounts/{account}/entries", b"x" * draw.randint(80, 400))
            else:
                status = self.mesh.call(caller, "GET", f"/accounts/{account}")
            self.statuses.append(status)

    def close(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def every_signal(selvedge, kind):
    """Received signals of a kind; fails when there are none, or when their fates do not add up to them."""
    received, fates = selvedge.ledger(kind)
    expect(received == fates, f"{received} {kind} were received, their fates add up to {fates}")
    expect(received, f"no {kind} were received")
    return received


def edges_to(incident, workload):
    return [edge for edge in incident.get("edges", []) if edge["destination"]["workload"] == workload]


def check_examples(report, arguments, mesh):
    """The sidecar configurations that we ship are ones that Envoy takes."""
    shipped = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples", "envoy")
    for name in ("web", "ledger"):
        with open(os.path.join(shipped, f"{name}.yaml"), encoding="utf-8") as example:
            text = example.read().replace("/certificates", mesh.certificates)
        path = os.path.join(arguments.out, f"example-{name}.yaml")
        with open(path, "w", encoding="utf-8") as copy:
            copy.write(text)
        check = subprocess.run((arguments.envoy, "--mode", "validate", "-c", path, "-l", "error"),
                               capture_output=True, text=True, timeout=60, check=False)
        report.check(f"Envoy takes examples/envoy/{name}.yaml",
                     lambda: expect(check.returncode == 0, check.stdout + check.stderr))


def check_normal(report, selvedge, mesh):
    """Normal traffic flows, is received in all three signals, and nobody is woken by it."""
    traffic = Traffic(mesh)
    deadline = time.monotonic() + NORMAL_SECONDS

    def normal_time_is_over():
        return time.monotonic() > deadline

    wait_until("normal traffic to fill some windows", normal_time_is_over, NORMAL_SECONDS + 30, selvedge.process)
    answered = list(traffic.statuses)
    report.check(f"all normal calls through the mesh are answered 200 ({len(answered)} of them)",
                 lambda: expect(len(answered) > 100 and set(answered) == {200}, f"statuses: {set(answered)}"))
    for kind, what in SIGNALS.items():
        report.check(f"Envoy's {what} are received, and each has a fate", lambda kind=kind: every_signal(selvedge, kind))
    report.check("normal traffic raises no incident above info",
                 lambda: expect(not [i for i in selvedge.incidents() if i["severity"] != "info"],
                                f"incidents: {selvedge.incidents()}"))
    return traffic


def attack(mesh):
    """One round of both attacks: what became of the plaintext call and of the forged handshake."""
    return mesh.plaintext_call("/accounts/7"), mesh.forged_call()


def check_attack(report, selvedge, mesh, alertmanager, webhooks):
    """A plaintext call and a forged certificate become incidents that reach people, with the right edge."""
    outcomes = []
    began = time.monotonic()

    def alert_about_ledger():
        outcomes.append(attack(mesh))
        return [alert for alert in alertmanager.alerts() if alert["labels"].get("destination") == CALLEE]

    alerts = report.check("the attack reaches Alertmanager as an alert whose destination is ledger",
                          lambda: wait_until("an alert about ledger", alert_about_ledger, ALERT_SECONDS,
                                             selvedge.process, pause=0.4))
    report.check("the permissive port took the plaintext calls, and refused the forged certificate",
                 lambda: expect(set(outcomes) == {(200, "refused")}, f"outcomes: {set(outcomes)}"))
    if alerts:
        print(f"      {time.monotonic() - began:.1f} s after the first attack left", flush=True)
        check_alert(report, alerts[0])
    check_incidents(report, selvedge, mesh)
    check_webhooks(report, webhooks)


def check_alert(report, alert):
    labels, annotations = alert["labels"], alert["annotations"]
    report.check("the alert's labels name it, its severity and both ends",
                 lambda: expect(labels.get("alertname") and "source" in labels
                                and labels.get("severity") in ("low", "medium", "high", "critical"),
                                f"labels: {labels}"))
    report.check("no label of the alert blames the forged identity",
                 lambda: expect(spiffe("web") not in labels.values(), f"labels: {labels}"))
    report.check("the alert's annotations explain it",
                 lambda: expect(annotations.get("summary") and annotations.get("description"),
                                f"annotations: {annotations}"))


def check_incidents(report, selvedge, mesh):
    def about_ledger():
        attack(mesh)
        found = [incident for incident in selvedge.incidents() if edges_to(incident, CALLEE)]
        kinds = {kind for incident in found for kind in incident["kinds"]}
        refused = kinds & {"handshake_rejected", "forged_identity", "certificate_issuer"}
        return found if "mtls_downgrade" in kinds and refused else None

    found = report.check("the API shows the plaintext calls and the refused handshake, with ledger as destination",
                         lambda: wait_until("incidents about ledger of both kinds", about_ledger, ALERT_SECONDS,
                                            selvedge.process, pause=0.4))
    if not found:
        print(f"      incidents: {selvedge.incidents()}", flush=True)
        return
    report.check("the forged identity is nobody's suspect, and no edge's source",
                 lambda: expect(not [incident for incident in found if blames(incident, "web")],
                                f"incidents: {found}"))
    namespaces = {edge["destination"]["namespace"] for i in found for edge in edges_to(i, CALLEE)}
    report.check("the destination stands in its namespace",
                 lambda: expect(namespaces == {NAMESPACE}, f"namespaces: {namespaces}"))


def blames(incident, workload):
    suspects = [suspect["workload"] for suspect in incident["suspects"]]
    sources = [edge["source"]["workload"] for edge in incident["edges"]]
    return workload in suspects + sources


def check_webhooks(report, webhooks):
    def delivered(path):
        return lambda: wait_until(f"a webhook on {path}", lambda: webhooks.bodies(path), ALERT_SECONDS)

    report.check("Alertmanager passes the alert on to its own receiver", delivered("/alertmanager"))
    posts = report.check("the webhook sink delivers the incident", delivered("/selvedge"))
    if posts:
        body, headers, raw = posts[0]
        report.check("its delivery is signed by the Standard Webhooks scheme",
                     lambda: expect(signature_holds(SECRET, headers, raw), f"headers: {headers}"))
        report.check("its body says what it is, when, and what happened",
                     lambda: expect(body.get("type") and body.get("timestamp") and body.get("data"), f"body: {body}"))


def check_sdk(report, selvedge):
    """The OpenTelemetry SDK's own exporters are content, and what they sent is counted."""
    for name, export, port in (("gRPC", export_grpc, selvedge.grpc), ("HTTP", export_http, selvedge.http)):
        before = selvedge.ledger("traces")[0]
        spans = sdk_spans(SDK_SPANS)
        report.check(f"the OpenTelemetry SDK's {name} exporter, with gzip, reports success",
                     lambda: export(spans, port))
        report.check(f"each of its {SDK_SPANS} spans is counted with a fate",
                     lambda: wait_until("the span counters to rise",
                                        lambda: every_signal(selvedge, "traces") >= before + SDK_SPANS, 15, selvedge.process))


def check_end(report, selvedge):
    """SIGTERM drains and ends the process in time."""

    def drain():
        began = time.monotonic()
        selvedge.process.send_signal(signal.SIGTERM)
        status = selvedge.process.wait(DRAIN_SECONDS)
        return expect(status == 0, f"exit status {status} after {time.monotonic() - began:.1f} s")

    report.check(f"SIGTERM ends it with status 0 within {DRAIN_SECONDS} s", drain)


def test(report, arguments, processes):
    webhooks = WebhookReceiver()
    mesh = traffic = None
    try:
        alertmanager = Alertmanager(
            arguments.out, processes, arguments.alertmanager, f"http://127.0.0.1:{webhooks.port}/alertmanager")
        report.check("a real Alertmanager runs", lambda: alertmanager.alerts() == [])
        selvedge = report.check("selvedge run starts with a config and becomes ready", lambda: Selvedge(
            arguments.out, processes, arguments.selvedge, alertmanager.port, webhooks.port))
        if selvedge is None:
            return
        report.check("it says that it is healthy", answers_200(selvedge.api, "/healthz"))
        mesh = report.check("a real Envoy mesh of three sidecars comes up", lambda: Mesh(
            arguments.out, processes, arguments.envoy, selvedge.grpc))
        if mesh is not None:
            check_examples(report, arguments, mesh)
            traffic = check_normal(report, selvedge, mesh)
            check_attack(report, selvedge, mesh, alertmanager, webhooks)
            check_dashboard(report, selvedge)
        check_sdk(report, selvedge)
        if traffic is not None:
            traffic.close()
        check_end(report, selvedge)
        check_sql(report, arguments, processes)
        check_quarantine(report, arguments, processes)
        check_kafka(report, arguments, processes)
    finally:
        if traffic is not None:
            traffic.stop.set()
        if mesh is not None:
            mesh.close()
        webhooks.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, what in (("selvedge", "the binary under test"), ("envoy", "an Envoy binary"),
                       ("alertmanager", "a Prometheus Alertmanager binary"), ("out", "folder for logs and configs")):
        parser.add_argument(f"--{name}", required=True, help=what)
    add_arguments(parser)
    add_kafka_arguments(parser)
    arguments = parser.parse_args()
    arguments.out = os.path.abspath(arguments.out)
    report = Report()
    finish(report, arguments, lambda processes: test(report, arguments, processes))


def finish(report, arguments, body):
    """Runs everything, ends what it started, says the sum, and exits."""
    with Processes(os.path.join(arguments.out, "log")) as processes:
        report_unexpected(report, lambda: body(processes))
        if report.failed:
            for process in processes.running:
                print(f"---- last lines of {processes.log_path(process.label)}\n{processes.log_tail(process.label)}")
    print(f"end-to-end: {report.passed} passed, {report.failed} failed", flush=True)
    sys.exit(1 if report.failed else 0)


def report_unexpected(report, body):
    """A test that cannot go on is a failure, never a skip."""
    try:
        body()
    except Exception:
        report.failed += 1
        print(f"FAIL  the test ran to its end\n{traceback.format_exc()}", flush=True)


if __name__ == "__main__":
    main()
