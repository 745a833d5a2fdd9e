"""SQL of a running engine, asked through psql, through psycopg, and as HTTP: all three must say the same.

The engine has the baseline and gets the captures of the replay test as OTLP, so its answers must also be the reviewed
ones. It asks for a password (SCRAM-SHA-256) and speaks TLS with a certificate that clients verify.
"""

import csv
import datetime
import io
import json
import os
import re
import signal
import subprocess

from cookbook import Cookbook, capture, frames, outbound_calls
from local import Failed, answers_200, expect, free_ports, get_json, request, wait_until
from mesh import issue, make_ca

READY_SECONDS = 120  # a debug build learns two captures first
SETTLE_SECONDS = 120
GONE_SECONDS = 15
ANSWER_SECONDS = 60
LEARNED_TRIES = 5  # windows close 10 s apart, a try takes less than one
USER, PASSWORD = "reader", "correct horse battery staple"
CONFIG = """\
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}, http: {{endpoint: "127.0.0.1:{http}"}}}}}}}}
serve: {{endpoint: "127.0.0.1:{api}"}}
sql:
  endpoint: 127.0.0.1:{sql}
  time_limit: 5m
  concurrent_max: 1
  auth: {{user: {user}, password: {password}}}
  tls: {{cert_file: {certificate}.pem, key_file: {certificate}.key}}
journal: off
"""
# Longer than any test waits, over no more than the calls that are there.
ENDLESS = "SELECT count(*) FROM calls a, calls b, calls c, calls d WHERE a.duration + b.duration + c.duration < d.duration"
REFUSED = {
    "CREATE TABLE copied AS SELECT * FROM calls": "25006",
    "CREATE EXTERNAL TABLE passwords STORED AS CSV LOCATION '/etc/passwd'": "",
    "INSERT INTO calls SELECT * FROM calls": "25006",
    "DELETE FROM calls": "25006",
    "DROP TABLE calls": "25006",
    "COPY (SELECT 1) TO '/tmp/selvedge-e2e.csv'": "25006",
    "SET datafusion.execution.target_partitions = 99": "25006",
    "SELECT * FROM '/etc/passwd'": "42000",
    "SELECT pg_read_file('/etc/passwd')": "42000",
    "SELECT * FROM no_such_table": "42000",
}


class SqlEngine:
    """A running engine with what the captures hold."""

    def __init__(self, folder, processes, binary, cookbook):
        folder = os.path.join(folder, "sql")
        os.makedirs(folder, exist_ok=True)
        self.authority = make_ca(folder, "sql-ca")
        certificate = issue(folder, self.authority, "sql-server", "IP:127.0.0.1")
        grpc, self.http, self.api, self.port = free_ports(4)
        path = os.path.join(folder, "selvedge.yaml")
        with open(path, "w", encoding="utf-8") as config:
            config.write(CONFIG.format(grpc=grpc, http=self.http, api=self.api, sql=self.port, user=USER,
                                       password=PASSWORD, certificate=certificate))
        learn = [argument for name in cookbook.learn for argument in ("--learn", capture(name))]
        self.process = processes.start("selvedge-sql", binary, "run", "--config", path, *learn)
        wait_until("selvedge to be ready", answers_200(self.api, "/readyz"), READY_SECONDS, self.process)

    def send(self, names):
        """Sends captures as OTLP/HTTP and waits until everything has settled: how many frames there were."""
        sent = 0
        for name in names:
            for kind, payload in frames(name):
                status, answer = request(self.http, "POST", f"/v1/{kind}", payload, {"content-type": "application/x-protobuf"})
                expect(status == 200, f"{kind} of {name}: {status} {answer[:200]!r}")
                sent += 1
        wait_until("every signal to have its fate", self.settled, SETTLE_SECONDS, self.process, pause=0.5)
        return sent

    def settled(self):
        _, rows = self.ask("SELECT sum(signals) FROM fates WHERE fate = 'open'")
        return rows == [["0"]]

    def post(self, sql, accept="text/csv"):
        headers = {"content-type": "application/json", "accept": accept}
        return request(self.api, "POST", "/api/v1/sql", json.dumps({"query": sql}), headers, timeout=ANSWER_SECONDS)

    def ask(self, sql):
        """The answer by HTTP: header and rows, as text."""
        status, body = self.post(sql)
        expect(status == 200, f"{status} {body[:500]!r} to\n{sql}")
        return table(body.decode())

    def environment(self, password=PASSWORD):
        """libpq's settings, for psql."""
        return {
            **os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": USER, "PGPASSWORD": password,
            "PGDATABASE": "selvedge", "PGSSLMODE": "verify-full", "PGSSLROOTCERT": f"{self.authority}.pem",
            "PGCONNECT_TIMEOUT": "20",
        }

    def start_psql(self, *arguments, password=PASSWORD):
        command = ("psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=verbose", *arguments)
        return subprocess.Popen(command, env=self.environment(password), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def psql(self, *arguments, password=PASSWORD):
        """(exit status, output, errors) of psql."""
        process = self.start_psql(*arguments, password=password)
        try:
            output, errors = process.communicate(timeout=ANSWER_SECONDS)
        except subprocess.TimeoutExpired as late:
            process.kill()
            raise Failed(f"psql {arguments} took more than {ANSWER_SECONDS} s") from late
        return process.returncode, output, errors

    def told(self, *arguments):
        """What psql prints; fails with what it complains of."""
        status, output, errors = self.psql(*arguments)
        expect(status == 0, f"psql {arguments} ended with {status}: {errors}")
        return output

    def connect(self, password=PASSWORD):
        """A psycopg connection."""
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=password, dbname="selvedge", sslmode="verify-full",
            sslrootcert=f"{self.authority}.pem", connect_timeout=20, autocommit=True)


