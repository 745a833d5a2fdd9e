"""The engine that enforces, as the quarantine test has it: started, killed, asked."""

import glob
import json
import os
import re
import shutil
import subprocess

from local import answers_200, expect, get_json, request, wait_until

READY_SECONDS = 120  # a debug build learns a capture first
STOP_SECONDS = 25
VERIFY_SECONDS = 30
ANSWER_SECONDS = 30
TOKEN = "correct-horse-battery-staple"
PERSON = {"content-type": "application/json"}
CONFIG = """\
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}, http: {{endpoint: "127.0.0.1:{http}"}}}}}}}}
serve: {{endpoint: "127.0.0.1:{api}", auth: {{bearer_token_file: "{token}"}}}}
sql: {{endpoint: "127.0.0.1:{sql}"}}
quarantine:
  mode: {mode}
  folder: "{folder}"
  ttl: {ttl}
  # One test has more intrusions than a mesh should.
  per_hour_max: 1000
  active_max: 50
  xds: {{endpoint: "127.0.0.1:{xds}"}}
"""


class Engine:
    """A program with a folder of its own, which outlives it."""

    def __init__(self, bed, label, mode, ttl):
        self.bed, self.label, self.starts = bed, label, 0
        self.folder = os.path.join(bed.out, label)
        shutil.rmtree(self.folder, ignore_errors=True)  # of an earlier run
        os.makedirs(self.folder)
        token = os.path.join(self.folder, "token")
        with open(token, "w", encoding="utf-8") as file:
            file.write(TOKEN)
        self.config = os.path.join(self.folder, "selvedge.yaml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(grpc=bed.grpc, http=bed.http, api=bed.api, sql=bed.sql, xds=bed.xds, token=token,
                                     folder=self.folder, mode=mode, ttl=ttl))
        self.start()

    def start(self):
        self.starts += 1
        self.process = self.bed.processes.start(
            f"{self.label}-{self.starts}", self.bed.binary, "run", "--config", self.config, "--learn", self.bed.capture)
        wait_until("the engine to be ready", answers_200(self.bed.api, "/readyz"), READY_SECONDS, self.process, pause=0.02)

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def end(self):
        """Ends it if it still runs."""
        if self.process.poll() is None:
            self.kill()

    def stop_and_verify(self):
        """SIGTERM, and then what `selvedge audit verify` says of its log."""
        self.process.terminate()
        status = self.process.wait(STOP_SECONDS)
        expect(status == 0, f"it ended with {status}")
        done = subprocess.run((self.bed.binary, "audit", "verify", os.path.join(self.folder, "audit")),
                              capture_output=True, text=True, timeout=VERIFY_SECONDS, check=False)
        return expect(done.returncode == 0, f"audit verify ended with {done.returncode}: {done.stdout}{done.stderr}")

    def quarantines(self):
        return get_json(self.bed.api, "/api/v1/quarantines")["quarantines"]

    def proxies(self):
        """How many proxies stand how, by `/metrics`."""
        status, body = request(self.bed.api, "GET", "/metrics")
        expect(status == 200, f"GET /metrics answered {status}")
        found = re.findall(r'^selvedge_xds_proxies\{state="(\w+)"\} (\d+)$', body.decode(), re.MULTILINE)
        return {state: int(count) for state, count in found}

    def command(self, name, verb, why, token=TOKEN):
        """What a person orders: (status, body)."""
        headers = PERSON if token is None else {**PERSON, "authorization": f"Bearer {token}"}
        return request(self.bed.api, "POST", f"/api/v1/quarantines/{name}/{verb}", json.dumps({"why": why}), headers)

    def preview(self, name):
        """The policy of a quarantine as Envoy gets it."""
        status, body = request(self.bed.api, "GET", f"/api/v1/quarantines/{name}/preview?target=envoy")
        expect(status == 200, f"{status} {body[:300]!r}")
        return body.decode()

    def backtest(self, policy, capture, workload):
        """What `selvedge policy backtest` says, as an object."""
        done = subprocess.run(
            (self.bed.binary, "policy", "backtest", policy, "--capture", capture, "--workload", workload,
             "--format", "json"), capture_output=True, text=True, timeout=VERIFY_SECONDS, check=False)
        expect(done.returncode == 0, f"policy backtest ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def rows(self, sql):
        """Rows of an answer, as objects."""
        headers = {"content-type": "application/json", "accept": "application/json", "authorization": f"Bearer {TOKEN}"}
        status, body = request(self.bed.api, "POST", "/api/v1/sql", json.dumps({"query": sql}), headers, ANSWER_SECONDS)
        expect(status == 200, f"{status} {body[:500]!r} to {sql}")
        return json.loads(body)

    def count(self, table, where):
        return int(self.rows(f"SELECT count(*) AS n FROM {table} WHERE {where}")[0]["n"])

    def stored_at(self):
        """When the lease store was written last."""
        return os.stat(os.path.join(self.folder, "leases.redb")).st_mtime_ns

    def audit_size(self):
        return sum(os.path.getsize(path) for path in audit_files(self.folder))

    def evidence(self):
        """What people want to see when something is wrong."""
        listed = [(one["id"], one["state"], one["progress"], one["progress_reason"], one["reason"], one["ended"])
                  for one in self.quarantines()] if self.process.poll() is None else "the engine is down"
        records = [f"{one['kind']} {one['subject']} {one['why']} {one['detail'].get('plan', '')}"
                   for one in audit_records(self.folder)][-12:]
        return f"quarantines: {listed}\nlast audit records:\n  " + "\n  ".join(records)


def audit_files(folder):
    """Oldest first; `audit.log` is the newest."""
    found = glob.glob(os.path.join(folder, "audit", "audit*.log"))
    return sorted(found, key=lambda path: (path.endswith("audit.log"), path))


def audit_records(folder):
    """Records of an audit log, oldest first, with `at` as a number. A last line that is still being written is left out."""
    records = []
    for path in audit_files(folder):
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    record = json.loads(line)
                    records.append({**record, "at": int(record["at_unix_nano"])})
    return records


def cuts_principal(quarantine, principal, destination):
    """True when a quarantine refuses an identity at a workload."""
    return any(cut["place"] == "inbound" and cut["caller"] == "principal" and cut["principal"] == principal
               and cut["workload"]["workload"] == destination for cut in quarantine["cuts"])


def matches(cut, call):
    """Whether a cut refuses a call (source principal, destination, method, path): the test's own reading of it."""
    principal, destination, method, path = call
    if (cut["place"], cut["caller"], cut["workload"]["workload"]) != ("inbound", "principal", destination):
        return False
    return cut["principal"] == principal and (not cut["operations"] or any(
        one["method"] in ("", method) and on_route(one["route"], path) for one in cut["operations"]))


def on_route(route, path):
    """`{...}` is any one segment, `{*}` at the end the rest; an empty route is every path."""
    if not route:
        return True
    wanted, asked = route.split("/"), path.split("?")[0].split("/")
    if wanted[-1] == "{*}" and len(asked) >= len(wanted):
        wanted, asked = wanted[:-1], asked[:len(wanted) - 1]
    return len(wanted) == len(asked) and all(
        want == ask or (want.startswith("{") and ask) for want, ask in zip(wanted, asked))
