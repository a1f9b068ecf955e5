"""Mail in all directions between a.test and b.test (Letterlock) and p.test (Postfix), asserted at its destination."""

import glob
import imaplib
import smtplib
import ssl
import sys
import time
from email import message_from_bytes
from email.header import decode_header, make_header

top = sys.argv[1]
addresses = {"a.test": "127.0.0.11", "b.test": "127.0.0.12", "p.test": "127.0.0.13"}
tls = ssl.create_default_context(cafile=f"{top}/ca.pem")
tls.check_hostname = False  # addresses are dialled here; the servers among themselves verify names


def letter(sender, recipient, subject, body="Grüße\r\n"):
    return (
        f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {subject}\r\nDate: Sun, 01 Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{subject.replace(' ', '.')}@exchange>\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{body}"
    ).encode()


def send(sender, recipient, subject, notify=None, utf8=False):
    """Submits at the sender's own server."""
    domain = sender.rpartition("@")[2]
    options = ["BODY=8BITMIME"] + (["SMTPUTF8"] if utf8 else []) + (["RET=HDRS", "ENVID=E1"] if notify else [])
    asked = [f"NOTIFY={notify}"] if notify else []
    if domain == "p.test":
        server = smtplib.SMTP(addresses[domain], 2525, source_address=("127.0.0.1", 0))
        server.ehlo("client.test")
    else:
        server = smtplib.SMTP(addresses[domain], 2587)
        server.starttls(context=tls)
        server.login(sender, "pass word") if sender.isascii() else server.login("ann@" + domain, "pass word")
    server.command_encoding = "utf-8"
    with server:
        server.ehlo_or_helo_if_needed()
        for reply in (server.mail(sender, options), server.rcpt(recipient, asked), server.data(letter(sender, recipient, subject))):
            assert reply[0] in (250, 251), (sender, recipient, reply)


def read(mailbox):
    """All messages of an account, wherever it is."""
    user, _, domain = mailbox.rpartition("@")
    if domain == "p.test":
        return [open(path, "rb").read() for path in glob.glob(f"{top}/p.test/{'juergen' if user == 'jürgen' else user}/new/*")]
    with imaplib.IMAP4_SSL(addresses[domain], 2993, ssl_context=tls) as imap:
        imap.authenticate("PLAIN", lambda _: f"\0{mailbox}\0pass word".encode())
        imap.select("INBOX", readonly=True)
        _, found = imap.search(None, "ALL")
        return [imap.fetch(number, "(BODY.PEEK[])")[1][0][1] for number in found[0].split()]


def arrived(mailbox, test, what):
    """Waits for a message that passes the test."""
    for _ in range(300):
        for raw in read(mailbox):
            if test(raw):
                return raw
        time.sleep(0.1)
    raise SystemExit(f"{mailbox}: {what} did not arrive")


def subject_is(subject):
    return lambda raw: str(make_header(decode_header(message_from_bytes(raw)["Subject"] or ""))) == subject


everybody = list(addresses)
for sender in everybody:
    for recipient in everybody:
        if sender != recipient:
            send(f"ann@{sender}", f"ann@{recipient}", f"from {sender} to {recipient}")
for sender in everybody:
    for recipient in everybody:
        if sender != recipient:
            raw = arrived(f"ann@{recipient}", subject_is(f"from {sender} to {recipient}"), f"mail from {sender}")
            assert "Grüße".encode() in raw, raw
            if recipient != "p.test":
                head = message_from_bytes(raw)
                assert "spf=pass" in head["Authentication-Results"], head["Authentication-Results"]
                if sender != "p.test":
                    assert "dkim=pass" in head["Authentication-Results"], head["Authentication-Results"]
                assert "TLS" in head["Received"] or "ESMTPS" in head["Received"], head["Received"]
print("exchange: six directions, 8-bit")

for sender, recipient in (("a.test", "b.test"), ("a.test", "p.test"), ("p.test", "b.test"), ("b.test", "a.test")):
    subject = f"süß von {sender}"
    send(f"jürgen@{sender}" if sender == "p.test" else f"ann@{sender}", f"jürgen@{recipient}", subject, utf8=True)
    arrived(f"jürgen@{recipient}", lambda raw, s=subject: s.encode() in raw, f"internationalized mail from {sender}")
print("exchange: SMTPUTF8")


def report_of(action, about):
    def test(raw):
        return b"multipart/report" in raw and f"Action: {action}".encode() in raw and about.encode() in raw

    return test


for sender, recipient in (("a.test", "p.test"), ("p.test", "a.test"), ("a.test", "b.test")):
    send(f"ann@{sender}", f"ann@{recipient}", f"notify {sender}", notify="SUCCESS")
    raw = arrived(f"ann@{sender}", report_of("delivered", f"ann@{recipient}"), f"the report of delivery to {recipient}")
    assert b"Original-Envelope-Id: E1" in raw, raw
    send(f"ann@{sender}", f"nobody@{recipient}", f"bounce {sender}")
    arrived(f"ann@{sender}", report_of("failed", f"nobody@{recipient}"), f"the bounce of {recipient}")
print("exchange: status notifications")
