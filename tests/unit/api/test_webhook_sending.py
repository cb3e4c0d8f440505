"""One try to deliver: which address is connected to, and how little of the receiver is believed."""

import socket
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from producer_api.webhooks import sending
from producer_api.webhooks.guard import Address, Guard
from producer_api.webhooks.lookups import Resolve, resolved
from producer_api.webhooks.sending import Sender
from producer_api.webhooks.signing import Signer, message_id
from tests.support.receivers import OTHER_SECRET, SECRET, Receiver
from tests.support.stores import closed_port, deaf_port

LOOPBACK = Guard(allow_http=True, allowed=(ip_network("127.0.0.1/32"),))
NOWHERE = Guard(allow_http=True)


class Names:
    """A name server that answers each question with the next of `answers`, the last one for good."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str) -> list[Address]:
        self.asked.append(host)
        return [ip_address(text) for text in (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])]


async def sent(url: str, guard: Guard = LOOPBACK, resolve: Resolve = resolved, secrets=(SECRET,)):
    sender = Sender(guard, Signer(secrets), resolve)
    try:
        return await sender.send(url, "id/live", '{"type":"x"}')
    finally:
        await sender.close()


async def test_what_is_sent():
    with Receiver() as receiver:
        answer = await sent(f"{receiver.url}?a=b%20c", secrets=(SECRET, OTHER_SECRET))
    assert (answer.outcome, answer.attempt.status, answer.attempt.error) == ("delivered", 204, None)
    [received] = receiver.received
    assert received.path == "/hook?a=b%20c"
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert received.headers["webhook-id"] == "id/live"
    assert abs(int(received.headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60
    assert len(received.headers["webhook-signature"].split(" ")) == 2
    assert received.verified(SECRET) == received.verified(OTHER_SECRET) == {"type": "x"}
    assert "cookie" not in received.headers


# Which address


async def test_the_name_is_in_the_host_header_and_the_address_is_connected_to():
    names = Names(["127.0.0.1"])
    with Receiver() as receiver:
        answer = await sent(f"http://receiver.test:{receiver.port}/", resolve=names)
    assert answer.delivered
    assert receiver.received[0].headers["host"] == f"receiver.test:{receiver.port}"
    assert names.asked == ["receiver.test"]


async def test_a_name_that_changes_its_address_after_the_check_gains_nothing():
    """DNS rebinding: the name is asked for once a try, and what was checked is what is connected to."""
    with Receiver() as receiver:
        url = f"http://rebinding.test:{receiver.port}/"
        guard = Guard(allow_http=True, allowed=(ip_network("192.0.2.1/32"),))  # stands for an open address
        names = Names(["127.0.0.1"], ["192.0.2.1"], ["127.0.0.1"])
        refused = await sent(url, guard, names)
        assert (refused.outcome, refused.attempt.status) == ("refused", None)
        assert "127.0.0.1" in (refused.attempt.error or "")

        connected: list[str] = []

        class Watching(Sender):
            async def _post_to(self, address, *rest):
                connected.append(str(address))
                raise OSError("far away")

        sender = Watching(guard, Signer([SECRET]), names)
        assert (await sender.send(url, "id/live", "{}")).outcome == "unanswered"
        assert connected == ["192.0.2.1"], "never the answer to a second question"
        assert (await sender.send(url, "id/live", "{}")).outcome == "refused"
        await sender.close()
        assert names.asked == ["rebinding.test"] * 3
    assert receiver.received == []


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1", "::", "fe80::1"),
        *(
            "fc00::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:7f00:1::",
            "::7f00:1",
        ),
    ],
)
async def test_a_name_that_leads_inside_is_refused(address):
    for answers in ([address], ["8.8.8.8", address], [address, "8.8.8.8"]):
        answer = await sent("http://receiver.test/", NOWHERE, Names(answers))
        assert answer.outcome == "refused", answers


async def test_the_next_address_is_tried_where_one_does_not_answer():
    guard = Guard(allow_http=True, allowed=(ip_network("127.0.0.0/8"),))
    with Receiver() as receiver:  # which listens on 127.0.0.1 alone
        answer = await sent(f"http://receiver.test:{receiver.port}/", guard, Names(["127.0.0.2", "127.0.0.1"]))
        assert answer.delivered
        answer = await sent(f"http://receiver.test:{receiver.port}/", guard, Names(["127.0.0.2", "127.0.0.3"]))
        assert answer.outcome == "unanswered"
    assert len(receiver.received) == 1


async def test_a_name_that_nobody_knows():
    answer = await sent("http://receiver.invalid/", NOWHERE, Names([]))
    assert (answer.outcome, answer.attempt.error) == ("unanswered", "no connection: receiver.invalid has no address")


async def test_the_resolver_of_the_machine_is_asked():
    with Receiver() as receiver:
        answer = await sent(f"http://localhost:{receiver.port}/")
        # It may say ::1 as well, which is not allowed here.
        assert answer.outcome == ("delivered" if _only_loopback_4() else "refused")


def _only_loopback_4() -> bool:
    return {each[4][0] for each in socket.getaddrinfo("localhost", 80)} == {"127.0.0.1"}


# What a receiver may do


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status):
    with Receiver() as inside, Receiver(lambda received: (status, {"Location": inside.url})) as receiver:
        answer = await sent(receiver.url)
    assert (answer.outcome, answer.attempt.status) == ("declined", status)
    assert inside.received == []


async def test_cookies_are_not_kept():
    with Receiver(lambda received: (200, {"Set-Cookie": "a=b; Path=/"})) as receiver:
        sender = Sender(LOOPBACK, Signer([SECRET]))
        for _ in range(2):
            assert (await sender.send(receiver.url, "id/live", "{}")).delivered
        await sender.close()
    assert all("cookie" not in received.headers for received in receiver.received)


async def test_proxies_of_the_environment_are_not_used(monkeypatch):
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert (await sent(receiver.url)).delivered
    assert len(receiver.received) == 1 and proxy.received == []


@contextmanager
def saying(*pieces: bytes):
    """A server that answers whatever comes with these bytes, the last one again and again."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                with line:
                    try:
                        line.recv(65536)
                        for piece in pieces:
                            line.sendall(piece)
                        while True:
                            line.sendall(pieces[-1])
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


