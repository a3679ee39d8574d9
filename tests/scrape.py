"""What Prometheus would see: /metrics over the control socket, read by its own parser."""

from __future__ import annotations

import socket
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families


def fetch(control: Path, target: str) -> tuple[int, dict[str, str], str]:
    """Status, headers by lower-case name, body."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(15)
        sock.connect(str(control))
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: sock.recv(65536), b"")).decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
    return int(first.split()[1]), headers, body


def families(text: str) -> list[Metric]:
    return list(text_string_to_metric_families(text))


def value(text: str, name: str, **labels: str) -> float:
    """The sum of the samples of that name with these labels, and any others."""
    samples = [sample for family in families(text) for sample in family.samples if sample.name == name]
    assert samples, f"there is no {name}"
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())
