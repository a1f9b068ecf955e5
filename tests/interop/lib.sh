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

# Waits until a command succeeds: a condition, not a time.
eventually() {
  for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return 0; sleep 0.05; done
  fail "never came true: $*"
}

# How many messages the account's folder holds, asked by a client that is not the one under test.
count() { # [FOLDER]
  python3 - "$host" "$imaps" "$ca" "$user" "$password" "${1:-INBOX}" <<'P'
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
