"""A real Apache Kafka broker in KRaft mode, who writes to its topics, and engines that read them."""

import json
import os
import re
import shutil
import subprocess

from local import answers_200, expect, free_ports, get_json, request, wait_until

BROKER_SECONDS = 60
READY_SECONDS = 60
STOP_SECONDS = 25
PASSWORD = "correct-horse-battery-staple"
CLUSTER = "c2VsdmVkZ2UtZTJlLTAwMQ"
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
num.partitions=4
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""
CONFIG = """\
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}, http: {{endpoint: "127.0.0.1:{http}"}}}}}}
  kafka:
    brokers: ["127.0.0.1:{broker}"]
    tls: {{ca_file: "{ca}"}}
    auth: {{sasl: {{mechanism: SCRAM-SHA-512, username: selvedge, password_file: "{password}"}}}}
    group_instance_id: {label}
    session_timeout: 6s
    initial_offset: earliest
    traces: {{topics: [spans_json], encoding: otlp_json}}
    logs: {{topics: [otlp_logs]}}
    metrics: {{topics: [otlp_metrics]}}
serve: {{endpoint: "127.0.0.1:{api}"}}
sql: {{endpoint: "127.0.0.1:{sql}"}}
journal: {{path: journal}}
alerts:
  terminal: {{enabled: false}}
  kafka:
    brokers: ["127.0.0.1:{broker}"]
    incidents_topic: selvedge_incidents
    tls: {{ca_file: "{ca}"}}
    auth: {{sasl: {{mechanism: SCRAM-SHA-512, username: selvedge, password_file: "{password}"}}}}
"""


class Broker:
    """One broker with a folder of its own, which outlives it."""

    def __init__(self, folder, processes, java, libraries):
        self.folder, self.processes, self.starts = os.path.join(folder, "kafka"), processes, 0
        shutil.rmtree(self.folder, ignore_errors=True)  # of an earlier run
        os.makedirs(self.folder)
        self.port, self.secure, controller = free_ports(3)
        self._certify()
        self.properties = os.path.join(self.folder, "server.properties")
        with open(self.properties, "w", encoding="utf-8") as file:
            file.write(PROPERTIES.format(
                port=self.port, secure=self.secure, controller=controller, folder=self.folder))
        self.java = (java, "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", os.path.join(libraries, "*"))
        format_storage = (*self.java, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", self.properties,
                          "--add-scram", f"SCRAM-SHA-512=[name=selvedge,password={PASSWORD}]")
        done = subprocess.run(format_storage, capture_output=True, text=True, timeout=BROKER_SECONDS, check=False)
        expect(done.returncode == 0, f"the storage of the broker cannot be made: {done.stdout}{done.stderr}")
        self.start()

    def _certify(self):
        """A certificate for 127.0.0.1 that is its own authority, and the password of who may come."""
        self.ca, key = os.path.join(self.folder, "ca.pem"), os.path.join(self.folder, "key.pem")
        subprocess.run(("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=broker",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", self.ca),
                       capture_output=True, timeout=30, check=True)
        with open(os.path.join(self.folder, "broker.pem"), "w", encoding="utf-8") as both:
            for path in (key, self.ca):
                with open(path, encoding="utf-8") as one:
                    both.write(one.read())
        self.password = os.path.join(self.folder, "password")
        with open(self.password, "w", encoding="utf-8") as file:
            file.write(PASSWORD)

    def start(self):
        from confluent_kafka.admin import AdminClient

        self.starts += 1
        self.process = self.processes.start(f"kafka-{self.starts}", *self.java, "kafka.Kafka", self.properties)
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0})

        def answers():
            try:
                return admin.list_topics(timeout=1).brokers
            except Exception:  # not there yet
                return None

        wait_until("the broker to answer", answers, BROKER_SECONDS, self.process)
        return True

    def make(self, topics):
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}"})
        made = admin.create_topics([NewTopic(name, partitions, 1) for name, partitions in topics.items()])
        for future in made.values():
            future.result(BROKER_SECONDS)

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)


class Writer:
    """Writes to topics; each `flush` ends when a broker has all of it."""

    def __init__(self, broker):
        from confluent_kafka import Producer

        self.producer = Producer({"bootstrap.servers": f"127.0.0.1:{broker.port}", "enable.idempotence": True, "log_level": 0})

    def write(self, topic, payload, timestamp=0):
        self.producer.produce(topic, payload, timestamp=timestamp)
        self.producer.poll(0)

    def flush(self):
        return expect(self.producer.flush(BROKER_SECONDS) == 0, "the broker does not take messages")


def messages(broker, topic, seconds=10):
    """Everything in a topic so far: (key, document)."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{broker.port}", "group.id": "onlooker", "log_level": 0})
    try:
        partitions = consumer.list_topics(topic, timeout=seconds).topics[topic].partitions
        found = []
        for partition in partitions:
            first, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=seconds)
            consumer.assign([TopicPartition(topic, partition, first)])
            while first < end:
                message = consumer.poll(seconds)
                expect(message is not None and message.error() is None, f"{topic} cannot be read")
                found.append((message.key().decode(), json.loads(message.value())))
                first = message.offset() + 1
        return found
    finally:
        consumer.close()


def added_up(lines, name, *labels):
    rows = [line for line in lines if re.split(r"[{ ]", line, maxsplit=1)[0] == name]
    return sum(float(row.rsplit(" ", 1)[1]) for row in rows if all(label in row for label in labels))


class Engine:
    """A program with a folder of its own, which outlives it."""

    def __init__(self, folder, processes, binary, broker, label, learn):
        self.processes, self.binary, self.label, self.learn, self.starts = processes, binary, label, learn, 0
        folder = os.path.join(folder, label)
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier run
        os.makedirs(folder)
        grpc, http, self.api, sql = free_ports(4)
        self.config = os.path.join(folder, "selvedge.yaml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(grpc=grpc, http=http, api=self.api, sql=sql, broker=broker.secure, label=label,
                                     ca=broker.ca, password=broker.password))
        self.learned = 0
        self.start()
        self.learned = self.spans()

    def start(self):
        self.starts += 1
        self.process = self.processes.start(
            f"{self.label}-{self.starts}", self.binary, "run", "--config", self.config, "--learn", self.learn)
        wait_until("the engine to be ready", answers_200(self.api, "/readyz"), READY_SECONDS, self.process, pause=0.05)
        return True

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def end(self):
        self.process.terminate()
        return expect(self.process.wait(STOP_SECONDS) == 0, f"{self.label} ended with {self.process.returncode}")

    def metric(self, name, *labels):
        """All samples of a name with these labels, added up."""
        return added_up(self.scrape(), name, *labels)

    def scrape(self):
        return request(self.api, "GET", "/metrics")[1].decode().splitlines()

    def spans(self):
        """Spans counted, without those of the baseline; fails when their fates do not add up to them."""
        lines = self.scrape()
        counted, fates = (added_up(lines, name, '"traces"') for name in ("selvedge_signals_total", "selvedge_fates"))
        expect(counted == fates, f"{counted} spans were received, their fates add up to {fates}")
        return int(counted) - self.learned

    def partitions(self):
        return int(self.metric("selvedge_kafka_partitions"))

    def caught_up(self):
        return (self.partitions() > 0 and self.metric("selvedge_kafka_lag") == 0
                and self.metric("selvedge_kafka_partitions_unknown") == 0)

    def incidents(self):
        return get_json(self.api, "/api/v1/incidents")["incidents"]
