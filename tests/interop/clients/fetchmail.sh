# fetchmail: by POP3 with STLS and by IMAP with TLS, handed to a file, removed from the server afterwards.
fetch() { # PROTOCOL PORT SSL-OPTION
  printf '#!/bin/sh\ncat >>"%s/box-%s"\n' "$work" "$1" >"$work/mda"; chmod +x "$work/mda"
  printf 'poll %s protocol %s port %s auth password user "%s" password "%s" %s sslcertck sslcertfile "%s" mda "%s"\n' \
    "$host" "$1" "$2" "$user" "$password" "$3" "$ca" "$work/mda" >"$work/rc"
  chmod 600 "$work/rc"
  HOME=$work fetchmail --fetchmailrc "$work/rc" --pidfile "$work/pid" --idfile "$work/ids"
}
send() { curl --silent --show-error --ssl-reqd --cacert "$ca" --url "smtp://$host:$smtp" --mail-from a@example.org --mail-rcpt "$user" -T "$work/$1.eml"; }
sample by-pop3; sample by-imap
send by-pop3; eventually holds 1; fetch pop3 "$pop3" 'sslproto tls1.2+'
grep -q 'last line of by-pop3' "$work/box-pop3"; eventually holds 0
send by-imap; eventually holds 1; fetch imap "$imaps" 'ssl'
grep -q 'last line of by-imap' "$work/box-imap"; eventually holds 0
