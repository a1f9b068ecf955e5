# Python's smtplib, imaplib and poplib.
sample letter
python3 - "$host" "$ca" "$user" "$password" "$work/letter.eml" "$smtp" "$submission" "$imap" "$imaps" "$pop3" "$pop3s" <<'P'
import imaplib, poplib, smtplib, ssl, sys, time
from email.message import EmailMessage

host, ca, user, password, path = sys.argv[1:6]
smtp, submission, imap, imaps, pop3, pop3s = map(int, sys.argv[6:])
tls = ssl.create_default_context(cafile=ca)
letter = open(path, "rb").read()

with smtplib.SMTP(host, smtp) as s:
    s.starttls(context=tls)
    assert s.sendmail("ann@example.org", [user], letter, mail_options=["BODY=8BITMIME"]) == {}
message = EmailMessage()
message["From"], message["To"], message["Subject"] = user, user, "grün"
message.set_content("ein Brief\n")
with smtplib.SMTP(host, submission) as s:
    s.starttls(context=tls)
    s.login(user, password)
    s.send_message(message)
    try:
        s.sendmail("somebody.else@interop.test", [user], letter)
        raise SystemExit("a sender that is not the user's own")
    except smtplib.SMTPException:
        pass

with imaplib.IMAP4(host, imap) as i:
    i.starttls(tls)
    i.login(user, password)
    for _ in range(200):
        i.select()
        if i.status("INBOX", "(MESSAGES)")[1][0].endswith(b"2)"):
            break
        time.sleep(0.05)
    status, data = i.uid("FETCH", "1:*", "(UID FLAGS RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])")
    assert status == "OK" and data[0][1].endswith(letter), data
    assert i.create("Boxes/Inner")[0] == "OK"
    assert i.append("Boxes/Inner", r"(\Seen)", imaplib.Time2Internaldate(1_700_000_000), letter)[0] == "OK"
    assert i.copy("1", "Boxes/Inner")[0] == "OK"
    assert i.select("Boxes/Inner") == ("OK", [b"2"])
    assert i.search(None, "SUBJECT", '"letter"') == ("OK", [b"1 2"])
    assert i.search(None, "UNSEEN") == ("OK", [b"2"])
    assert i.store("1", "+FLAGS", r"(\Deleted)")[0] == "OK"
    assert i.expunge() == ("OK", [b"1"])
    assert i.fetch("1", "(BODY[HEADER.FIELDS (SUBJECT)])")[1][0][1] == b"Subject: letter\r\n\r\n"
    assert i.rename("Boxes", "Cases")[0] == "OK"
    assert any(b"Cases/Inner" in row for row in i.list()[1])
    i.select("Cases/Inner"); i.unselect()
    assert i.delete("Cases/Inner")[0] == "OK"
    assert b'"/"' in i.namespace()[1][0]

p = poplib.POP3(host, pop3)
p.stls(tls)
p.user(user); p.pass_(password)
assert p.stat()[0] == 2
body = b"\r\n".join(p.retr(1)[1]) + b"\r\n"
assert body.endswith(letter)
assert len(p.uidl()[1]) == 2 and p.top(1, 0)[1][-1] == b""
p.dele(1); p.rset(); p.dele(2)
p.quit()
p = poplib.POP3_SSL(host, pop3s, context=tls)
p.user(user); p.pass_(password)
assert p.stat()[0] == 1
p.quit()
P