def table(text):
    """Header and rows of CSV."""
    rows = list(csv.reader(io.StringIO(text)))
    return rows[0], rows[1:]


# ---- the same value, however it came -----------------------------------------------------------------------------

TIME = re.compile(r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:Z|\+00(?::00)?)$")
INTERVAL = re.compile(r"^(?:(-?\d+) days? ?)?(?:(\d+):(\d\d):(\d\d(?:\.\d+)?))?$")


def plain(value):
    """One spelling of a cell of CSV, of psql's output, of a reviewed table, or of psycopg's Python value."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return plain(value.astimezone(datetime.timezone.utc).isoformat())
    if isinstance(value, datetime.timedelta):
        return f"{value.total_seconds():.6f} s"
    if isinstance(value, list):
        return plain("[" + ", ".join(value) + "]")
    text = str(value)
    time = TIME.match(text)
    if time:  # PostgreSQL's times have microseconds
        return f"{time.group(1)} {time.group(2)}.{(time.group(3) or '')[:6]:0<6}"
    if text in ("t", "f"):
        return {"t": "true", "f": "false"}[text]
    if text.startswith("PT") and text.endswith("S"):
        return f"{float(text[2:-1]):.6f} s"
    interval = INTERVAL.match(text)
    if text and interval:
        days, hours, minutes, seconds = (float(part or 0) for part in interval.groups())
        return f"{((days * 24 + hours) * 60 + minutes) * 60 + seconds:.6f} s"
    if text[:1] in ("{", "["):
        return re.sub(r", ?", ", ", text[1:-1].replace('"', ""))
    try:
        return f"{float(text):.10g}"
    except ValueError:
        return text


def plain_rows(rows):
    return [[plain(cell) for cell in row] for row in rows]


def same(what, left, right):
    """Fails with the first row that differs."""
    left, right = plain_rows(left), plain_rows(right)
    for number, (one, other) in enumerate(zip(left, right)):
        expect(one == other, f"{what}: row {number + 1} is {one} on one side, {other} on the other")
    return expect(len(left) == len(right), f"{what}: {len(left)} rows on one side, {len(right)} on the other")


# ---- the checks --------------------------------------------------------------------------------------------------


def check_recipe(engine, cookbook, connection, recipe):
    """A recipe answers as reviewed, and the same by each way in.

    What is learned changes when a window closes, which may be between two ways in: such a recipe gets another try.
    """
    tries = LEARNED_TRIES if recipe[0] in cookbook.closed_by_replay else 1
    for left in reversed(range(tries)):
        try:
            return ask_each_way(engine, cookbook, connection, recipe)
        except Failed:
            if left == 0:
                raise


def ask_each_way(engine, cookbook, connection, recipe):
    """One question over HTTP, by psql, and by psycopg in both of its protocols."""
    number, _, sql = recipe
    header, rows = engine.ask(sql)
    reviewed_header, reviewed = cookbook.reviewed(number)
    expect(header == reviewed_header, f"columns are {header}, reviewed were {reviewed_header}")
    expect(rows, "a recipe without rows shows nothing")
    if number not in cookbook.closed_by_replay:
        same("HTTP against the reviewed answer", rows, reviewed)
    psql_header, psql_rows = table(engine.told("--csv", "--command", sql))
    expect(psql_header == header, f"psql's columns are {psql_header}, HTTP's {header}")
    same("HTTP against psql", rows, psql_rows)
    for binary in (False, True):  # psycopg's simple and extended protocol, text and binary values
        with connection.cursor(binary=binary) as cursor:
            cursor.execute(sql)
            expect([column.name for column in cursor.description] == header, f"psycopg's columns are {cursor.description}")
            same(f"HTTP against psycopg, binary {binary}", rows, cursor.fetchall())
    return True


def check_counts(engine, cookbook):
    """Calls by edge are those that another decoder counts. What it cannot read was no caller's log: nothing is missing."""
    counted, unreadable = outbound_calls(cookbook.judge)
    expect(unreadable == 3, f"{unreadable} batches were unreadable")
    _, rows = engine.ask("SELECT source_workload, destination_workload, count(*) FROM calls "
                         "WHERE reported IN ('both', 'client_only') GROUP BY 1, 2")
    found = {(source, destination): int(calls) for source, destination, calls in rows}
    return expect(found == counted, f"SQL counts {found}, the decoder {dict(counted)}")


