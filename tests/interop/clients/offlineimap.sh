# OfflineIMAP: down, flags and new mail up, deletion both ways, a folder with a name outside ASCII.
cat >"$work/rc" <<R
[general]
accounts = all
metadata = $work/meta
ui = basic
[Account all]
localrepository = here
remoterepository = there
[Repository here]
type = Maildir
localfolders = $work/mail
utf8_support = yes
[Repository there]
type = IMAP
remotehost = $host
remoteport = $imaps
remoteuser = $user
remotepass = $password
ssl = yes
sslcacertfile = $ca
R
sed -i 's/^accounts = all$/accounts = all\nfsync = no/' "$work/rc"
sync() { timeout 120 offlineimap -c "$work/rc" -o; }
sample down; sample up
curl --silent --show-error --ssl-reqd --cacert "$ca" --url "smtp://$host:$smtp" --mail-from a@example.org --mail-rcpt "$user" -T "$work/down.eml"
eventually holds 1
python3 - "$host" "$imaps" "$ca" "$user" "$password" <<'P'
import imaplib, ssl, sys
host, port, ca, user, password = sys.argv[1:]
with imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca)) as imap:
    imap.login(user, password)
    assert imap.create('"Gr&APwA3w-e"')[0] == "OK"
P
sync
got=$(find "$work/mail/INBOX" -type f -path '*/[cn][ue][rw]/*'); [ "$(wc -l <<<"$got")" = 1 ]
same_message_lf "$work/down.eml" "$got"
[ -d "$work/mail/Archive" ]
[ "$(find "$work/mail" -maxdepth 1 -name 'Gr*e' | wc -l)" = 1 ]
# A flag and a new message go up.
mkdir -p "$work/mail/INBOX/cur"
mv "$got" "$work/mail/INBOX/cur/$(basename "${got%%:2,*}"):2,FS"
tr -d '\r' <"$work/up.eml" >"$work/mail/Archive/new/1.up"
sync
eventually holds 1 Archive
python3 - "$host" "$imaps" "$ca" "$user" "$password" <<'P'
import imaplib, ssl, sys
host, port, ca, user, password = sys.argv[1:]
imap = imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca))
imap.login(user, password); imap.select()
_, data = imap.fetch("1", "(FLAGS)")
assert b"\\Flagged" in data[0] and b"\\Seen" in data[0], data
imap.store("1", "+FLAGS", r"(\Answered)")
imap.select("Archive"); imap.store("1", "+FLAGS", r"(\Deleted)"); imap.expunge(); imap.logout()
P
# A flag and a deletion come down, a deletion goes up.
sync
find "$work/mail/INBOX/cur" -name '*:2,*R*' | grep -q .
[ "$(find "$work/mail/Archive" -type f -path '*/[cn][ue][rw]/*' | wc -l)" = 0 ]
find "$work/mail/INBOX" -type f -path '*/cur/*' -delete
sync
eventually holds 0
