# getmail: by POP3 and by IMAP, each with TLS, handed to a program; removed from the server afterwards.
fetch() { # CLASS PORT
  mkdir -p "$work/$1"
  printf '#!/bin/sh\ncat >>"%s/box-%s"\n' "$work" "$1" >"$work/$1/mda"; chmod +x "$work/$1/mda"
  cat >"$work/$1/getmailrc" <<R
[retriever]
type = $1
server = $host
port = $2
username = $user
password = $password
ca_certs = $ca
[destination]
type = MDA_external
path = $work/$1/mda
allow_root_commands = true
[options]
delete = true
delivered_to = false
received = false
R
  timeout 60 getmail --getmaildir "$work/$1"
}
send() { curl --silent --show-error --ssl-reqd --cacert "$ca" --url "smtp://$host:$smtp" --mail-from a@example.org --mail-rcpt "$user" -T "$work/$1.eml"; }
for kind in POP3:$pop3s IMAP:$imaps; do
  sample "by-${kind%:*}"; send "by-${kind%:*}"; eventually holds 1
  fetch "Simple${kind%:*}SSLRetriever" "${kind#*:}"
  grep -q "last line of by-${kind%:*}" "$work/box-Simple${kind%:*}SSLRetriever"
  eventually holds 0
done