def check_describes(engine):
    """`\\d` and `\\d calls`."""
    listed = engine.told("--command", "\\d")
    for name in ("calls", "spans", "incidents", "nodegraph_edges"):
        expect(re.search(rf"\| {name} +\|", listed), f"{name} is not in\n{listed}")
    described = engine.told("--command", "\\d calls")
    for column, kind in (("end_time", "timestamp"), ("status", "integer"), ("error", "boolean"), ("trace_id", "")):
        expect(re.search(rf"^ {column} +\| {kind}", described, re.MULTILINE), f"{column} {kind} is not in\n{described}")
    return True


def check_refused(engine, connection):
    """What would do more than read is refused by psql and psycopg, and hurts neither the connection nor the tables."""
    import psycopg

    before = engine.ask("SELECT count(*) FROM calls")
    for sql, code in REFUSED.items():
        status, _, errors = engine.psql("--command", sql)
        expect(status != 0 and f"ERROR:  {code}" in errors, f"psql, {sql}: {status} {errors}")
        try:
            connection.execute(sql)
        except psycopg.Error as error:
            expect(not code or error.sqlstate == code, f"psycopg, {sql}: {error.sqlstate} {error}")
        else:
            raise Failed(f"psycopg was not refused: {sql}")
        status, answer = engine.post(sql)
        expect(status in (400, 403), f"HTTP, {sql}: {status} {answer}")
    expect(not os.path.exists("/tmp/selvedge-e2e.csv"), "COPY wrote a file")
    return expect(engine.ask("SELECT count(*) FROM calls") == before, "the number of calls changed")


def check_position(engine):
    """psql points at what is wrong, and HTTP tells where it stands."""
    _, _, errors = engine.psql("--command", "SELECT staus FROM calls")
    expect(re.search(r"^LINE 1: SELECT staus FROM calls\n {15}\^$", errors, re.MULTILINE), f"psql says:\n{errors}")
    expect("did you mean status?" in errors, f"psql says:\n{errors}")
    status, document = engine.post("SELECT\n  staus FROM calls")
    problem = json.loads(document)
    return expect((status, problem["position"]) == (400, {"line": 2, "column": 3}), f"{status} {problem}")


