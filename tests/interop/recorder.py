#!/usr/bin/env python3
"""Stands between a client and the server and writes down what they say.

Usage: recorder.py SETTINGS, a JSON file: host, ca, certificate, key, user, password, direct (the server's IMAPS port),
ports {imap, imaps, pop3, pop3s}, about (the client's name and version), imap and pop3 (files to write). The first line
on stdout is a JSON object with the ports where it listens. SIGUSR1 ends it; then it writes what it heard.

It ends TLS on both sides, so it reads what is said, and unpacks COMPRESS=DEFLATE. What differs from run to run becomes
a variable; passwords do as well. crates/testkit/src/transcript.rs tells how the files are read.
"""
import asyncio, base64, binascii, imaplib, json, re, signal, ssl, sys, time, zlib

settings = json.load(open(sys.argv[1]))
trust = ssl.create_default_context(cafile=settings["ca"])
identity = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
identity.load_cert_chain(settings["certificate"], settings["key"])


class Watch:
    """Looks at INBOX through a connection of its own, beside the client, and without taking \\Recent."""

    def __init__(self):
        self.imap = imaplib.IMAP4_SSL(settings["host"], settings["direct"], ssl_context=trust)
        self.imap.login(settings["user"], settings["password"])
        self.imap.select("INBOX", readonly=True)
        self.seen = set()

    def uids(self):
        self.imap.noop()
        return {int(uid) for uid in self.imap.uid("SEARCH", "ALL")[1][0].split()}

    def delivered(self):
        """What came by SMTP since the last look: the server adds trace fields to nothing else."""
        found = []
        for uid in sorted(self.uids() - self.seen):
            self.seen.add(uid)
            data = self.imap.uid("FETCH", str(uid), "(INTERNALDATE EMAILID BODY.PEEK[])")[1]
            head, text = next(part for part in data if isinstance(part, tuple))
            ident = re.search(rb"EMAILID \(([^)]*)\)", head).group(1)
            if text.startswith(b"Return-Path:") and ident not in self.seen:
                found.append((uid, re.search(rb'INTERNALDATE "([^"]*)"', head).group(1).decode(), text))
            self.seen.add(ident)
        return found


class Side:
    """One direction of a connection: cuts the octets into lines and literals."""

    def __init__(self, note, literals):
        self.note, self.literals, self.rest, self.missing, self.inflate = note, literals, b"", 0, None

    def feed(self, data):
        self.rest += self.inflate.decompress(data) if self.inflate else data
        while self.rest:
            if self.missing:
                if len(self.rest) < self.missing:
                    return
                piece, self.rest = self.rest[: self.missing], self.rest[self.missing :]
                self.missing = 0
                self.note("|", piece)
                continue
            end = self.rest.find(b"\n") + 1
            if end == 0:
                return
            line, self.rest = self.rest[:end], self.rest[end:]
            assert line.endswith(b"\r\n"), line
            literal = re.search(rb"\{(\d+)\+?\}\r\n$", line) if self.literals else None
            self.missing = int(literal.group(1)) if literal else 0
            self.note(":", line[:-2])
            if self.inflate is None and self.packed(line):
                self.inflate = zlib.decompressobj(-15)
                self.rest = self.inflate.decompress(self.rest)

    def packed(self, line):
        return False


class Protocol:
    """What is said by IMAP or by POP3."""

    def __init__(self, name, watch):
        self.name, self.watch, self.events, self.count, self.open = name, watch, [], 0, 0
        self.before = watch.uids()

    def look(self):
        for uid, date, text in self.watch.delivered():
            for protocol in protocols.values():
                protocol.events.append(("deliver", date, text))
                protocol.before.add(uid)

    def begin(self, port):
        if self.open == 0:
            self.look()
            gone = self.before - self.watch.uids()
            if gone:
                self.events.append(("gone", ",".join(map(str, sorted(gone)))))
        self.open += 1
        self.count += 1
        self.events.append(("open", self.count, port))
        return self.count

    def end(self, connection):
        self.open -= 1
        self.events.append(("close", connection))
        if self.open == 0:
            self.look()
            self.before = self.watch.uids()


