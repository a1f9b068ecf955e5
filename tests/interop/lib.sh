# Sourced by `run` and by every client's script.

fail() { echo "FAILED: $*" >&2; exit 1; }

# A message with CRLF line ends in $work/NAME.eml whose subject is NAME. Dots, long lines and 8-bit are in it.
sample() { # NAME
  {
    printf 'From: Ann <ann@example.org>\r\nTo: <%s>\r\nSubject: %s\r\n' "$user" "$1"
    printf 'Date: Sun, 01 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%s@example.org>\r\nMIME-Version: 1.0\r\n' "$1"
    printf 'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'
    printf '.a line that begins with a dot\r\n..and one with two\r\n.\r\ngrün und süß\r\n'
    printf 'x%.0s' $(seq 900); printf '\r\nlast line of %s\r\n' "$1"
  } >"$work/$1.eml"
}

# Waits until a command succeeds: a condition, not a time. Large programs may have more tries.
eventually() {
  for _ in $(seq "${tries:-200}"); do "$@" >/dev/null 2>&1 && return 0; sleep 0.05; done
  fail "never came true: $*"
}

# How many messages the account's folder holds, asked by a client that is not the one under test.
count() { # [FOLDER]
  python3 - "$host" "$direct" "$ca" "$user" "$password" "${1:-INBOX}" <<'P'
import imaplib, ssl, sys
host, port, ca, user, password, folder = sys.argv[1:]
with imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca)) as imap:
    imap.login(user, password)
    status, data = imap.select('"%s"' % folder, readonly=True)
    print(data[0].decode() if status == "OK" else "none")
P
}
holds() { [ "$(count "${2:-INBOX}")" = "$1" ]; }

# The message's own lines at the end of what came back: trace fields that the server added stand before them.
same_message() { # SENT RECEIVED
  local size; size=$(stat -c %s "$1")
  tail -c "$size" "$2" | cmp - "$1" || fail "$2 does not end in $1"
}
# The same for mbsync, which writes LF line ends on the disk and marks new messages by a field of its own.
same_message_lf() { # SENT RECEIVED
  tr -d '\r' <"$1" >"$work/sent.lf"; tr -d '\r' <"$2" | grep -av '^X-TUID: ' >"$work/received.lf"
  same_message "$work/sent.lf" "$work/received.lf"
}

# Writes $work/mbsyncrc: all folders of the account and a Maildir in $work/mail, both ways.
mbsync_configured() { # [LINE OF THE CHANNEL]
  cat >"$work/mbsyncrc" <<R
IMAPStore remote
Host $host
Port $imaps
User $user
Pass "$password"
SSLType IMAPS
CertificateFile $ca

MaildirStore local
Path $work/mail/
Inbox $work/mail/INBOX
SubFolders Verbatim

Channel all
Far :remote:
Near :local:
Patterns *
Create Both
${1:+$1
}Expunge Both
SyncState *
R
  mkdir -p "$work/mail"
}

# For a client with a window: three letters in INBOX, "plain", "doomed", and one with an attachment ($work/data.bin) and a
# subject outside ASCII.
three_letters() {
  python3 - "$work" "$user" <<'P'
import sys
from email.message import EmailMessage
work, user = sys.argv[1:]
data = bytes(range(256)) * 4
letter = EmailMessage()
letter["From"], letter["To"] = "Änne Grün <ann@example.org>", user
letter["Subject"], letter["Message-ID"] = "Grüße aus Köln – привет", "<picture@example.org>"
letter["Date"] = "Sun, 01 Nov 2026 10:00:00 +0000"
letter.set_content("Der Käse ist süß.\n\nViele Grüße\nÄnne\n")
letter.add_attachment(data, maintype="application", subtype="octet-stream", filename="süße Daten.bin")
open(f"{work}/letter.eml", "wb").write(letter.as_bytes().replace(b"\n", b"\r\n"))
open(f"{work}/data.bin", "wb").write(data)
P
  sample plain; sample doomed
  local letter
  for letter in letter plain doomed; do
    curl --silent --show-error --ssl-reqd --cacert "$ca" --url "smtp://$host:$smtp" --mail-from ann@example.org \
      --mail-rcpt "$user" -T "$work/$letter.eml"
  done
  eventually holds 3
}
# What became of them: "plain" is flagged, "doomed" is gone for good, the third was read and moved to Archive; an answer with
# the attachment came in and lies in Sent. Another client says so.
as_it_left_them() {
  python3 - "$host" "$direct" "$ca" "$user" "$password" "$work" <<'P'
import email, email.policy, imaplib, re, ssl, sys
host, port, ca, user, password, work = sys.argv[1:]
data = open(f"{work}/data.bin", "rb").read()
answer, read = "Antwort – größer", "Grüße aus Köln – привет"
with imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca)) as imap:
    imap.login(user, password)
    def letters(folder):
        count = int(imap.select(folder, readonly=True)[1][0])
        found = {}
        for part in imap.fetch("1:*", "(FLAGS BODY.PEEK[])")[1] if count else []:
            if isinstance(part, tuple):
                letter = email.message_from_bytes(part[1], policy=email.policy.default)
                found[letter["Subject"]] = letter, re.search(rb"FLAGS \(([^)]*)\)", part[0]).group(1).decode().split()
        return found
    inbox, archive, sent = letters("INBOX"), letters("Archive"), letters("Sent")
    assert set(inbox) == {"plain", answer} and "\\Flagged" in inbox["plain"][1], inbox
    assert set(archive) == {read} and "\\Seen" in archive[read][1], archive
    assert set(sent) == {answer} and "\\Seen" in sent[answer][1], sent
    for letter in (inbox[answer][0], sent[answer][0]):
        text = letter.get_body().get_content()
        assert text.replace("\r\n", "\n").strip() == "Schöne Grüße zurück.\n.\n..dots", text
        assert [part.get_content() for part in letter.iter_attachments()] == [data]
    assert letters("Trash") == {}
P
}

# A client's name and version.
version() { # CLIENT
  case $1 in
    curl) curl --version | sed -n '1s/ (.*//p' ;;
    fetchmail) { fetchmail --version 2>/dev/null || true; } | sed -n '1s/This is \(.*release [0-9.]*[0-9]\).*/\1/p' ;;
    getmail) getmail --version ;;
    imapclient | imapflow) sed -n "s/.* \\($1[@=][=0-9.]*\\).*/\\1/p" "$here/clients/$1.sh" ;;
    mbsync*) mbsync --version ;;
    neomutt) neomutt -v | head -1 ;;
    offlineimap) echo "OfflineIMAP $(offlineimap --version | head -1)" ;;
    python) python3 --version ;;
    roundcube) echo "Roundcube $(dpkg-query --show --showformat '${Version}' roundcube-core)" ;;
    thunderbird) thunderbird --version ;;
    *) echo "$1" ;;
  esac
}
