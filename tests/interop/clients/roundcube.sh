# Roundcube, driven in a browser: lists folders, reads a message with an attachment and a subject outside ASCII, sends
# one, flags, moves, searches and deletes. Then another client looks at what is on the server. A picture is left behind.
(cd "$work" && npm init --yes >/dev/null && npm install --silent --no-fund --no-audit playwright-core@1.65.1)
mkdir "$work/config" "$work/temp" "$work/logs"
ln -s /etc/roundcube/defaults.inc.php /etc/roundcube/mimetypes.php "$work/config/"
cat >"$work/config/config.inc.php" <<R
<?php
\$tls = ['ssl' => ['verify_peer' => true, 'verify_peer_name' => true, 'cafile' => '$ca']];
\$config = [
  'db_dsnw' => 'sqlite:///$work/roundcube.db?mode=0600',
  'imap_host' => 'ssl://$host:$imaps', 'imap_conn_options' => \$tls,
  'smtp_host' => 'tls://$host:$submission', 'smtp_conn_options' => \$tls, 'smtp_user' => '%u', 'smtp_pass' => '%p',
  'imap_cache' => 'db', 'messages_cache' => 'db', 'des_key' => '$(openssl rand -hex 12)', 'skin' => 'elastic',
  'language' => 'en_US', 'timezone' => 'UTC', 'prettydate' => false, 'draft_autosave' => 0, 'refresh_interval' => 600,
  'temp_dir' => '$work/temp', 'log_dir' => '$work/logs', 'login_autocomplete' => 2, 'show_images' => 0,
  'drafts_mbox' => 'Drafts', 'junk_mbox' => 'Junk', 'sent_mbox' => 'Sent', 'trash_mbox' => 'Trash',
  'archive_mbox' => 'Archive',
];
R
three_letters
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
export ROUNDCUBE_CONFIG_DIR=$work/config
(cd "$work" && exec php -S "127.0.0.1:$port" -t /var/lib/roundcube/public_html) >"$work/php.log" 2>&1 & php=$!
trap 'kill "$php"; wait "$php" || true' EXIT
eventually curl --silent --fail "http://127.0.0.1:$port/"

(cd "$work" && HOME=$work timeout 120 node --input-type=module - "http://127.0.0.1:$port/" "$user" "$password" "$work" <<'J'
import assert from "node:assert";
import fs from "node:fs";
import { chromium } from "playwright-core";

const [address, user, password, work] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 720 }, acceptDownloads: true });
page.setDefaultTimeout(40_000);
const trouble = [];
page.on("pageerror", (error) => trouble.push(String(error)));
const row = (subject) => page.locator("#messagelist tbody tr", { hasText: subject });
// Runs a command of the client's as soon as it takes it, and waits until it is idle again.
const idle = () => page.waitForFunction(() => document.readyState === "complete" && window.rcmail && !rcmail.busy);
const command = async (...words) => {
  await page.waitForFunction((words) => document.readyState === "complete" && window.rcmail && !rcmail.busy
    && rcmail.commands[words[0]] && (rcmail.command(...words), true), words);
  await idle();
};
const open = async (folder) => {
  await page.locator(`#mailboxlist a[rel="${folder}"]`).click();
  await page.waitForFunction((folder) => rcmail.env.mailbox === folder && !rcmail.busy, folder);
};
const pick = async (subject) => {
  const uid = await row(subject).evaluate((element) => element.uid);
  await page.evaluate((uid) => rcmail.message_list.select(uid), uid);
};

await page.goto(address);
await page.fill("#rcmloginuser", user);
await page.fill("#rcmloginpwd", password);
await page.click("#rcmloginsubmit");
await row("doomed").waitFor();
await idle();
const folders = await page.locator("#mailboxlist > li > a").evaluateAll((all) => all.map((one) => one.rel));
for (const folder of ["INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"]) assert(folders.includes(folder), folders.join());

// It reads.
await row("Grüße aus Köln – привет").click();
const letter = page.frameLocator("#messagecontframe");
await letter.getByText("Der Käse ist süß.").waitFor();
await letter.locator("#attachment-list", { hasText: "süße Daten.bin" }).waitFor();
await idle();
await page.locator("#messagelist tbody tr.unread").nth(1).waitFor();
await page.screenshot({ path: `${work}/roundcube.png` });
const source = await letter.locator("#attachment-list a.filename").getAttribute("href");
const loaded = await page.request.get(new URL(source.replace("_mimewarning=1", "").replace("&_frame=1", ""), address).href + "&_download=1");
assert((await loaded.body()).equals(fs.readFileSync(`${work}/data.bin`)), "the attachment differs");

// It flags, moves and deletes.
await pick("plain");
await command("mark", "flagged");
await page.locator("#messagelist tr.flagged", { hasText: "plain" }).waitFor();
await pick("Grüße aus Köln");
await command("move", "Archive");
await row("Grüße aus Köln").waitFor({ state: "hidden" });
await pick("doomed");
await command("delete");
await row("doomed").waitFor({ state: "hidden" });

// It sends.
await page.goto(`${address}?_task=mail&_action=compose`);
await idle();
await page.locator("#compose_to input").fill(`${user},`);
await page.fill("#compose-subject", "Antwort – größer");
await page.fill("#composebody", "Schöne Grüße zurück.\n.\n..dots\n");
await page.locator('input[type="file"]').first().setInputFiles(`${work}/data.bin`);
await page.locator("#attachment-list li:not(.uploading)", { hasText: "data.bin" }).waitFor();
await page.locator("button.send").click();
await page.waitForURL(/_task=mail&_mbox=|_task=mail$|_mbox=INBOX/);
await idle();
for (let there = 0; there < 2; ) {
  await command("checkmail");
  there = await page.locator("#messagelist tbody tr:visible").count();
}

// It finds.
await page.fill("#mailsearchform", "größer");
await page.press("#mailsearchform", "Enter");
await page.waitForFunction(() => rcmail.env.search_request && !rcmail.busy);
await row("Antwort – größer").waitFor();
assert.equal(await page.locator("#messagelist tbody tr:visible").count(), 1);
await command("reset-search");
await row("plain").waitFor();

// What is deleted in Trash is gone for good.
await open("Trash");
await row("doomed").waitFor();
await pick("doomed");
await command("delete");
await row("doomed").waitFor({ state: "hidden" });
await open("Sent");
await row("Antwort – größer").waitFor();
await idle();
await page.evaluate(() => rcmail.command("logout"));
await page.locator("#rcmloginuser").waitFor();
assert.deepEqual(trouble, []);
await browser.close();
J
)
as_it_left_them
if [ -s "$work/logs/errors.log" ]; then cat "$work/logs/errors.log"; fail "Roundcube's log"; fi
if [ -n "${PICTURES:-}" ]; then cp "$work/roundcube.png" "$PICTURES/"; fi
