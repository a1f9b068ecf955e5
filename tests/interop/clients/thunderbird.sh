# Thunderbird, headless: finds the folders, reads a message with an attachment and a subject outside
# ASCII, sends one, flags, moves, searches and deletes. Then another client looks at what is on the server.
three_letters
mkdir "$work/profile"
cat >"$work/profile/user.js" <<'U'
user_pref("marionette.port", 0);
user_pref("mail.rights.version", 1);
user_pref("mail.provider.suppress_dialog_on_startup", true);
user_pref("mail.shell.checkDefaultClient", false);
user_pref("mailnews.start_page.enabled", false);
user_pref("mail.inappnotifications.enabled", false);
user_pref("datareporting.policy.dataSubmissionPolicyBypassNotification", true);
user_pref("datareporting.healthreport.uploadEnabled", false);
user_pref("app.update.enabled", false);
user_pref("extensions.systemAddon.update.enabled", false);
user_pref("services.settings.server", "http://127.0.0.1:1/");
user_pref("mail.smtp.useSenderForSmtpMailFrom", true);
user_pref("mail.SpellCheckBeforeSend", false);
user_pref("mail.compose.attachment_reminder", false);
U
(cd "$work" && HOME=$work exec thunderbird --headless --no-remote --profile "$work/profile" --marionette \
  --remote-allow-system-access) >"$work/thunderbird.log" 2>&1 & bird=$!
trap 'if kill "$bird" 2>/dev/null; then wait "$bird" || true; fi' EXIT
tries=1200 eventually test -s "$work/profile/MarionetteActivePort"

PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 python3 - "$host" "$imaps" "$submission" "$ca" "$user" "$password" "$work" <<'P'
import base64, sys
from marionette import Marionette

host, imaps, submission, ca, user, password, work = sys.argv[1:]
bird = Marionette(int(open(f"{work}/profile/MarionetteActivePort").read()))
pem = "".join(line.strip() for line in open(ca) if "-----" not in line)
# What all parts have at hand stays in the window.
bird.run("""
  const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
  const until = async (what, condition) => {
    for (const end = Date.now() + 20000; Date.now() < end; await new Promise(next => setTimeout(next, 20))) {
      const value = await condition();
      if (value) return value;
    }
    throw new Error(`never came true: ${what}`);
  };
  const [host, imaps, submission, pem, user, password] = given;
  Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).addCertFromBase64(pem, "CT,,");
  const server = MailServices.accounts.createIncomingServer(user, host, "imap");
  server.port = +imaps;
  server.socketType = Ci.nsMsgSocketType.SSL;
  server.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
  server.password = password;
  const out = MailServices.outgoingServer.createServer("smtp").QueryInterface(Ci.nsISmtpServer);
  out.hostname = host;
  out.port = +submission;
  out.username = user;
  out.password = password;
  out.socketType = Ci.nsMsgSocketType.alwaysSTARTTLS;
  out.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
  const identity = MailServices.accounts.createIdentity();
  identity.email = user;
  identity.fullName = "Bob Süß";
  identity.composeHtml = false;
  identity.smtpServerKey = out.key;
  identity.doFcc = true;
  identity.fccFolderURI = server.serverURI + "/Sent";
  const account = MailServices.accounts.createAccount();
  account.addIdentity(identity);
  account.incomingServer = server;
  MailServices.accounts.defaultAccount = account;
  window.it = { MailServices, until, server, identity, account };
""", host, imaps, submission, pem, user, password)

# It lists the folders and the messages.
folders = bird.run("""
  const { until, server } = window.it;
  server.performExpand(msgWindow);
  const root = server.rootFolder;
  await until("folders", () => root.subFolders.length >= 6 && root.subFolders.some(one => one.name == "Archive"));
  it.folder = name => root.subFolders.find(one => one.name.toLowerCase() == name.toLowerCase());
  it.letters = folder => Array.from(folder.messages);
  it.letter = (folder, subject) => it.letters(folder).find(one => one.mime2DecodedSubject == subject);
  it.inbox = it.folder("Inbox");
  it.inbox.updateFolder(msgWindow);
  await until("three letters", () => it.letters(it.inbox).length == 3);
  return root.subFolders.map(one => one.name);
""")
assert {"INBOX", "Drafts", "Sent", "Archive", "Trash", "Junk"} <= set(folders), folders

