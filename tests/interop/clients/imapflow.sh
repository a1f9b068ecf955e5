# ImapFlow (Node.js): mailboxes, append, fetch, flags, search, move, CONDSTORE and QRESYNC where they are offered, IDLE.
(cd "$work" && npm init --yes >/dev/null && npm install --silent --no-fund --no-audit imapflow@1.0.191)
sample first; sample second
(cd "$work" && timeout 120 node --input-type=module - "$host" "$imaps" "$ca" "$user" "$password" "$work") <<'J'
import assert from "node:assert";
import fs from "node:fs";
import { ImapFlow } from "imapflow";

const [host, port, ca, user, pass, work] = process.argv.slice(2);
const connect = async () => {
  const client = new ImapFlow({ host, port: +port, secure: true, tls: { ca: fs.readFileSync(ca) }, auth: { user, pass }, logger: false, qresync: true });
  await client.connect();
  return client;
};
const imap = await connect();
const other = await connect();
const names = (await imap.list()).map((box) => box.path);
assert(names.includes("INBOX") && names.includes("Archive"), names.join());
assert.equal((await imap.list()).find((box) => box.specialUse === "\\Sent").path, "Sent");
await imap.mailboxOpen("INBOX");
const arrived = new Promise((resolve) => imap.on("exists", (event) => event.count === 2 && resolve()));
for (const name of ["first", "second"]) {
  const answer = await other.append("INBOX", fs.readFileSync(`${work}/${name}.eml`), name === "first" ? ["\\Seen"] : []);
  assert(answer.uid > 0);
}
await arrived;
const found = [];
for await (const message of imap.fetch("1:*", { uid: true, envelope: true, bodyStructure: true, flags: true, source: true })) found.push(message);
assert.deepEqual(found.map((message) => message.envelope.subject), ["first", "second"]);
assert(found[1].source.equals(fs.readFileSync(`${work}/second.eml`)));
assert(found[0].flags.has("\\Seen") && !found[1].flags.has("\\Seen"));
const flagged = new Promise((resolve) => imap.on("flags", (event) => event.flags.has("\\Flagged") && resolve()));
await other.mailboxOpen("INBOX");
await other.messageFlagsAdd("1", ["\\Flagged"]);
await flagged;
assert.deepEqual(await imap.search({ body: "grün" }), [1, 2]);
assert.deepEqual(await imap.search({ flagged: true }), [1]);
const text = await imap.download("2");
assert(text.meta.expectedSize > 0); for await (const _ of text.content);
const status = await imap.status("INBOX", { messages: true, unseen: true, uidNext: true });
assert.equal(status.messages, 2); assert.equal(status.unseen, 1);
await imap.mailboxCreate("Käse");
const moved = await imap.messageMove("2", "Käse");
assert.equal(moved.uidMap.size, 1);
await imap.mailboxDelete("Käse");
const quota = await imap.getQuota("INBOX");
if (imap.capabilities.has("QUOTA")) assert.equal(quota.path, "INBOX");
await imap.logout(); await other.logout();
J
eventually holds 1