async def connection(protocol, port, client_in, client_out):
    secure = trust if port.endswith("s") else None
    number = protocol.begin(port)
    server_in, server_out = await asyncio.open_connection(
        settings["host"], settings["ports"][port], ssl=secure, server_hostname=settings["host"] if secure else None)
    literals = protocol.name == "imap"
    note = lambda who: lambda kind, octets: protocol.events.append((who, number, kind, octets))
    client, server = Side(note("C"), literals), Side(note("S"), literals)
    asked = {}

    def client_note(kind, octets):
        note("C")(kind, octets)
        words = octets.split()
        if kind == ":" and words[1:] == [b"COMPRESS", b"DEFLATE"]:
            asked["compress"] = words[0]
        if kind == ":" and [word.upper() for word in words[-1:]] in ([b"STARTTLS"], [b"STLS"]):
            asked["tls"] = True

    def server_note(kind, octets):
        # What came while the client was connected stands before its being told.
        if kind == ":" and re.fullmatch(rb"\* \d+ EXISTS", octets):
            protocol.look()
        note("S")(kind, octets)

    def server_packed(line):
        if "compress" in asked and line.startswith(asked["compress"] + b" OK"):
            client.inflate = zlib.decompressobj(-15)
            return True
        return False

    client.note, server.note, server.packed = client_note, server_note, server_packed

    async def up():
        while data := await client_in.read(65536):
            client.feed(data)
            server_out.write(data)
            await server_out.drain()

    async def down():
        while data := await server_in.read(65536):
            server.feed(data)
            if asked.pop("tls", False):
                assert server.rest == b""
                client_out.transport.pause_reading()
                await server_out.start_tls(trust, server_hostname=settings["host"])
                client_out.write(data)
                await client_out.start_tls(identity)
                continue
            client_out.write(data)
            await client_out.drain()

    ways = [asyncio.ensure_future(up()), asyncio.ensure_future(down())]
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    # Whoever is left may have last words.
    await asyncio.wait(ways, timeout=0.3)
    for way in ways:
        way.cancel()
    for result in await asyncio.gather(*ways, return_exceptions=True):
        if isinstance(result, Exception) and not isinstance(result, (ConnectionError, ssl.SSLError)):
            failures.append(result)
    for writer in (client_out, server_out):
        writer.close()
    protocol.end(number)


OPEN, CLOSE = "‹", "›"


def shown(octets):
    """As text: octets that are no printable text stand as ‹hexadecimal digits›."""
    parts = []
    for char in octets.decode("utf-8", "surrogateescape"):
        if char in OPEN + CLOSE + "\ufeff" or not (char.isprintable() or char == " "):
            raw = char.encode("utf-8", "surrogateescape")
            parts.append(f"{OPEN}{raw.hex().upper()}{CLOSE}")
        else:
            parts.append(char)
    text = "".join(parts)
    bare = text.rstrip(" ")
    return bare + f"{OPEN}20{CLOSE}" * (len(text) - len(bare))


class Variables:
    """Values that differ from run to run, each with a name that stands for it."""

    def __init__(self):
        self.names = {}

    def name(self, kind, value):
        known = self.names.setdefault(kind, {})
        return f"{OPEN}{kind} {known.setdefault(value, len(known) + 1)}{CLOSE}"

    def server(self, text):
        put = lambda kind: lambda found: found.group(1) + self.name(kind, found.group(2))
        text = re.sub(r"\b((?:UIDVALIDITY|APPENDUID|COPYUID) )(\d+)", put("uidvalidity"), text)
        text = re.sub(r"\b((?:HIGHESTMODSEQ|MODSEQ) \(?)(\d+)", put("modseq"), text)
        text = re.sub(r"^((?:\+OK )?\d+ )([0-9a-f]{16})$", put("id"), text)  # POP3's UIDL
        text = re.sub(r"\b((?:EMAILID|THREADID|MAILBOXID) \()([^)]+)", put("id"), text)
        return re.sub(r'\b((?:INTERNALDATE|SAVEDATE) ")([^"]+)', self.date, text)

    def date(self, found):
        try:
            age = started - time.mktime(imaplib.Internaldate2tuple(b'INTERNALDATE "%s"' % found.group(2).encode()))
        except (TypeError, ValueError):
            return found.group(0)
        return found.group(1) + f"{OPEN}any{CLOSE}" if abs(age) < 86400 else found.group(0)

    def client(self, text):
        for kind in ("uidvalidity", "id"):
            for value in self.names.get(kind, {}):
                text = re.sub(rf"(?<![\w.-]){re.escape(value)}(?![\w.-])", lambda _: self.name(kind, value), text)
        modseq = lambda found: found.group(1) + (
            self.name("modseq", found.group(2)) if found.group(2) in self.names.get("modseq", {}) else found.group(2))
        text = re.sub(r"\b((?:CHANGEDSINCE|UNCHANGEDSINCE|MODSEQ) )(\d+)", modseq, text)
        return re.sub(r"(QRESYNC \(\S+ )(\d+)", modseq, text)


