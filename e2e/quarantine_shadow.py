"""A quarantine in dry run blocks nothing, and telemetry says of exactly those calls that it would have denied them which
its cuts match."""

import datetime
import os
import time

from guarded import Intruder, Load
from local import expect, wait_until
from mesh import NAMESPACE, spiffe
from quarantine_engine import matches
from recording import Recorder

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
        if (one["cuts"][0]["principal"], callee(one)) == (spiffe(source), destination):
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


def check_shadow(report, bed, draw):
    """Both kinds of cut, in dry run. Telemetry passes us on its way, so that the same calls can be tried offline."""
    tee = Recorder(bed.tee, forward_port=bed.grpc)
    mesh = bed.mesh("mesh-shadow", "0.1s", otlp_port=bed.tee)
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
        # From here on only the mix: what is recorded of it is then whole.
        load.close()
        wait_until("the last telemetry of before", tee.quiet, SETTLE_SECONDS, pause=0.7)
        compare(report, engine, mesh, tee, found)
        report.check(f"the dry runs harmed none of {len(load.answers)} legitimate calls",
                     lambda: expect(load.answers and not load.harmed(), f"{load.harmed()[:5]}"))
        report.check("shadow: the audit log holds", engine.stop_and_verify)
    finally:
        engine.end()
        load.close()
        mesh.close()
        tee.close()


def compare(report, engine, mesh, tee, found):
    """Telemetry, Envoy's counters, the engine's backtest of the same calls and our own count say the same."""
    capture = os.path.join(engine.folder, "mix.otlpcap")
    tee.record(capture)
    since = datetime.datetime.fromtimestamp(time.time(), datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
    recent = f"start_time >= TIMESTAMP '{since}'"
    before = {one["id"]: mesh.sidecars[callee(one)].counter(f"policy.{one['id']}.shadow_denied") for one in found}
    answers = send_mix(mesh)
    report.check(f"all {len(answers)} calls of a mix are answered 200",
                 lambda: expect({status for _, status in answers} == {200}, f"answers: {answers}"))
    expected = {one["id"]: sum(refused(one, call) for call, _ in answers) for one in found}

    mixed = " OR ".join(f"(source_workload = '{source}' AND destination_workload = '{to}')"
                        for source, to in sorted({call[:2] for call, _ in answers}))

    def arrived():
        return engine.count("calls", f"{recent} AND reported = 'both' AND ({mixed})") >= len(answers) and all(
            engine.count("calls", f"{recent} AND shadow_denied_by = '{name}'") >= calls for name, calls in expected.items())

    report.check("all of them are in telemetry", lambda: wait_until("the mix", arrived, SETTLE_SECONDS, engine.process))
    tee.stop()
    for one in found:
        name, calls = one["id"], expected[one["id"]]
        denied = engine.count("calls", f"{recent} AND shadow_denied_by = '{name}'")
        counted = mesh.sidecars[callee(one)].counter(f"policy.{name}.shadow_denied") - before[name]
        report.check(
            f"the dry run at {callee(one)} would have denied {denied} of {len(answers)} calls, says telemetry: as many as "
            "its cuts match, and as Envoy counts",
            lambda denied=denied, counted=counted, calls=calls: expect(
                denied == counted == calls and 0 < calls < len(answers),
                f"telemetry says {denied}, Envoy {counted}, the cuts match {calls}"))
        report.check(
            f"and as many as the backtest of its policy predicts for the same calls ({calls})",
            lambda one=one, calls=calls: backtest(engine, one, capture, calls, answers))
    report.check("and none of them was denied", lambda: expect(
        engine.count("calls", f"{recent} AND denied_by IS NOT NULL") == 0, "some were"))


def callee(quarantine):
    return quarantine["cuts"][0]["workload"]["workload"]


def refused(quarantine, call):
    """Whether a quarantine matches (source, destination, method, path)."""
    source, destination, method, path = call
    return any(matches(cut, (spiffe(source), destination, method, path)) for cut in quarantine["cuts"])


def backtest(engine, quarantine, capture, calls, answers):
    """`selvedge policy backtest` of the quarantine's own Envoy policy on the recorded mix denies as many."""
    policy = os.path.join(engine.folder, f"{quarantine['id']}.yaml")
    with open(policy, "w", encoding="utf-8") as file:
        file.write(engine.preview(quarantine["id"]))
    judged = engine.backtest(policy, capture, f"{NAMESPACE}/{callee(quarantine)}")
    found = (judged["backtest"]["considered"], judged["backtest"]["undecided"], judged["denied_by"])
    sent = sum(call[1] == callee(quarantine) for call, _ in answers)
    wanted = (sent, 0, [{"policy": quarantine["id"], "calls": calls}])
    return expect(found == wanted, f"calls, undecided, denied are {found}, not {wanted}")