async def test_a_body_without_end_is_not_read():
    with saying(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536) as url:
        assert (await sent(url)).delivered


async def test_headers_without_end_are_not_read():
    with saying(b"HTTP/1.1 200 OK\r\n", b"x-more: " + b"x" * 8192 + b"\r\n") as url:
        answer = await sent(url)
    assert answer.outcome == "unanswered"


async def test_what_is_no_http():
    with saying(b"220 mail.test ESMTP\r\n") as url:
        assert (await sent(url)).outcome == "unanswered"


async def test_a_receiver_that_never_answers(monkeypatch):
    monkeypatch.setattr(sending, "TOTAL_LIMIT", 0.3)
    with deaf_port() as address:
        answer = await sent(f"http://{address}/")
    assert answer.outcome == "unanswered"
    assert answer.attempt.error == "no answer within 0.3 s" or "too slow" in answer.attempt.error


async def test_a_name_server_that_never_answers(monkeypatch):
    monkeypatch.setattr(sending, "TOTAL_LIMIT", 0.3)

    giving_up = threading.Event()

    def silent(host: str) -> list[Address]:
        giving_up.wait()
        return []

    answer = await sent("http://receiver.test/", NOWHERE, silent)
    giving_up.set()
    assert answer.attempt.error == "no answer within 0.3 s"


async def test_what_nobody_thought_of_is_a_failed_try():
    def broken(host: str) -> list[Address]:
        raise OverflowError("the receiver said something odd")

    answer = await sent("http://receiver.test/", NOWHERE, broken)
    assert (answer.outcome, answer.attempt.error) == ("unanswered", "not sent: OverflowError")


async def test_nobody_listens():
    answer = await sent(f"http://{closed_port()}/")
    assert (answer.outcome, answer.attempt.status) == ("unanswered", None)
    assert answer.attempt.error.startswith("no connection")


async def test_an_answer_that_asks_for_time():
    with Receiver(lambda received: (429, {"Retry-After": "7"})) as receiver:
        assert (await sent(receiver.url)).retry_after == 7


# Certificates


@pytest.fixture
def certified(tmp_path: Path, monkeypatch) -> ssl.SSLContext:
    """The server side for receiver.test, whose certificate is trusted."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver.test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("receiver.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = tmp_path / "certificate.pem", tmp_path / "key.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context


async def test_the_certificate_is_checked_against_the_name(certified):
    with Receiver(tls=certified) as receiver:
        port = receiver.port
        assert (await sent(f"https://receiver.test:{port}/", resolve=Names(["127.0.0.1"]))).delivered
        for url in (f"https://other.test:{port}/", f"https://127.0.0.1:{port}/"):
            answer = await sent(url, resolve=Names(["127.0.0.1"]))
            assert (answer.outcome, "certificate" in (answer.attempt.error or "").lower()) == ("unanswered", True)
    assert len(receiver.received) == 1


async def test_a_certificate_of_nobody_we_trust(certified, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with Receiver(tls=certified) as receiver:
        answer = await sent(f"https://receiver.test:{receiver.port}/", resolve=Names(["127.0.0.1"]))
    assert answer.outcome == "unanswered"
    assert receiver.received == []


# Signatures


def test_the_id_has_no_dots():
    assert message_id("0196", "v1.2") == "0196/v1%2E2"


def test_nothing_of_a_secret_is_shown():
    assert SECRET not in repr(Signer([SECRET]))
