# Python's imapclient: search with a charset, sort and thread where they are offered, IDLE, CONDSTORE, quota, copy and move.
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install imapclient==4.1.0
sample first; sample second
"$work/venv/bin/python" - "$host" "$imaps" "$ca" "$user" "$password" "$work" <<'P'
import ssl, sys
from imapclient import IMAPClient

host, port, ca, user, password, work = sys.argv[1:]
tls = ssl.create_default_context(cafile=ca)
with IMAPClient(host, port=int(port), ssl_context=tls) as imap, IMAPClient(host, port=int(port), ssl_context=tls) as other:
    for client in (imap, other):
        client.login(user, password)
        client.select_folder("INBOX")
    imap.id_({"name": "interop"})
    assert {name for _, _, name in imap.list_folders()} >= {"INBOX", "Sent", "Junk"}
    imap.idle()
    for name in ("first", "second"):
        other.append("INBOX", open(f"{work}/{name}.eml", "rb").read(), flags=[b"\\Seen"] if name == "first" else [])
    seen = []
    while (2, b"EXISTS") not in seen:
        seen += imap.idle_check(timeout=20) or [("nothing came",)]
        assert ("nothing came",) not in seen, seen
    imap.idle_done()
    uids = imap.search("ALL")
    assert imap.search(["TEXT", "grün"], charset="UTF-8") == uids, "a search outside ASCII"
    assert imap.search(["UNSEEN"]) == uids[1:]
    got = imap.fetch(uids, ["ENVELOPE", "BODYSTRUCTURE", "RFC822.SIZE", "FLAGS", "INTERNALDATE", "BODY.PEEK[]"])
    assert got[uids[0]][b"ENVELOPE"].subject == b"first"
    assert got[uids[1]][b"BODY[]"] == open(f"{work}/second.eml", "rb").read()
    if imap.has_capability("SORT"):
        assert imap.sort("REVERSE SUBJECT") == uids[::-1]
    if imap.has_capability("THREAD=REFERENCES"):
        assert imap.thread("REFERENCES") == tuple((uid,) for uid in uids)
    if imap.has_capability("CONDSTORE"):
        before = imap.folder_status("INBOX", ["HIGHESTMODSEQ"])[b"HIGHESTMODSEQ"]
        other.set_flags(uids[:1], [b"\\Flagged"])
        changed = imap.fetch(uids, ["FLAGS"], [f"CHANGEDSINCE {before}"])
        assert list(changed) == uids[:1], changed
    if imap.has_capability("QUOTA"):
        assert imap.get_quota_root("INBOX")[0].mailbox == "INBOX"
    imap.create_folder("Käse/süß")
    imap.copy(uids[:1], "Käse/süß")
    imap.move(uids[1:], "Käse/süß")
    assert imap.select_folder("Käse/süß")[b"EXISTS"] == 2
    imap.delete_messages(imap.search("ALL")); imap.expunge()
    imap.select_folder("INBOX")
    imap.delete_folder("Käse/süß")
    assert imap.search("ALL") == uids[:1]
P
eventually holds 1
