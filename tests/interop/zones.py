"""A DNS server for a few domains: `zones.py FILE DOMAIN=ADDRESS...` prints its UDP port and answers until it is ended.

Each domain has an MX `mx.DOMAIN` at the address and an SPF record that allows loopback. FILE, which may come later, has
further TXT records: a name, a space, the text. Other names do not exist."""

import ipaddress
import pathlib
import socket
import sys

A, MX, TXT = 1, 15, 16
further = pathlib.Path(sys.argv[1])
zones = dict(argument.split("=") for argument in sys.argv[2:])


def wire(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def text(value):
    """Strings of at most 255 octets (RFC 1035 §3.3.14)."""
    parts = [value[at : at + 255].encode() for at in range(0, len(value), 255)]
    return b"".join(bytes([len(part)]) + part for part in parts)


records = {}
for domain, address in zones.items():
    spf = text("v=spf1 ip4:127.0.0.0/8 -all")
    records[domain] = {MX: b"\0\x0a" + wire("mx." + domain), TXT: spf}
    records["mx." + domain] = {A: ipaddress.ip_address(address).packed, TXT: spf}

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    query, peer = server.recvfrom(4096)
    labels, end = [], 12
    while query[end]:  # the question's name, label by label
        labels.append(query[end + 1 : end + 1 + query[end]].decode("latin-1").lower())
        end += query[end] + 1
    kind = int.from_bytes(query[end + 1 : end + 3], "big")
    name = ".".join(labels)
    held = records.get(name)
    if not held and further.exists():
        held = {TXT: text(line.split(" ", 1)[1]) for line in further.read_text().splitlines() if line.split(" ", 1)[0] == name}
    data = held.get(kind) if held else None
    answer = b"" if data is None else b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1\0\0\0\x3c" + len(data).to_bytes(2, "big") + data
    # QR, AA, RD as asked, RA, RCODE 3 for names that are not there (RFC 1035 §4.1.1).
    flags = (0x8480 | (query[2] & 1) << 8 | (0 if held else 3)).to_bytes(2, "big")
    counts = b"\0\1" + (b"\0\1" if answer else b"\0\0") + b"\0\0\0\0"
    server.sendto(query[:2] + flags + counts + query[12 : end + 5] + answer, peer)
