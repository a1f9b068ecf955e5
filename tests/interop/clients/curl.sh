# curl: send by SMTP and submission, read by IMAP and POP3, each with STARTTLS or STLS and with TLS from the start.
c() { curl --silent --show-error --fail --cacert "$ca" "$@"; }
login=(--user "$user:$password")
sample one; sample two
c --ssl-reqd --url "smtp://$host:$smtp/client.example.org" --mail-from ann@example.org --mail-rcpt "$user" -T "$work/one.eml"
sed -i "s/^From: .*/From: <$user>\r/" "$work/two.eml"
c "${login[@]}" --url "smtps://$host:$submissions/client.example.org" --mail-from "$user" --mail-rcpt "$user" -T "$work/two.eml"
eventually holds 2
c "${login[@]}" --url "imaps://$host:$imaps/INBOX;UID=1" -o "$work/one.imaps"; same_message "$work/one.eml" "$work/one.imaps"
c "${login[@]}" --ssl-reqd --url "imap://$host:$imap/INBOX;UID=1" -o "$work/one.imap"; cmp "$work/one.imap" "$work/one.imaps"
c "${login[@]}" --url "pop3s://$host:$pop3s/1" -o "$work/one.pop3s"; cmp "$work/one.pop3s" "$work/one.imaps"
c "${login[@]}" --ssl-reqd --url "pop3://$host:$pop3/1" -o "$work/one.pop3"; cmp "$work/one.pop3" "$work/one.imaps"
c "${login[@]}" --url "imaps://$host:$imaps/" --request 'CREATE "Sub/Deep er"'
c "${login[@]}" --url "imaps://$host:$imaps/Drafts" -T "$work/one.eml"
eventually holds 1 Drafts
c "${login[@]}" --url "imaps://$host:$imaps/Drafts;MAILINDEX=1" -o "$work/draft"; cmp "$work/draft" "$work/one.eml"
c "${login[@]}" --url "imaps://$host:$imaps/INBOX?SUBJECT%20two" | grep -q 'SEARCH 2'
c "${login[@]}" --url "pop3s://$host:$pop3s/1" --request DELE --head
eventually holds 1
