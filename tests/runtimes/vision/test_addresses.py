"""Pictures that are fetched: from where the site allows it, and for as long as it bears."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.vision import addresses
from django_inference.runtimes.vision.addresses import AllowedAddresses

CONTENT = b"\xff\xd8 a photo"


class _Photos(BaseHTTPRequestHandler):
    asked: list[str] = []
    done = threading.Event()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.endswith("/moved.jpg"):
            self.send_response(302)
            self.send_header("Location", "/secret/plan.jpg")
            self.end_headers()
        elif self.path.endswith("/gone.jpg"):
            self.send_error(404)
        elif self.path.endswith("/silent.jpg"):
            self.done.wait(20)
        elif self.path.endswith("/drop.jpg"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(CONTENT)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """A web server of photos: the address of its root."""
    _Photos.asked.clear()
    _Photos.done.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Photos) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        _Photos.done.set()
        http.shutdown()
        thread.join()


def test_what_lies_below_an_allowed_address_is_fetched(server: str) -> None:
    allowed = AllowedAddresses([f"{server}/photos/", "https://example.org/"])
    assert allowed.fetch(f"{server}/photos/2026/bus.jpg?size=full") == CONTENT
    assert _Photos.asked == ["/photos/2026/bus.jpg?size=full"]


@pytest.mark.parametrize(
    "address",
    [
        "{server}/secret/plan.jpg",
        "{server}/photos",
        "{server}/photos/../secret/plan.jpg",
        "{server}/photos/%2e%2e/secret/plan.jpg",
        "{server}/photos/..%2fsecret/plan.jpg",
        "{server}/photos/..\\secret/plan.jpg",
        "{server}.evil.example/photos/a.jpg",
        "http://user@127.0.0.1/photos/a.jpg",
        "http://127.0.0.1/photos/a.jpg",
        "http://169.254.169.254/photos/a.jpg",
        "http://[::1/photos/a.jpg",
    ],
)
def test_no_other_address_is_asked(server: str, address: str) -> None:
    allowed = AllowedAddresses([f"{server}/photos/"])
    with pytest.raises(InvalidInput, match="may not be fetched from .* the option allow_urls"):
        allowed.fetch(address.format(server=server))
    assert _Photos.asked == []


def test_redirections_are_not_followed(server: str) -> None:
    with pytest.raises(InvalidInput, match=r"moved\.jpg' was answered 302"):
        AllowedAddresses([f"{server}/photos/"]).fetch(f"{server}/photos/moved.jpg")
    assert _Photos.asked == ["/photos/moved.jpg"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "was answered 404"),
        ("drop", "cannot be fetched: it ended 990 bytes too early"),
        ("a b", "cannot be fetched: URL can't contain control characters"),
    ],
)
def test_what_cannot_be_fetched_says_why(server: str, name: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=rf"/photos/{name}\.jpg' {said}"):
        AllowedAddresses([f"{server}/photos/"]).fetch(f"{server}/photos/{name}.jpg")


def test_a_silent_server_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_WAIT", 0.2)
    with pytest.raises(InvalidInput, match="cannot be fetched: .*timed out"):
        AllowedAddresses([f"{server}/photos/"]).fetch(f"{server}/photos/silent.jpg")


def test_the_whole_takes_no_longer_than_its_time(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "_SECONDS", -1.0)
    with pytest.raises(InvalidInput, match="it took longer than"):
        AllowedAddresses([f"{server}/photos/"]).fetch(f"{server}/photos/bus.jpg")


def test_more_than_the_limit_is_not_read(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_MAX_BYTES", len(CONTENT) - 1)
    with pytest.raises(InvalidInput, match=f"it has more than {len(CONTENT) - 1} bytes"):
        AllowedAddresses([f"{server}/photos/"]).fetch(f"{server}/photos/bus.jpg")


@pytest.mark.parametrize(
    "prefix",
    ["https://example.org", "example.org/photos/", "https:///photos/", "file:///srv/", "*", ""],
)
def test_a_prefix_names_a_host_and_a_folder(prefix: str) -> None:
    with pytest.raises(ValueError, match="must be a scheme, a host and a folder that ends in"):
        AllowedAddresses([prefix])


def test_a_single_text_is_no_list_of_prefixes() -> None:
    with pytest.raises(ValueError, match="must be a list of addresses, not the text"):
        AllowedAddresses("https://example.org/")