def secret(text):
    """Without passwords, also where they stand in base64."""
    for word in re.findall(r"[A-Za-z0-9+/]{8,}={0,2}", text):
        try:
            plain = base64.b64decode(word, validate=True)
        except binascii.Error:
            continue
        if plain == settings["password"].encode():
            text = text.replace(word, f"{OPEN}password in base64{CLOSE}")
        elif plain.endswith(b"\0" + settings["password"].encode()):
            with_identity = " with identity" if not plain.startswith(b"\0") else ""
            text = text.replace(word, f"{OPEN}credentials{with_identity}{CLOSE}")
    return text.replace(settings["password"], f"{OPEN}password{CLOSE}")


def literal(prefix, octets, hide):
    lines = octets.split(b"\r\n")
    for line in lines[:-1]:
        yield f"{prefix}| {hide(shown(line))}"
    if lines[-1]:
        yield f"{prefix}~ {hide(shown(lines[-1]))}"


def written(events):
    variables = Variables()
    yield f"# {settings['about']}, recorded by tests/interop/record."
    yield f"account {settings['user']}"
    for event in events:
        match event:
            case ("deliver", date, text):
                yield ""
                yield f"deliver {date}"
                yield from literal("", text, str)
            case ("gone", uids):
                yield ""
                yield f"gone {uids}"
            case ("open", number, port):
                yield ""
                yield f"{number} open {port}"
            case ("close", number):
                yield f"{number} close"
            case ("C", number, "|", octets):
                yield from literal(f"{number} C", octets, secret)
            case ("C", number, _, octets):
                yield f"{number} C: {variables.client(secret(shown(octets)))}".rstrip()
            case ("S", number, "|", octets):
                yield from literal(f"{number} S", octets, str)
            case ("S", number, _, octets):
                yield f"{number} S: {variables.server(shown(octets))}".rstrip()


def undated(line):
    """The hour of the recording becomes another of the same length, also in what the server and the client wrote
    into messages, whose sizes stand in the answers."""
    today = time.strftime("%d %b %Y|%d-%b-%Y", time.gmtime(started)).split("|")
    for day, other in zip(today, ("01 Nov 2026", "01-Nov-2026")):
        line = re.sub(rf"(?:\w\w\w(?=, {day}))", "Sun", line)
        line = re.sub(rf"{day} \d\d:\d\d:\d\d", f"{other} 10:00:00", line)
    return line.replace(time.strftime("%Y%m%d", time.gmtime(started)), "20261101")


async def main():
    done, ports = asyncio.get_running_loop().create_future(), {}
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, done.set_result, None)
    for port in settings["ports"]:
        protocol = protocols[port.removesuffix("s")]
        serve = lambda reader, writer, protocol=protocol, port=port: connection(protocol, port, reader, writer)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=identity if port.endswith("s") else None)
        ports[port] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await done
    for _ in range(100):
        if any(protocol.open for protocol in protocols.values()):
            await asyncio.sleep(0.05)
    for failure in failures:
        raise failure
    for protocol in protocols.values():
        assert protocol.open == 0, f"{protocol.open} connections of {protocol.name} are still open"
        if protocol.count:
            with open(settings[protocol.name], "w") as file:
                file.writelines(undated(line) + "\n" for line in written(protocol.events))


started, failures = time.time(), []
watch = Watch()
protocols = {name: Protocol(name, watch) for name in ("imap", "pop3")}
asyncio.run(main())
