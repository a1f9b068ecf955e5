# NeoMutt, headless: submits a message, saves what it finds in INBOX, moves it to the archive, and leaves.
cat >"$work/muttrc" <<R
set folder="imaps://$host:$imaps/"
set spoolfile="+INBOX"
set imap_user="$user" imap_pass="$password"
set smtp_url="smtp://$(sed 's/@/%40/' <<<"$user")@$host:$submission/" smtp_pass="$password"
set ssl_force_tls=yes ssl_starttls=yes certificate_file="$ca"
# Its batch mode cannot file a copy by IMAP.
set from="$user" use_from=yes copy=no
set header_cache="$work/cache" message_cachedir="$work/cache"
set quit=yes confirmappend=no confirmcreate=no delete=yes move=no wait_key=no mail_check=1
R
mkdir "$work/cache"
echo 'from neomutt' | neomutt -n -F "$work/muttrc" -s 'headless' -- "$user"
eventually holds 1
TERM=xterm timeout 60 script -qec "neomutt -n -F '$work/muttrc' -e 'push <copy-message>$work/saved<enter><save-message>=Archive<enter><sync-mailbox><quit>'" /dev/null
grep -q 'from neomutt' "$work/saved"
eventually holds 1 Archive
eventually holds 0
