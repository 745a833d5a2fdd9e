"""Kafka in and out, with a real broker: engine and broker are killed, partitions move, and every record is counted once.

Usage: kafka.py --selvedge PATH --java PATH --kafka-libraries FOLDER --out FOLDER
"""

import argparse
import itertools
import json
import os
import random
import time

from cookbook import capture, timed_frames
from kafka_bed import PASSWORD, Broker, Engine, Writer, messages
from local import expect, wait_until

TOPICS = {"spans_json": 4, "otlp_logs": 1, "otlp_metrics": 1, "selvedge_alerts": 2, "selvedge_incidents": 1,
          "spans_json.dlq": 1}
SECONDS = 60
AGAIN_MAX = 40  # a second's: what was taken over when a partition moved, and the group went on before its commit
SPANS = 5  # a message
ATTACK, BASELINE = "forged_ca", "normal_1"


class Spans:
    """Messages of spans that nobody has sent before."""

    def __init__(self, writer):
        self.writer, self.numbers, self.sent = writer, itertools.count(1), 0

    def send(self, messages_wanted):
        for _ in range(messages_wanted):
            now = time.time_ns()
            spans = [self._span(next(self.numbers), now) for _ in range(SPANS)]
            resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]}
            request = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
            self.writer.write("spans_json", json.dumps(request))
            self.sent += SPANS

    @staticmethod
    def _span(number, now):
        return {"traceId": f"{number:032x}", "spanId": f"{number:016x}", "name": "GET /carts", "kind": 2,
                "startTimeUnixNano": str(now - 1_000_000), "endTimeUnixNano": str(now)}


def counted(engines, spans):
    """True when all spans are counted, and nothing is left in the topics."""
    return lambda: (sum(engine.spans() for engine in engines) >= spans.sent
                    and all(engine.caught_up() for engine in engines))


