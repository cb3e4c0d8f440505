"""Which addresses a webhook may be sent to."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer_api.webhooks.guard import METADATA, Guard
from schemas.errors import WebhookRefused

OPEN = Guard(allow_http=True)
INSIDE = [
    # loopback, in all its forms
    "http://127.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.0x1/",
    "http://127.000.000.001/",
    "http://127.0.0.1./",
    "http://127.255.255.254/",
    "http://localhost/",
    "http://LOCALHOST:8080/",
    "http://localhost./",
    "http://a.localhost/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://0.0.0.0/",
    "http://0/",
    "http://[::]/",
    # private
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1:8443/",
    "http://100.64.0.1/",
    "http://[fc00::1]/",
    "http://[fd12:3456:789a::1]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[fec0::1]/",
    # where clouds keep secrets
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[fd00:ec2::254]/",
    "http://168.63.129.16/",
    "http://100.100.100.200/",
    # IPv6 that holds IPv4
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:8.8.8.8]/",
    "http://[::127.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a00:1::1]/",
    "http://[2001:0:7f00:1::]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::a00:1]/",
    "http://[::ffff:0:127.0.0.1]/",
    # nobody's
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://240.0.0.1/",
    "http://198.18.0.1/",
    "http://192.0.2.1/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[100::1]/",
]
NO_URL = [
    "",
    "receiver.example",
    "//receiver.example/",
    "ftp://receiver.example/",
    "file:///etc/passwd",
    "gopher://receiver.example/",
    "javascript:alert(1)",
    "https:receiver.example",
    "https:///path",
    "https://",
    "https://:443/",
    "https://user@receiver.example/",
    "https://user:word@receiver.example/",
    "https://receiver.example@127.0.0.1/",
    "https://127.0.0.1\\@receiver.example/",
    "https://receiver.example\\.evil.example/",
    "https://receiver.example /",
    " https://receiver.example/",
    "https://receiver.example/\r\nX-Evil: 1",
    "https://receiver.example/\t",
    "https://receiver.example/\0",
    "https://receiver.example:0/",
    "https://receiver.example:65536/",
    "https://receiver.example:https/",
    "https://receiver.example:/",
    "https://receiver.example:80:443/",
    "https://receiver.example/#fragment",
    "https://receiver..example/",
    "https://-receiver.example/",
    "https://.example/",
    "https://receiver.example./",
    "https://%31%32%37.0.0.1/",
    "https://receiver%2eexample/",
    "https://[127.0.0.1]/",
    "https://[::1/",
    "https://::1/",
    "https://[]/",
    "https://bücher.example/",
    "https://①②⑦.⓪.⓪.①/",
    "https://１２７.0.0.1/",  # noqa: RUF001 - on purpose
    "https://127。0。0。1/",
    "https://receiver.1/",
    "https://receiver.0x7f/",
    f"https://{'a' * 64}.example/",
    f"https://receiver.example/{'a' * 2048}",
]
GOOD = {
    "https://receiver.example": ("receiver.example", 443, "/"),
    "https://Receiver.EXAMPLE/Hook?Token=a%20b&c": ("receiver.example", 443, "/Hook?Token=a%20b&c"),
    "HTTPS://receiver.example:8443?x=1": ("receiver.example", 8443, "/?x=1"),
    "https://xn--bcher-kva.example/": ("xn--bcher-kva.example", 443, "/"),
    "https://8.8.8.8/hook": ("8.8.8.8", 443, "/hook"),
    "https://[2606:4700:4700::1111]:444/": ("2606:4700:4700::1111", 444, "/"),
    "https://my_receiver/": ("my_receiver", 443, "/"),
    "https://receiver.example/a@b:c": ("receiver.example", 443, "/a@b:c"),
}


@pytest.mark.parametrize("url", INSIDE + NO_URL)
def test_refused(url: str):
    with pytest.raises(WebhookRefused) as caught:
        OPEN.check(url)
    assert caught.value.detail
    with pytest.raises(WebhookRefused):
        OPEN.check(url.replace("http://", "https://", 1))


@pytest.mark.parametrize("url", GOOD)
def test_taken_apart(url: str):
    target = Guard().check(url)
    assert (target.scheme, target.host, target.port, target.path) == ("https", *GOOD[url])


def test_http_only_where_it_is_allowed():
    with pytest.raises(WebhookRefused, match="https"):
        Guard().check("http://receiver.example/")
    assert OPEN.check("http://receiver.example/").port == 80


def test_the_port_is_in_the_host_header_where_it_is_not_the_usual_one():
    assert Guard().check("https://receiver.example:443/").origin == "receiver.example"
    assert Guard().check("https://receiver.example:444/").origin == "receiver.example:444"
    assert Guard().check("https://[2606:4700::1]:444/").origin == "[2606:4700::1]:444"


def test_inside_networks_are_allowed_one_by_one():
    guard = Guard(True, (ip_network("10.1.0.0/16"), ip_network("fd00::/8"), ip_network("127.0.0.1/32")))
    for url in ("http://10.1.2.3/", "http://[fd12::1]/", "http://127.0.0.1:9000/", "http://localhost/"):
        guard.check(url)
    for url in ("http://10.2.0.1/", "http://127.0.0.2/", "http://[::1]/", "http://[::ffff:10.1.2.3]/", "http://0/"):
        with pytest.raises(WebhookRefused):
            guard.check(url)


@pytest.mark.parametrize("address", sorted(METADATA, key=str), ids=str)
def test_secrets_of_clouds_are_allowed_by_name_only(address):
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"), ip_network("169.254.0.0/16"))
    assert not Guard(True, everything).is_open(address)
    assert Guard(True, (ip_network(address),)).is_open(address)


def test_an_address_with_a_zone_is_never_open():
    assert not Guard(True, (ip_network("::/0"),)).is_open(ip_address("fe80::1%eth0"))


def test_one_address_inside_spoils_them_all():
    with pytest.raises(WebhookRefused, match=r"10\.0\.0\.1"):
        Guard().require_open([ip_address("8.8.8.8"), ip_address("10.0.0.1")])


@given(st.ip_addresses())
def test_what_the_standard_library_calls_inside_is_inside(address):
    if not address.is_global or address.is_multicast:
        assert not Guard().is_open(address)


@given(st.ip_addresses(v=4))
def test_no_ipv6_address_that_holds_another_is_open(address):
    number = int(address)
    for outer in (number, 0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80):
        assert not Guard().is_open(ip_address(outer.to_bytes(16, "big")))


@given(st.text(max_size=60))
def test_no_text_breaks_the_guard(text: str):
    for url in (text, f"https://{text}", f"https://receiver.example/{text}"):
        try:
            target = Guard().check(url)
        except WebhookRefused:
            continue
        assert url.isascii() and target.scheme == "https" and target.path.startswith("/")
