"""The provisioned Grafana dashboard without Grafana: its queries, as Grafana's PostgreSQL plugin sends them.

Grafana is in no package registry that a test can install from. What it adds to a query is little and documented
(https://grafana.com/docs/grafana/latest/datasources/postgres/query-editor/#macros): the macros below. Its plugin sends
the text by the simple protocol, which is what psycopg does with a statement that has no parameters.
"""

import datetime
import json
import os
import re

from local import expect, wait_until

GRAFANA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples", "grafana")
INTERVAL_SECONDS = 5
RANGE = datetime.timedelta(minutes=15)
FILL_SECONDS = 30
# What may have no row in the mesh of the end-to-end test, and why.
MAY_BE_EMPTY = {
    "Edges never learned": "the mesh is learned while it runs",
}
MAY_BE_ZERO = {"Failed"}  # nothing answers 5xx in that mesh


def expanded(sql, now):
    """The query with Grafana's macros and variables replaced."""
    start, end = (f"'{time.strftime('%Y-%m-%dT%H:%M:%S.%fZ')}'" for time in (now - RANGE, now))
    sql = sql.replace("$__interval_ms", str(INTERVAL_SECONDS * 1000)).replace("$__interval", f"{INTERVAL_SECONDS}s")
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN {start} AND {end}", sql)
    step = rf"floor(extract(epoch from \1)/{INTERVAL_SECONDS})*{INTERVAL_SECONDS}"
    sql = re.sub(r"\$__timeGroupAlias\((\w+), *\w+\)", step + ' AS "time"', sql)
    sql = re.sub(r"\$__time\((\w+)\)", r'\1 AS "time"', sql)
    expect("$__" not in sql, f"a macro that this test does not know: {sql}")
    return sql


def queries():
    """(panel, query's name, panel's kind, format, SQL) of everything that the dashboard asks."""
    with open(os.path.join(GRAFANA, "dashboards", "selvedge.json"), encoding="utf-8") as file:
        dashboard = json.load(file)
    found = [(panel["title"], target["refId"], panel["type"], target["format"], target["rawSql"])
             for panel in dashboard["panels"] for target in panel["targets"]]
    found += [(note["name"], note["target"]["refId"], "annotation", note["target"]["format"], note["target"]["rawSql"])
              for note in dashboard["annotations"]["list"]]
    return found


def check_query(connection, query):
    """One query answers, with the columns that its panel needs."""
    title, name, kind, form, sql = query

    def rows():
        with connection.cursor() as cursor:
            cursor.execute(expanded(sql, datetime.datetime.now(datetime.timezone.utc)))
            return [column.name for column in cursor.description], cursor.fetchall()

    if title in MAY_BE_EMPTY:
        columns, found = rows()
    else:
        columns, found = wait_until(f"rows of {title}", lambda: (answer := rows())[1] and answer, FILL_SECONDS)
    needed = {
        ("nodeGraph", "nodes"): {"id", "title", "subtitle", "mainstat", "secondarystat"},
        ("nodeGraph", "edges"): {"id", "source", "target", "mainstat", "secondarystat"},
        ("annotation", name): {"time", "text", "tags"},
    }.get((kind, name), {"time", "metric"} if form == "time_series" else set())
    expect(needed <= set(columns), f"{title} has the columns {columns}, needed are {needed}")
    if form == "time_series":
        times = [row[columns.index("time")] for row in found]
        expect(times == sorted(times) and all(float(time) > 1.7e9 for time in times), f"times of {title}: {times[:5]}")
    if kind == "stat":
        expect(len(found) == 1 and len(columns) == 1, f"{title} is no single number: {found}")
        expect(found[0][0] > 0 or title in MAY_BE_ZERO, f"{title} is {found[0][0]} after an attack")
    return True


def check_dashboard(report, selvedge):
    """Every query of the dashboard, asked of the engine that watches the mesh, with the data source's user."""
    import psycopg

    def connected():
        return psycopg.connect(host="127.0.0.1", port=selvedge.sql, user="grafana", dbname="selvedge", sslmode="disable",
                               connect_timeout=20, autocommit=True)

    connection = report.check("psycopg connects as Grafana's data source does", connected)
    if connection is None:
        return
    with connection:
        for query in queries():
            report.check(f"the dashboard's {query[0]} ({query[1]}) is answered",
                         lambda query=query: check_query(connection, query))
        report.check("node graph: every edge joins two nodes", lambda: check_graph(connection))


def check_graph(connection):
    nodes = {row[0] for row in connection.execute("SELECT id FROM nodegraph_nodes").fetchall()}
    ends = connection.execute("SELECT source, target FROM nodegraph_edges").fetchall()
    loose = [end for edge in ends for end in edge if end not in nodes]
    return expect(ends and not loose, f"ends that are no node: {loose} of {nodes}")
