"""Whether a webhook may be sent to an address: never to what is inside, unless the operator allows that very network.

The form of an address is checked strictly, when a job is submitted and again before each try: what two parsers might read in
two ways is refused, not guessed at. What its name stands for is checked at each try, on the addresses that are connected to.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Self

from schemas.errors import WebhookRefused
from turnstream.settings import Network, Settings

Address = IPv4Address | IPv6Address

MAX_URL = 2048
DEFAULT_PORTS = {"https": 443, "http": 80}
_PARTS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?P<fragment>#.*)?",
    re.I,
)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^:\[\]@%]+)(:(?P<port>[0-9]{1,5}))?", re.I)
_WRITTEN = re.compile(r"[!#$&-;=?-\[\]_a-z~%]+", re.I)
"""What an address may be written with: RFC 3986, so neither blanks nor control characters nor backslashes."""
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

# What is not open to the world, or holds an address that may not be: the registries of special addresses at iana.org.
_INSIDE_4 = [
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
]
_GLOBAL_6 = ip_network("2000::/3")
"""All else of IPv6 is inside, or holds an IPv4 address as ::ffff:0:0/96 and NAT64's 64:ff9b::/96 do."""
_INSIDE_6 = [
    ip_network(text)
    for text in (
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),  # Teredo in the first one; 6to4 is the third
        *("2620:4f:8000::/48",),
    )
]
METADATA = frozenset(
    map(
        ip_address,
        ("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"),
    )
)
"""Where clouds tell a machine its secrets. Allowed only where each is named as a network of one address."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address of good form."""

    scheme: str
    host: str
    """A name in lower case, or a literal address without brackets."""
    port: int
    path: str
    """With its query."""
    literal: Address | None
    """The host, where it is no name."""

    @property
    def origin(self) -> str:
        """The host and its port as the header Host has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Guard:
    allow_http: bool = False
    allowed: tuple[Network, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.webhook_allow_http, settings.webhook_allowed_networks)

    def check(self, url: str) -> Target:
        """The parts of an address. Raises WebhookRefused for a bad form, and for a literal address that is inside."""
        target = _parsed(url)
        if target.scheme == "http" and not self.allow_http:
            raise WebhookRefused("Webhooks are sent to https addresses only")
        if target.literal is not None:
            self.require_open([target.literal])
        if target.host == "localhost" or target.host.endswith(".localhost"):
            self.require_open([ip_address("127.0.0.1")])
        return target

    def require_open(self, addresses: Iterable[Address]) -> None:
        """Raises WebhookRefused where one of them is inside: who answers with both kinds is up to something."""
        for address in addresses:
            if not self.is_open(address):
                raise WebhookRefused(f"The address {address} is inside, and WEBHOOK_ALLOWED_NETWORKS does not have it")

    def is_open(self, address: Address) -> bool:
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return False
        networks = [network for network in self.allowed if network.version == address.version and address in network]
        if address in METADATA:
            return any(network.num_addresses == 1 for network in networks)
        return bool(networks) or _is_global(address)


def _is_global(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _INSIDE_4)
    return address in _GLOBAL_6 and not any(address in network for network in _INSIDE_6)


def _parsed(url: str) -> Target:
    if len(url) > MAX_URL:
        raise WebhookRefused(f"The address has more than {MAX_URL} characters")
    if not url.isascii():
        raise WebhookRefused("Write the address in ASCII: a host as xn--..., the rest percent-encoded")
    if not _WRITTEN.fullmatch(url):
        raise WebhookRefused("The address has characters that no URL has")
    parts = _PARTS.fullmatch(url)
    scheme = parts["scheme"].lower() if parts else ""
    if parts is None or scheme not in DEFAULT_PORTS:
        raise WebhookRefused("The address does not begin with https://")
    if parts["fragment"]:
        raise WebhookRefused("The address has a fragment, which is never sent")
    if "@" in parts["authority"]:
        raise WebhookRefused("The address has a user or a password: use a secret path, or check the signature")
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if authority is None:
        raise WebhookRefused("The address has no host and port of the usual form")
    port = int(authority["port"] or DEFAULT_PORTS[scheme])
    if not 0 < port < 1 << 16:
        raise WebhookRefused(f"There is no port {port}")
    host, literal = _host(authority["host"].lower())
    return Target(scheme, host, port, (parts["path"] or "/") + (parts["query"] or ""), literal)


def _host(text: str) -> tuple[str, Address | None]:
    """A name or a literal address. Raises WebhookRefused for an address in any but its plain form."""
    try:
        address = IPv6Address(text[1:-1]) if text.startswith("[") else IPv4Address(text)
    except ValueError:
        address = None
    if address is not None:
        return str(address), address
    labels = text.split(".")
    if len(text) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise WebhookRefused(f"{text[:100]!r} is no host")
    if _NUMBER.fullmatch(labels[-1]):  # as browsers and C libraries read addresses: 2130706433, 0x7f.1, 0177.0.0.1
        raise WebhookRefused(f"{text[:100]!r} is neither a name nor an IPv4 address in four decimal parts")
    return text, None
