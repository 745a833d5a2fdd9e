"""kill -9 of the engine: no quarantine is lost, doubled or lifted early, and leases still end."""

import threading
import time

from guarded import LATERAL_EDGES, LOOT, Intruder
from local import expect, wait_until
from quarantine_bed import DENIED_SECONDS, SESSION_ROUNDS, SETTLE_SECONDS, STILL_DENIED, await_denied, of_edge, scene
from quarantine_engine import audit_records

SHORT_TTL_SECONDS = 8


def kill_moment(kind, engine, intruder, draw):
    """Waits for the moment of a crash: by the clock, while the store or the audit log is written, or after the cut."""
    if kind == "random":
        threading.Event().wait(draw.uniform(0, 1.5))
        return
    size, stored = engine.audit_size(), engine.stored_at()
    probe = {"stored": lambda: engine.stored_at() != stored, "logged": lambda: engine.audit_size() > size,
             "cut": intruder.denied.is_set}[kind]
    wait_until(f"the moment `{kind}`", probe, DENIED_SECONDS, engine.process, pause=0.0005)
    # The store, the log and the proxies follow each other within some ten milliseconds.
    threading.Event().wait(draw.uniform(0, 0.03))


def one_crash(engine, mesh, edge, kind, draw, standing):
    """An intrusion during which the engine is killed and started again. `standing` are the earlier cuts, by edge."""
    intruder = Intruder(mesh, *edge, draw.choice(LOOT))
    try:
        expect(intruder.got_in.wait(DENIED_SECONDS), f"{edge} was not open: {intruder.answers[:3]}")
        kill_moment(kind, engine, intruder, draw)
        engine.kill()
        pushed = {one["subject"] for one in audit_records(engine.folder) if one["kind"] == "push"}
        at = len(intruder.answers)
        wait_until("answers without an engine", lambda: len(intruder.answers) >= at + STILL_DENIED, DENIED_SECONDS)
        for other, (name, _) in standing.items():
            expect(name in mesh.enforced(other[1]), f"Envoy let go of {name} while the engine was down")
        engine.start()
        listed = {one["id"]: one for one in engine.quarantines()}
        for name in pushed | {name for name, _ in standing.values()}:
            state = listed.get(name, {"state": "not listed"})["state"]
            expect(state == "enforced", f"{name} is {state} after the crash\n{engine.evidence()}")
        await_denied(engine, intruder)
    finally:
        intruder.close()
    expect(not intruder.slipped(), f"{edge} was let in again: {intruder.slipped()[:3]}")
    return intruder


def check_standing(engine, mesh, standing):
    """All cuts so far: there once, as long as was said, and denied by the mesh."""
    wait_until("the sidecars to listen again", mesh.connected, SETTLE_SECONDS, engine.process)
    listed = engine.quarantines()
    live = [one for one in listed if one["state"] in ("enforced", "shadow")]
    expect(len(live) == len(standing), f"{len(live)} are live, not {len(standing)}\n{engine.evidence()}")
    for edge, (name, expires) in standing.items():
        found = of_edge(listed, edge)
        expect([one["id"] for one in found] == [name], f"{edge} is cut by {[one['id'] for one in found]}, not by {name}")
        now = int(found[0]["expires_unix_nano"])
        expect(abs(now - expires) <= 5e9, f"the lease of {name} was to end at {expires}, and now at {now}")
        caller = mesh.caller(*edge)
        status = caller.call("GET", LOOT[0])
        caller.close()
        expect(status == 403, f"{edge} is answered {status}")


def check_crashes(report, bed, draw):
    """kill -9 at random moments of an intrusion."""
    done, kinds, answers = 0, ("random", "stored", "random", "logged", "cut"), []
    while done < bed.kills:
        edges = draw.sample(LATERAL_EDGES, min(SESSION_ROUNDS, bed.kills - done))
        with scene(bed, f"mesh-crashes-{done}", "0.1s") as (engine, mesh, load):
            standing = {}

            def crash(edge, kind, engine=engine, mesh=mesh, standing=standing):
                one_crash(engine, mesh, edge, kind, draw, standing)
                found = of_edge(engine.quarantines(), edge)
                expect(len(found) == 1, f"{edge} is cut {len(found)} times\n{engine.evidence()}")
                standing[edge] = (found[0]["id"], int(found[0]["expires_unix_nano"]))
                check_standing(engine, mesh, standing)
                return True

            for edge in edges:
                done += 1
                kind = kinds[done % len(kinds)]
                report.check(
                    f"kill -9 number {done} ({kind}): nothing lost, doubled or lifted early, {len(standing) + 1} in force",
                    lambda edge=edge, kind=kind, crash=crash: crash(edge, kind))
            report.check("after the crashes the audit log says of every quarantine in force why it is",
                         lambda engine=engine: explained(engine))
            load.close()
            answers += load.answers
            report.check("after the crashes the audit log holds", engine.stop_and_verify)
    harmed = [answer for answer in answers if answer[3] != 200]
    report.check(f"no legitimate call of {len(answers)} is harmed by a crash",
                 lambda: expect(answers and not harmed, f"{harmed[:5]}"))


def explained(engine):
    """A crash between the lease store and the audit log leaves no quarantine without its reasons."""
    live = {one["id"] for one in engine.quarantines() if one["state"] == "enforced"}
    told = {one["subject"] for one in audit_records(engine.folder) if one["kind"] in ("decision", "recovered")}
    return expect(live <= told, f"no record says why {live - told} are in force\n{engine.evidence()}")


def check_expiry(report, bed, draw):
    """A lease ends after a crash as it would have without, and then the mesh answers again."""
    edge = draw.choice(LATERAL_EDGES)
    with scene(bed, "mesh-expiry", "0.1s", ttl=f"{SHORT_TTL_SECONDS}s") as (engine, mesh, _):
        report.check(
            f"a lease of {SHORT_TTL_SECONDS} s runs out after a crash, not early, and the mesh answers 200 again",
            lambda: expires(engine, mesh, edge, draw))
        report.check("and its audit log holds", engine.stop_and_verify)


def expires(engine, mesh, edge, draw):
    intruder = Intruder(mesh, *edge, LOOT[0])
    try:
        await_denied(engine, intruder)
    finally:
        intruder.close()
    quarantine = of_edge(engine.quarantines(), edge)[0]
    name, granted_until = quarantine["id"], int(quarantine["expires_unix_nano"])
    threading.Event().wait(draw.uniform(0, 1))
    engine.kill()
    expect(name in mesh.enforced(edge[1]), "Envoy let go while the engine was down")
    engine.start()

    def over():
        one = {one["id"]: one for one in engine.quarantines()}.get(name)
        expect(one is not None, f"{name} is not listed")
        late = time.time_ns() >= granted_until
        expect(one["state"] == "enforced" or late, f"{name} is {one['state']} before its time")
        return one["state"] == "expired"

    wait_until("the lease to run out", over, 2 * SHORT_TTL_SECONDS + 10, engine.process)
    late = (time.time_ns() - granted_until) / 1e9
    wait_until("Envoy to let go of it", lambda: name not in mesh.enforced(edge[1]), SETTLE_SECONDS, engine.process, 0.02)
    caller = mesh.caller(*edge)
    status = caller.call("GET", LOOT[0])
    caller.close()
    expect(status == 200, f"the destination answers {status}")
    ends = [one for one in audit_records(engine.folder) if (one["kind"], one["subject"]) == ("expire", name)]
    expect(len(ends) == 1, f"the audit log has {len(ends)} ends of it")
    print(f"      {late:.1f} s after the end that was granted before the crash", flush=True)
    return True
