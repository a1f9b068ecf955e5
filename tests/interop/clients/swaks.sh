# swaks: port 25 with STARTTLS, submission on 587 and 465, a refusal of relaying, a message with BDAT-less 8-bit.
tls=(--tls-verify --tls-ca-path "$ca")
sample in; sample out; sample wrapped
swaks --server "$host:$smtp" --tls "${tls[@]}" --helo client.example.org --from ann@example.org --to "$user" --data @"$work/in.eml" --no-data-fixup
swaks --server "$host:$submission" --tls "${tls[@]}" --auth PLAIN --auth-user "$user" --auth-password "$password" \
  --from "$user" --to "$user" --header "From: $user" --header 'Subject: by 587'
swaks --server "$host:$submissions" --tlsc "${tls[@]}" --auth LOGIN --auth-user "$user" --auth-password "$password" \
  --from "$user" --to "$user" --header "From: $user" --header 'Subject: by 465'
eventually holds 3
if swaks --server "$host:$smtp" --from ann@example.org --to stranger@example.net --quit-after RCPT; then fail "an open relay"; fi
if swaks --server "$host:$submission" --auth PLAIN --auth-user "$user" --auth-password "$password" --quit-after AUTH; then
  fail "a login in clear text"
fi