def check_parameters(engine, connection):
    """Values are bound by the driver, also hostile ones, and a prepared statement sees new snapshots."""
    sql = "SELECT count(*) FROM calls WHERE destination_workload = %s AND status >= %s AND end_time < %s"
    later = datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc)
    for value in ("orders", "nobody", "' OR 1 = 1 --"):
        quoted = value.replace("'", "''")
        asked = f"SELECT count(*) FROM calls WHERE destination_workload = '{quoted}' AND status >= 400"
        for _ in range(2):
            found = connection.execute(sql, (value, 400, later), prepare=True).fetchall()
            same(f"bound and written, {value}", found, engine.ask(asked)[1])
    return True


def check_cancellation(engine, end):
    """A running query is stopped by `end` of its psql: the only place is free again."""
    import psycopg

    def answered():
        with engine.connect() as connection:
            connection.execute("SET statement_timeout = '300ms'")
            try:
                return connection.execute("SELECT 1").fetchall() == [(1,)]
            except psycopg.errors.QueryCanceled:
                return False

    expect(answered(), "the place was not free to begin with")
    asking = engine.start_psql("--command", ENDLESS)
    try:
        wait_until("the query to take the only place", lambda: not answered(), ANSWER_SECONDS, engine.process)
        expect(asking.poll() is None, f"psql ended: {asking.communicate() if asking.poll() is not None else ''}")
        end(asking)
        wait_until("the place to be free again", answered, GONE_SECONDS, engine.process)
        return asking.communicate(timeout=ANSWER_SECONDS)[1] or True
    finally:
        if asking.poll() is None:
            asking.kill()
            asking.communicate()


def interrupted(process):
    process.send_signal(signal.SIGINT)


def check_strangers(engine):
    """Nobody gets in without the password."""
    status, _, errors = engine.psql("--command", "SELECT 1", password="wrong")
    return expect(status == 2 and "FATAL" in errors, f"psql ended with {status}: {errors}")


def check_sql(report, arguments, processes):
    """Everything above, of an engine of its own."""
    cookbook = Cookbook()
    expect(len(cookbook.recipes) == 21, f"the cookbook has {len(cookbook.recipes)} recipes")
    engine = report.check("selvedge run starts with a baseline, and a password and TLS for SQL",
                          lambda: SqlEngine(arguments.out, processes, arguments.selvedge, cookbook))
    if engine is None:
        return
    report.check(f"it takes {len(cookbook.judge)} captures as OTLP, and each signal gets its fate",
                 lambda: engine.send(cookbook.judge))
    report.check("its calls by edge are those that the OpenTelemetry project's own decoder counts",
                 lambda: check_counts(engine, cookbook))
    report.check("psql gets in with SCRAM over verified TLS, and not with a wrong password", lambda: check_strangers(engine))
    connection = report.check("psycopg gets in the same way", lambda: engine.connect())
    if connection is None:
        return
    with connection:
        for recipe in cookbook.recipes:
            which = "the same answer" if recipe[0] in cookbook.closed_by_replay else "the reviewed answer"
            report.check(f"psql, psycopg and HTTP give {which}: {recipe[1]}",
                         lambda recipe=recipe: check_recipe(engine, cookbook, connection, recipe))
        report.check("psql's \\d lists the tables, \\d calls the columns", lambda: check_describes(engine))
        report.check("psycopg binds values", lambda: check_parameters(engine, connection))
        report.check("psql and psycopg cannot write, read files or change the engine",
                     lambda: check_refused(engine, connection))
    report.check("psql points at the mistake, HTTP tells its line and column", lambda: check_position(engine))
    report.check("a query is stopped when its client is killed",
                 lambda: check_cancellation(engine, subprocess.Popen.kill))
    told = report.check("a query is stopped when psql is interrupted", lambda: check_cancellation(engine, interrupted))
    if told:
        report.check("and psql is told so", lambda: expect("57014" in str(told), told))
