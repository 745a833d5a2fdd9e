"""What the parts of the quarantine test share: a bed of ports, identities and programs, and what they wait for."""

import contextlib
import os
import random
import socket

from guarded import GuardedMesh, Load, issue_identities
from local import Failed, expect, wait_until
from mesh import spiffe
from quarantine_engine import Engine, cuts_principal

DENIED_SECONDS = 20
SETTLE_SECONDS = 20
# Answers that an intruder still gets after the first 403, to see that it stays so.
STILL_DENIED = 8
# The engine takes more than ten grave incidents at once for a storm, and there are 13 ways of lateral movement.
SESSION_ROUNDS = 10


def kept_ports(count):
    """Free ports below those that the kernel hands out: nobody takes them while the engine is down."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="utf-8") as file:
        end = int(file.read().split()[0])
    found = []
    for port in random.sample(range(max(10_000, end - 20_000), end), 1_000):
        with socket.socket() as probe:
            if len(found) < count and probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    expect(len(found) == count, f"fewer than {count} ports below {end} are free")
    return found


class Bed:
    """What all parts share: identities, ports, a capture of normal traffic, and the program."""

    def __init__(self, arguments, processes):
        self.out = os.path.join(arguments.out, "quarantine")
        os.makedirs(self.out, exist_ok=True)
        self.processes, self.binary, self.envoy = processes, arguments.selvedge, arguments.envoy
        self.rounds, self.kills = arguments.rounds, arguments.kills
        self.seed = random.randrange(1 << 32) if arguments.seed is None else arguments.seed
        self.certificates = issue_identities(os.path.join(self.out, "certificates"))
        self.grpc, self.http, self.api, self.sql, self.xds, self.tee = kept_ports(6)
        self.capture = os.path.join(self.out, "normal.otlpcap")
        self.engines = 0

    def mesh(self, name, log_flush, otlp_port=None):
        """Five sidecars that export to the engine, or to another port."""
        ports = (self.grpc if otlp_port is None else otlp_port, self.xds)
        return GuardedMesh(os.path.join(self.out, name), self.processes, self.envoy, self.certificates, ports, log_flush)

    def engine(self, mode="enforce", ttl="30m"):
        """An engine that has never denied anything."""
        self.engines += 1
        return Engine(self, f"engine-{self.engines}", mode, ttl)


@contextlib.contextmanager
def scene(bed, name, log_flush, **quarantine):
    """A mesh under normal load and an engine that judges it: (engine, mesh, load).

    Each engine has a mesh of its own: what a mesh still has to tell of one must not be news to the next.
    """
    mesh = bed.mesh(name, log_flush)
    load, engine = Load(mesh, bed.seed), None
    try:
        engine = bed.engine(**quarantine)
        await_ready_to_judge(engine, mesh)
        yield engine, mesh, load
    finally:
        load.close()
        mesh.close()
        if engine is not None:
            engine.end()


def await_ready_to_judge(engine, mesh):
    """The mesh listens to this engine and nothing is denied; the engine sees the mesh's calls."""
    wait_until("all sidecars to listen to the engine", mesh.clean, SETTLE_SECONDS, engine.process)
    wait_until("calls of the mesh in the engine", lambda: engine.count("calls", "true") > 50, SETTLE_SECONDS, engine.process)


def await_denied(engine, intruder):
    """Until the mesh answers the intruder 403, and then some more."""
    what = f"403 to {intruder.source} at {intruder.destination}"
    try:
        wait_until(what, intruder.denied.is_set, DENIED_SECONDS, engine.process, pause=0.02)
    except Failed as failure:
        raise Failed(f"{failure}\n{engine.evidence()}") from failure
    at = len(intruder.answers)
    wait_until("some more answers", lambda: len(intruder.answers) >= at + STILL_DENIED, DENIED_SECONDS, pause=0.02)


def of_edge(quarantines, edge):
    """Live quarantines that cut the source of an edge from its destination."""
    source, destination = edge
    return [one for one in quarantines if one["state"] == "enforced" and cuts_principal(one, spiffe(source), destination)]