# It reads.
bird.run("""
  const { until } = window.it;
  const pane = await until("the window", () => document.getElementById("tabmail")?.currentAbout3Pane);
  await until("the list", () => pane.threadTree);
  pane.displayFolder(it.inbox.URI);
  await until("the rows", () => pane.gDBView?.rowCount == 3);
  pane.threadTree.selectedIndex = pane.gDBView.findIndexOfMsgHdr(it.letter(it.inbox, given[0]), true);
  const browser = pane.messageBrowser.contentWindow;
  await until("the text", () => browser.getMessagePaneBrowser().contentDocument?.body?.textContent.includes("Käse ist süß"));
  const attachment = await until("the attachment", () => browser.currentAttachments?.[0]);
  if (attachment.name != "süße Daten.bin") throw new Error(attachment.name);
  await until("read", () => it.letter(it.inbox, given[0]).isRead);
  const { NetUtil } = ChromeUtils.importESModule("resource://gre/modules/NetUtil.sys.mjs");
  it.loaded = await new Promise((resolve, reject) => NetUtil.asyncFetch(
    { uri: attachment.url, loadUsingSystemPrincipal: true },
    (stream, status) => Components.isSuccessCode(status)
      ? resolve(Array.from(NetUtil.readInputStreamToString(stream, stream.available()), one => one.charCodeAt(0)))
      : reject(new Error(`the attachment: ${status}`))));
""", "Grüße aus Köln – привет")
assert bytes(bird.run("return it.loaded")) == open(f"{work}/data.bin", "rb").read(), "the attachment differs"
open(f"{work}/thunderbird.png", "wb").write(base64.b64decode(bird.ask("WebDriver:TakeScreenshot", full=True)))

# It flags, moves and deletes.
bird.run("""
  const { MailServices, until, inbox } = window.it;
  inbox.markMessagesFlagged([it.letter(inbox, "plain")], true);
  const archive = it.folder("Archive");
  MailServices.copy.copyMessages(inbox, [it.letter(inbox, given[0])], archive, true, null, msgWindow, false);
  await until("moved", () => !it.letter(inbox, given[0]));
  inbox.deleteMessages([it.letter(inbox, "doomed")], msgWindow, false, false, null, false);
  await until("deleted", () => !it.letter(inbox, "doomed"));
  archive.updateFolder(msgWindow);
  await until("there", () => it.letter(archive, given[0]));
""", "Grüße aus Köln – привет")

# It sends, and is told by IDLE of what comes.
bird.run("""
  const { MailServices, until, identity } = window.it;
  const [user, path, subject] = given;
  const make = (name, kind) => Cc[`@mozilla.org/messengercompose/${name};1`].createInstance(kind);
  const fields = make("composefields", Ci.nsIMsgCompFields);
  fields.to = user;
  fields.subject = subject;
  fields.body = "Schöne Grüße zurück.\\r\\n.\\r\\n..dots\\r\\n";
  const attachment = make("attachment", Ci.nsIMsgAttachment);
  attachment.url = `file://${path}`;
  attachment.name = "data.bin";
  fields.addAttachment(attachment);
  const params = make("composeparams", Ci.nsIMsgComposeParams);
  params.type = Ci.nsIMsgCompType.New;
  params.format = Ci.nsIMsgCompFormat.PlainText;
  params.identity = identity;
  params.composeFields = fields;
  MailServices.compose.OpenComposeWindowWithParams(null, params);
  const sheet = await until("the sheet", () => Array.from(Services.wm.getEnumerator("msgcompose"))
    .find(one => one.document.readyState == "complete" && one.gWindowLocked === false && one.gMsgCompose?.editor));
  await until("ready", () => sheet.defaultController?.isCommandEnabled?.("cmd_sendNow"));
  sheet.goDoCommand("cmd_sendNow");
  await until("sent", () => !Services.wm.getMostRecentWindow("msgcompose"));
  await until("come", () => it.letter(it.inbox, subject));
""", user, f"{work}/data.bin", "Antwort – größer")

# It searches on the server.
found = bird.run("""
  const { until, inbox } = window.it;
  const session = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession);
  session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, inbox);
  const term = session.createTerm();
  term.attrib = Ci.nsMsgSearchAttrib.Subject;
  term.op = Ci.nsMsgSearchOp.Contains;
  const value = term.value;
  value.attrib = term.attrib;
  value.str = "größer";
  term.value = value;
  session.appendTerm(term);
  const found = [];
  await new Promise(resolve => {
    session.registerListener({ onSearchHit: one => found.push(one.mime2DecodedSubject), onSearchDone: resolve, onNewSearch() {} });
    session.search(msgWindow);
  });
  return found;
""")
assert found == ["Antwort – größer"], found

# What is deleted in Trash is gone for good.
bird.run("""
  const { until } = window.it;
  const trash = it.folder("Trash");
  trash.updateFolder(msgWindow);
  await until("in Trash", () => it.letter(trash, "doomed"));
  trash.deleteMessages([it.letter(trash, "doomed")], msgWindow, true, false, null, false);
  await until("gone", () => it.letters(trash).length == 0);
  trash.compact(null, msgWindow);
""")
P
eventually as_it_left_them
if [ -n "${PICTURES:-}" ]; then cp "$work/thunderbird.png" "$PICTURES/"; fi
