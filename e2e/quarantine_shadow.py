"""A quarantine in dry run blocks nothing, and telemetry says of exactly those calls that it would have denied them which
its cuts match."""

import datetime
import time

from guarded import Intruder, Load
from local import expect, wait_until
from mesh import spiffe
from quarantine_engine import matches

SETTLE_SECONDS = 20
# Somebody new at the vault: the whole caller is cut. A known caller of the ledger on a new path: only that path is.
STRANGER, INSIDER = ("courier", "vault", "/admin/users"), ("web", "ledger", "/admin/export")
# Calls of the mix: what matches a cut and what nearly does.
MIX = (
    ("courier", "vault", "GET", "/admin/users"), ("courier", "vault", "POST", "/accounts/4/entries"),
    ("courier", "vault", "GET", "/accounts/9"), ("courier", "ledger", "GET", "/accounts/9"),
    ("courier", "ledger", "GET", "/admin/users"), ("cart", "vault", "GET", "/accounts/9"),
    ("web", "ledger", "GET", "/admin/export"), ("web", "ledger", "GET", "/admin/export?all=1"),
    ("web", "ledger", "POST", "/admin/export"), ("web", "ledger", "GET", "/admin/export/all"),
    ("web", "ledger", "GET", "/admin"), ("web", "ledger", "GET", "/accounts/7"),
    ("web", "cart", "GET", "/admin/export"),
)
REPEATS = range(7)


def taken(engine, source, destination):
    """The quarantine in dry run that all proxies have of this intrusion, if there is one."""
    for one in engine.quarantines():
        cut = one["cuts"][0]
        if (cut["principal"], cut["workload"]["workload"]) == (spiffe(source), destination):
            if one["state"] == "shadow" and one["progress"] in ("acknowledged", "effective"):
                return one
    return None


def quarantines_in_dry_run(engine, mesh):
    """Both intrusions, until a dry run of each is on all proxies."""
    found = []
    for source, destination, path in (STRANGER, INSIDER):
        intruder = Intruder(mesh, source, destination, path)
        try:
            found.append(wait_until(
                f"a dry run against {source} at {destination}", lambda s=source, d=destination: taken(engine, s, d),
                SETTLE_SECONDS, engine.process))
        finally:
            intruder.close()
        statuses = {answer[2] for answer in intruder.answers}
        expect(statuses == {200}, f"the dry run against {source} blocked: {statuses}")
    return found


def send_mix(mesh):
    """Sends the mix: what was sent and the answers."""
    callers = {(source, destination): mesh.caller(source, destination) for source, destination, *_ in MIX}
    answers = [(call, callers[call[:2]].call(call[2], call[3], b"x" * 90 if call[2] == "POST" else None))
               for _ in REPEATS for call in MIX]
    for caller in callers.values():
        caller.close()
    return answers


def check_shadow(report, bed, mesh, draw):
    """Both kinds of cut, in dry run."""
    load = Load(mesh, draw.random())
    engine = bed.engine(mode="shadow")
    try:
        wait_until("all sidecars to listen to the engine", mesh.clean, SETTLE_SECONDS, engine.process)
        wait_until("calls in the engine", lambda: engine.count("calls", "true") > 50, SETTLE_SECONDS, engine.process)
        found = report.check("mode shadow answers two intrusions with dry runs, and blocks neither",
                             lambda: quarantines_in_dry_run(engine, mesh))
        if not found:
            print(f"      {engine.evidence()}", flush=True)
            return
        report.check("a caller that does other things there is cut from the new request only",
                     lambda: expect(found[1]["cuts"][0]["operations"] and not found[0]["cuts"][0]["operations"],
                                    f"cuts: {[one['cuts'] for one in found]}"))
        compare(report, engine, mesh, found)
        report.check(f"the dry runs harmed none of {len(load.answers)} legitimate calls",
                     lambda: expect(load.answers and not load.harmed(), f"{load.harmed()[:5]}"))
        report.check("shadow: the audit log holds", engine.stop_and_verify)
    finally:
        engine.end()
        load.close()


def compare(report, engine, mesh, found):
    since = datetime.datetime.fromtimestamp(time.time(), datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
    recent = f"start_time >= TIMESTAMP '{since}'"
    before = {one["id"]: mesh.sidecars[one["cuts"][0]["workload"]["workload"]].counter(f"policy.{one['id']}.shadow_denied")
              for one in found}
    answers = send_mix(mesh)
    report.check(f"all {len(answers)} calls of a mix are answered 200",
                 lambda: expect({status for _, status in answers} == {200}, f"answers: {answers}"))
    for one in found:
        name, workload = one["id"], one["cuts"][0]["workload"]["workload"]
        predicted = sum(any(matches(cut, (spiffe(source), destination, method, path)) for cut in one["cuts"])
                        for (source, destination, method, path), _ in answers)

        def told(name=name, predicted=predicted, workload=workload):
            expect(0 < predicted < len(answers), f"the mix decides nothing: {predicted} of {len(answers)} match")
            arrived = f"{recent} AND destination_workload = '{workload}'"
            sent = sum(call[1] == workload for call, _ in answers)
            wait_until("all calls of the mix in telemetry", lambda: engine.count("calls", arrived) >= sent, SETTLE_SECONDS)
            wait_until("what was denied in dry run", lambda: engine.count(
                "calls", f"{recent} AND shadow_denied_by = '{name}'") >= predicted, SETTLE_SECONDS)
            denied = engine.count("calls", f"{recent} AND shadow_denied_by = '{name}'")
            expect(denied == predicted, f"telemetry says {denied}, the cuts match {predicted}")
            counted = mesh.sidecars[workload].counter(f"policy.{name}.shadow_denied") - before[name]
            return expect(counted == predicted, f"Envoy counts {counted}, the cuts match {predicted}")

        report.check(f"the dry run at {workload} would have denied {predicted} of {len(answers)} calls, says telemetry, as "
                     "its cuts predict", told)
    report.check("and none of them was denied", lambda: expect(
        engine.count("calls", f"{recent} AND denied_by IS NOT NULL") == 0, "some were"))
