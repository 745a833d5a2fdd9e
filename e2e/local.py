"""Loopback plumbing: free ports, processes that are always ended, HTTP, and waiting with a deadline."""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import time


class Failed(Exception):
    """A promise that did not hold, in words."""


def expect(holds, message):
    """Fails in words unless something holds."""
    if not holds:
        raise Failed(message)
    return True


def free_ports(count):
    """Ports that were free a moment ago, none twice. Below those that the system gives to outgoing connections: else a
    connection of somebody else takes one before its server does."""
    found = []
    for _ in range(1_000):
        if len(found) == count:
            return found
        port = _DRAW.randrange(*_SERVER_PORTS)
        if port not in _GIVEN and _binds(port):
            _GIVEN.add(port)
            found.append(port)
    raise Failed("no free ports")


def _binds(port):
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# Linux gives out 32768 to 60999 unless told otherwise (net.ipv4.ip_local_port_range).
_SERVER_PORTS = (15_000, 32_768)
_DRAW = random.SystemRandom()
_GIVEN = set()


def request(port, method, path, body=None, headers=None, timeout=10):
    """One HTTP exchange with 127.0.0.1: (status, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def get_json(port, path):
    status, body = request(port, "GET", path)
    if status != 200:
        raise Failed(f"GET {path} answered {status}: {body[:300]!r}")
    return json.loads(body)


def answers_200(port, path):
    """A probe for `wait_until`: true once the path answers 200."""

    def probe():
        try:
            return request(port, "GET", path, timeout=2)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    return probe


def wait_until(what, probe, seconds, process=None, pause=0.1):
    """Polls until `probe` gives something true and returns it; fails in words at the deadline or when `process` ends."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if process is not None and process.poll() is not None:
            raise Failed(f"{process.label} ended with {process.returncode} while waiting for: {what}")
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds} s in vain for: {what}")
        time.sleep(pause)


class Processes:
    """Starts processes with a log file each; on leaving, ends those that it started, and only those."""

    def __init__(self, log_dir):
        self.log_dir = log_dir
        self.running = []
        os.makedirs(log_dir, exist_ok=True)

    def start(self, label, *command, env=None):
        with open(self.log_path(label), "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env, start_new_session=True)
        process.label = label
        self.running.append(process)
        return process

    def log_path(self, label):
        return os.path.join(self.log_dir, f"{label}.log")

    def log_tail(self, label, lines=25):
        with open(self.log_path(label), encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-lines:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in reversed(self.running):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
