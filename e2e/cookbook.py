"""The cookbook and the captures that it is asked of, as the replay test has them: `fixtures/envoy/cookbook/`."""

import collections
import json
import os
import re
import struct
import zlib

from local import Failed

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
CAPTURES = os.path.join(ROOT, "fixtures", "envoy")
MAGIC = b"SLVCAP01"
FRAME_HEAD = struct.Struct("<BQII")
SIGNALS = {1: "traces", 2: "metrics", 3: "logs"}


def capture(name):
    """Path of a shipped capture."""
    return os.path.join(CAPTURES, f"{name}.otlpcap.zst")


def frames(name):
    """Frames of a shipped capture, in order: (signal, payload)."""
    return ((signal, payload) for signal, _, payload in timed_frames(name))


def timed_frames(name):
    """The same with the time of receipt: (signal, Unix nanoseconds, payload)."""
    import zstandard

    with open(capture(name), "rb") as file:
        data = zstandard.ZstdDecompressor().stream_reader(file).read()
    if not data.startswith(MAGIC):
        raise Failed(f"{name} is no capture")
    at = len(MAGIC)
    while at < len(data):
        signal, observed, length, checksum = FRAME_HEAD.unpack_from(data, at)
        at += FRAME_HEAD.size
        payload = data[at:at + length]
        if zlib.crc32(payload) != checksum:
            raise Failed(f"{name} is damaged at byte {at}")
        at += length
        yield SIGNALS[signal], observed, payload


def outbound_calls(names):
    """Calls by caller and callee, counted in the callers' own access logs by the OpenTelemetry project's decoder.

    The captures' mesh names a cluster `outbound|80||<workload>.<...>`, and sends the rest through `PassthroughCluster`.
    """
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    calls, unreadable = collections.Counter(), 0
    for payload in (payload for name in names for kind, payload in frames(name) if kind == "logs"):
        try:
            request = ExportLogsServiceRequest.FromString(payload)
        except DecodeError:  # header bytes that are not UTF-8: one attack is just that
            unreadable += 1
            continue
        for resource in request.resource_logs:
            caller = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
            for record in (record for scope in resource.scope_logs for record in scope.log_records):
                said = {a.key: a.value.string_value for a in record.attributes}
                if (said["mesh.reporter"], said["log.kind"]) != ("outbound", "http"):
                    continue
                cluster, authority = said["upstream.cluster"], said["http.authority"]
                callee = authority if cluster == "PassthroughCluster" else cluster.split("|")[-1].split(".")[0]
                calls[caller, callee] += 1
    return calls, unreadable


class Cookbook:
    """The recipes, their examples replaced by what the captures hold."""

    def __init__(self):
        with open(os.path.join(CAPTURES, "cookbook", "setting.json"), encoding="utf-8") as file:
            setting = json.load(file)
        self.learn, self.judge = setting["learn"], setting["judge"]
        # A replay closes all windows where a capture ends, an engine that runs goes on: what was judged and learned by
        # then differs, whoever asks.
        self.closed_by_replay = set(setting["closed_by_replay"])
        with open(os.path.join(ROOT, "docs", "cookbook.md"), encoding="utf-8") as file:
            text = file.read()
        self.recipes = []
        for heading, sql in re.findall(r"^## (.*?)\n.*?^```sql\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            number = int(heading.split(".")[0])
            # A longer example first: `now()` is a part of `now() - INTERVAL ...`.
            for example, real in sorted(setting["put"].get(str(number), {}).items(), reverse=True):
                sql = sql.replace(example, real)
            self.recipes.append((number, heading, sql.strip()))

    def reviewed(self, number):
        """The reviewed answer: a header and rows of cells as text."""
        with open(os.path.join(CAPTURES, "cookbook", f"{number:02}.txt"), encoding="utf-8") as file:
            lines = [line for line in file if line.startswith("|")]
        cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
        return cells[0], cells[1:]