def check_attack(report, broker, engine, writer):
    """A recorded attack comes by topics, and its incidents go out to one."""
    for kind, observed, payload in timed_frames(ATTACK):
        if kind != "traces":  # its access logs are enough, and the topic of spans holds JSON
            writer.write(f"otlp_{kind}", payload, observed // 1_000_000)
    writer.flush()
    report.check("a recorded attack that comes through Kafka becomes incidents",
                 lambda: wait_until("incidents", engine.incidents, SECONDS, engine.process))
    return report.check("every incident is in the topic of alerts, under its own key",
                        lambda: wait_until("all alerts", lambda: published(broker, engine), SECONDS, engine.process))


def published(broker, engine):
    told = {key for key, document in messages(broker, "selvedge_alerts") if
            document["data"]["deduplication_key"] == key == document["data"]["incident"]["id"]}
    wanted = {incident["id"] for incident in engine.incidents() if incident["severity"] != "info"}
    states = {key for key, document in messages(broker, "selvedge_incidents") if document["id"] == key}
    return wanted and wanted <= told and wanted <= states


def check_engine_kills(report, engine, spans, writer, draw):
    """kill -9 while messages come: the next process counts what the one before did not."""
    for _ in range(3):
        spans.send(40)
        time.sleep(draw.uniform(0.0, 0.4))  # anywhere between fetching, storing and committing
        engine.kill()
        spans.send(20)
        writer.flush()
        engine.start()
    wait_until("all spans to be counted", counted([engine], spans), SECONDS, engine.process)
    return expect(engine.spans() == spans.sent, f"{spans.sent} were sent, {engine.spans()} are counted")


def check_broker_kill(engine, broker, spans, writer):
    """kill -9 of the broker: the engine waits, and goes on where it was."""
    spans.send(40)
    broker.kill()
    spans.send(40)
    wait_until("the outage to be noticed", lambda: engine.metric("selvedge_kafka_partitions_unknown") > 0, SECONDS,
               engine.process)
    broker.start()
    writer.flush()
    wait_until("all spans to be counted", counted([engine], spans), SECONDS, engine.process)
    return expect(engine.spans() == spans.sent, f"{spans.sent} were sent, {engine.spans()} are counted")


def check_rebalance(engine, other, spans, writer):
    """A second instance takes a share, and gives it back."""
    def send_until(what, probe):
        def step():
            spans.send(2)
            return probe()
        wait_until(what, step, SECONDS, engine.process, pause=0.05)
        writer.flush()

    send_until("partitions to move", lambda: min(engine.partitions(), other.partitions()) >= 2)
    wait_until("all spans to be counted", counted([engine, other], spans), SECONDS, engine.process)
    both, theirs = engine.spans() + other.spans(), other.spans()
    expect(spans.sent <= both <= spans.sent + AGAIN_MAX, f"{spans.sent} were sent, {both} are counted")
    expect(theirs > 0, "the second instance read nothing")
    other.end()
    send_until("partitions to come back", lambda: engine.partitions() == 6)
    wait_until("all spans to be counted", lambda: counted([engine], spans)() or engine.spans() + theirs >= spans.sent,
               SECONDS, engine.process)
    both = engine.spans() + theirs
    return expect(spans.sent <= both <= spans.sent + AGAIN_MAX, f"{spans.sent} were sent, {both} are counted")


def check_poison(engine, broker, writer):
    """What is no OTLP is put aside with its reason."""
    writer.write("spans_json", b"this is no JSON")
    writer.flush()
    wait_until("the dead letter", lambda: engine.metric("selvedge_kafka_messages_total", '"dead_lettered"') == 1, SECONDS,
               engine.process)
    return True


def check_kafka(report, arguments, processes):
    began = time.monotonic()
    draw = random.Random(arguments.kafka_seed)
    broker = report.check("a real Kafka broker runs", lambda: Broker(
        arguments.out, processes, arguments.java, arguments.kafka_libraries))
    if broker is None:
        return
    broker.make(TOPICS)
    print(f"      {time.monotonic() - began:.1f} s until it does", flush=True)
    writer = Writer(broker)
    spans = Spans(writer)

    def instance(label):
        return Engine(arguments.out, processes, arguments.selvedge, broker, label, capture(BASELINE))

    engine = report.check("selvedge reads its topics, with TLS and SCRAM", lambda: instance("kafka-engine"))
    if engine is None:
        return
    check_attack(report, broker, engine, writer)
    report.check("after three kills of the engine every span is counted, and counted once",
                 lambda: check_engine_kills(report, engine, spans, writer, draw))
    report.check("no incident was lost by them", lambda: published(broker, engine))
    report.check("after a kill of the broker every span is counted, and counted once",
                 lambda: check_broker_kill(engine, broker, spans, writer))
    report.check("a message that is no OTLP becomes a dead letter", lambda: check_poison(engine, broker, writer))
    other = report.check("a second instance joins", lambda: instance("kafka-other"))
    if other is not None:
        report.check("while partitions move there and back no span is lost, and few are counted again",
                     lambda: check_rebalance(engine, other, spans, writer))
    report.check("it ends in order", engine.end)
    report.check("no password is in any log", lambda: secret(processes))
    print(f"      Kafka: {time.monotonic() - began:.0f} s, {spans.sent} spans", flush=True)


def secret(processes):
    told = [process.label for process in processes.running if PASSWORD in processes.log_tail(process.label, 10_000)]
    return expect(not told, f"the password is in the log of {told}")


def add_kafka_arguments(parser):
    parser.add_argument("--java", required=True, help="Java 17 or later")
    parser.add_argument("--kafka-libraries", required=True, help="folder with Kafka's jars")
    parser.add_argument("--kafka-seed", type=int, default=1, help="when the engine is killed, as far as the machine lets it")


def main():
    from run import Report, finish

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, what in (("selvedge", "the binary under test"), ("out", "folder for logs and configs")):
        parser.add_argument(f"--{name}", required=True, help=what)
    add_kafka_arguments(parser)
    arguments = parser.parse_args()
    arguments.out = os.path.abspath(arguments.out)
    report = Report()
    finish(report, arguments, lambda processes: check_kafka(report, arguments, processes))


if __name__ == "__main__":
    main()
