"""The suite's own rule: a test cannot reach another machine, in this process or in a child."""

import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

# TEST-NET-1 of RFC 5737: an address that is nobody's.
ELSEWHERE = "192.0.2.1"


def test_connection_to_another_machine_is_refused_before_a_packet_leaves() -> None:
    with socket.socket() as plain, pytest.raises(PermissionError, match="may not leave this machine"):
        plain.connect((ELSEWHERE, 443))


def test_name_of_another_machine_is_not_looked_up() -> None:
    with pytest.raises(PermissionError, match="may not leave this machine"):
        socket.getaddrinfo("models.example", 443)


def test_datagram_to_another_machine_is_refused() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain,
        pytest.raises(PermissionError, match="may not leave this machine"),
    ):
        plain.sendto(b"", (ELSEWHERE, 53))


def test_server_on_loopback_is_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=lambda: server.accept()[0].close())
        accepting.start()
        socket.create_connection(server.getsockname(), timeout=10).close()
        accepting.join(timeout=10)
    assert not accepting.is_alive()


def test_children_get_no_keys_and_a_proxy_that_refuses() -> None:
    fetch = "import urllib.request; urllib.request.urlopen('http://models.example/v1', timeout=10)"
    child = subprocess.run([sys.executable, "-c", fetch], capture_output=True, text=True, check=False)
    assert child.returncode != 0
    assert "Connection refused" in child.stderr
    assert not [name for name in os.environ if name.endswith("_API_KEY")]


def test_refusal_reaches_libraries_that_open_urls() -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises((PermissionError, urllib.error.URLError), match="may not leave this machine"):
        direct.open(f"http://{ELSEWHERE}/", timeout=10)
