# mbsync: down, flags up, new mail up, a new folder up, deletion both ways.
mbsync_configured "Remove Both"
sync() { mbsync --config "$work/mbsyncrc" all; }
sample down; sample up
curl --silent --show-error --ssl-reqd --cacert "$ca" --url "smtp://$host:$smtp" --mail-from a@example.org --mail-rcpt "$user" -T "$work/down.eml"
eventually holds 1
sync
got=$(find "$work"/mail/INBOX/new "$work"/mail/INBOX/cur -type f); [ "$(wc -l <<<"$got")" = 1 ]
same_message_lf "$work/down.eml" "$got"
[ -d "$work/mail/Sent" ] && [ -d "$work/mail/Archive" ]
# Flags and a new message go up.
base=$(basename "$got"); mv "$got" "$work/mail/INBOX/cur/${base%%:2,*}:2,FS"
mkdir -p "$work"/mail/Projects/{cur,new,tmp}
tr -d '\r' <"$work/up.eml" >"$work/mail/Projects/new/1.up"
sync
eventually holds 1 Projects
python3 - "$host" "$imaps" "$ca" "$user" "$password" <<'P'
import imaplib, ssl, sys
host, port, ca, user, password = sys.argv[1:]
imap = imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca))
imap.login(user, password); imap.select()
_, data = imap.fetch("1", "(FLAGS)")
assert b"\\Flagged" in data[0] and b"\\Seen" in data[0], data
imap.store("1", "+FLAGS", r"(\Answered)")
imap.select("Projects"); imap.store("1", "+FLAGS", r"(\Deleted)"); imap.expunge(); imap.logout()
P
# A flag and a deletion come down.
sync
ls "$work"/mail/INBOX/cur | grep -q ':2,.*R'
[ "$(find "$work/mail/Projects" -type f -path '*/[cn][ue][rw]/*' | wc -l)" = 0 ]
# A deletion goes up.
rm "$work"/mail/INBOX/cur/*; sync
eventually holds 0
