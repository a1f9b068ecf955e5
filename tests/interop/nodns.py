"""A DNS server that knows no name: prints its UDP port, then answers NXDOMAIN until it is ended.

Senders in the clients' scripts so have neither SPF nor DMARC, and nothing asks the network."""

import socket

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    query, peer = server.recvfrom(4096)
    end = 12
    while query[end]:  # the question's name, label by label
        end += query[end] + 1
    question = query[12 : end + 5]
    # QR, AA, RD as asked, RA, RCODE 3 (RFC 1035 §4.1.1); no record but the question.
    flags = (0x8480 | (query[2] & 1) << 8 | 3).to_bytes(2, "big")
    server.sendto(query[:2] + flags + b"\0\1\0\0\0\0\0\0" + question, peer)
