# mbsync with many mailboxes, and with both sides changed between two runs: in the end both sides are the same.
mbsync_configured
boxes=30
if [ -n "${RECORD:-}" ]; then boxes=3; fi # a short transcript
sync() { mbsync --quiet --config "$work/mbsyncrc" all; }
remote() { python3 - "$host" "$imaps" "$ca" "$user" "$password" "$boxes" "$1" <<'P'
import imaplib, ssl, sys
host, port, ca, user, password, boxes, part = sys.argv[1:]
flags = [r"\Seen", r"\Flagged", r"\Answered", r"\Draft"]
with imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca)) as imap:
    imap.login(user, password)
    for box in range(int(boxes)):
        name = f'"Box/{box:02}"'
        if part == "fill":
            assert imap.create(name)[0] == "OK"
            for number in range(8):
                text = f"Subject: {number}\r\nMessage-ID: <{box}.{number}@example.org>\r\n\r\nletter {number} of {box}\r\n"
                imap.append(name, flags[number % 4] if number < 4 else None, None, text.encode())
        else:
            assert imap.select(name)[0] == "OK"
            # 1 loses its flag here and gets another there; 2 is deleted here and flagged there; 3 is flagged here and
            # deleted there; 4 gets the same flag on both sides; 5 comes twice with new mail on both.
            imap.store("1", "-FLAGS", flags[0])
            imap.store("2", "+FLAGS", r"(\Deleted)"); imap.expunge()
            imap.store("2", "+FLAGS", r"(\Answered)")
            imap.append(name, None, None, b"Subject: remote\r\n\r\nfrom the server\r\n")
P
}
both_sides() { # how messages and their flags stand, box by box
  python3 - "$host" "$direct" "$ca" "$user" "$password" "$boxes" "$work/mail" <<'P'
import imaplib, pathlib, re, ssl, sys
host, port, ca, user, password, boxes, mail = sys.argv[1:]
letters = {"\\Seen": "S", "\\Flagged": "F", "\\Answered": "R", "\\Draft": "D"}
with imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca)) as imap:
    imap.login(user, password)
    for box in range(int(boxes)):
        imap.select(f'"Box/{box:02}"', readonly=True)
        there = []
        for _, part in ((d, d) for d in imap.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1] if isinstance(d, tuple)):
            flags = re.search(rb"FLAGS \(([^)]*)\)", part[0]).group(1).decode().split()
            there.append((part[1].decode().strip(), "".join(sorted(letters[f] for f in flags if f in letters))))
        here = []
        for path in (pathlib.Path(mail) / "Box" / f"{box:02}").glob("[cn][ue][rw]/*"):
            subject = next(line for line in path.read_text().splitlines() if line.startswith("Subject:"))
            here.append((subject, "".join(sorted(path.name.partition(":2,")[2]))))
        assert sorted(here) == sorted(there), (box, sorted(here), sorted(there))
        subjects = sorted(subject for subject, _ in here)
        assert "Subject: remote" in subjects and "Subject: local" in subjects, subjects
        assert "Subject: 1" not in subjects, "deleted on the server"
        assert len(subjects) == 9 or len(subjects) == 8, subjects
P
}
remote fill
sync
[ "$(find "$work/mail/Box" -type f -path '*/[cn][ue][rw]/*' | wc -l)" = $((boxes * 8)) ]
remote change
for box in "$work"/mail/Box/[0-9]*/; do
  python3 - "$box" <<'P'
import pathlib, sys
box = pathlib.Path(sys.argv[1])
for path in list(box.glob("[cn][ue][rw]/*")):
    subject = next(line for line in path.read_text().splitlines() if line.startswith("Subject:"))
    base, _, flags = path.name.partition(":2,")
    if subject in ("Subject: 0", "Subject: 1"):
        path.rename(box / "cur" / f"{base}:2,{''.join(sorted(set(flags) | {'F'}))}")
    elif subject == "Subject: 2":
        path.unlink()
(box / "new" / "1.local").write_text("Subject: local\n\nfrom the disk\n")
P
done
sync; sync
both_sides
