//! Reading mail: IMAP and POP3 over the wire, beside deliveries and beside each other.

#[path = "support/deliver.rs"]
mod deliver;
#[path = "support/letter.rs"]
mod letter;
#[path = "support/mail.rs"]
mod mail;
#[path = "support/place.rs"]
mod place;

use anyhow::{Context as _, Result, ensure};
use deliver::deliver;
use letter::message;
use letterlock_testkit::imap::Client;
use letterlock_testkit::pop3;
use mail::wait_for_mail;
use place::{ANN, Place, place};

fn has(lines: &[String], part: &str) -> bool {
    lines.iter().any(|line| line.contains(part))
}

/// A session without login over TLS.
async fn stranger(place: &Place) -> Result<Client> {
    Client::connect_tls(place.server.imaps(), place.server.client_tls()?, "mx.example.test").await
}

#[tokio::test]
async fn a_new_mailbox_has_its_folders_with_their_uses_and_is_subscribed_to_them() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    let lines = client.command("LIST (SUBSCRIBED) \"\" \"*\" RETURN (SPECIAL-USE)").await?;
    for (name, special) in [
        ("Drafts", "\\Drafts"),
        ("Sent", "\\Sent"),
        ("Junk", "\\Junk"),
        ("Trash", "\\Trash"),
        ("Archive", "\\Archive"),
    ] {
        let line = lines
            .iter()
            .find(|line| line.contains(name))
            .with_context(|| format!("no {name}: {lines:?}"))?;
        ensure!(line.contains(special) && line.contains("\"/\""), "{line}");
    }
    ensure!(has(&lines, "INBOX"), "{lines:?}");
    Ok(())
}

#[tokio::test]
async fn no_password_is_taken_in_clear_text_by_either_protocol() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = Client::connect(place.server.imap()).await?;
    let capability = client.command("CAPABILITY").await?;
    ensure!(has(&capability, "LOGINDISABLED") && has(&capability, "STARTTLS"), "{capability:?}");
    ensure!(!has(&capability, "AUTH="), "{capability:?}");
    for refused in [format!("LOGIN {ANN} {:?}", place.password), "AUTHENTICATE PLAIN".to_owned()] {
        let lines = client.try_command(&refused).await?;
        ensure!(lines.last().is_some_and(|line| line.starts_with("NO")), "{lines:?}");
    }
    client.starttls(place.server.client_tls()?, "mx.example.test").await?;
    client.login(ANN, &place.password).await?;

    let mut client = pop3::Client::connect(place.server.pop3()).await?;
    let capa = client.multi("CAPA").await?;
    ensure!(capa.contains(&"STLS".to_owned()) && !capa.contains(&"USER".to_owned()), "{capa:?}");
    ensure!(client.try_command(&format!("USER {ANN}")).await?.starts_with("-ERR"));
    client.stls(place.server.client_tls()?, "mx.example.test").await?;
    client.login(ANN, &place.password).await?;
    client.quit().await
}

#[tokio::test]
async fn commands_pipelined_behind_starttls_are_not_run() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = Client::connect(place.server.imap()).await?;
    client.send_raw(b"X1 STARTTLS\r\nX2 NOOP\r\n").await?;
    client.expect("X1 OK").await?;
    // The kit refuses octets that came in clear text before the handshake.
    let mut client = Client::connect(place.server.imap()).await?;
    client.starttls(place.server.client_tls()?, "mx.example.test").await?;
    client.command("NOOP").await.map(drop)
}

#[tokio::test]
async fn an_idle_session_hears_of_mail_that_comes_by_smtp() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    client.select("INBOX").await?;
    let tag = client.idle().await?;
    for (number, subject) in [(1, "first"), (2, "second")] {
        deliver(&place.server, ANN, subject).await?;
        loop {
            let response = client.response().await?.text();
            if response == format!("* {number} EXISTS") {
                break;
            }
            ensure!(response.contains("RECENT") || response.contains("EXISTS"), "{response}");
        }
    }
    client.done(&tag).await?;
    let mail = wait_for_mail(&mut client, "INBOX", 2).await?;
    ensure!(mail.iter().map(|(_, subject)| subject.as_str()).eq(["first", "second"]), "{mail:?}");
    Ok(())
}

#[tokio::test]
async fn two_sessions_see_each_others_changes() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut one = place.server.imap_client(ANN, &place.password).await?;
    for subject in ["a", "b", "c"] {
        one.append("INBOX", "", &message(subject)).await?;
    }
    let mut two = place.server.imap_client(ANN, &place.password).await?;
    for client in [&mut one, &mut two] {
        client.select("INBOX").await?;
    }
    one.command("STORE 2 +FLAGS (\\Flagged $Label)").await?;
    let seen = two.command("NOOP").await?;
    ensure!(has(&seen, "* 2 FETCH") && has(&seen, "\\Flagged") && has(&seen, "$Label"), "{seen:?}");

    let tag = two.idle().await?;
    one.command("STORE 1 +FLAGS.SILENT (\\Deleted)").await?;
    let changed = two.response().await?.text();
    ensure!(changed.starts_with("* 1 FETCH") && changed.contains("\\Deleted"), "{changed}");
    let expunged = one.command("EXPUNGE").await?;
    ensure!(has(&expunged, "* 1 EXPUNGE"), "{expunged:?}");
    ensure!(two.response().await?.text() == "* 1 EXPUNGE");
    two.done(&tag).await?;
    // Numbers moved up for both, and nothing is expunged under a FETCH by number.
    one.command("UID STORE 3 +FLAGS (\\Deleted)").await?;
    one.command("EXPUNGE").await?;
    let fetched = two.command("FETCH 1:* (UID FLAGS)").await?;
    ensure!(!fetched.iter().any(|line| line.ends_with(" EXPUNGE")), "{fetched:?}");
    let told = two.command("NOOP").await?;
    ensure!(has(&told, "* 2 EXPUNGE"), "{told:?}");
    ensure!(one.uids().await? == [2] && two.uids().await? == [2]);
    Ok(())
}

#[tokio::test]
async fn messages_are_copied_moved_searched_and_fetched_in_part() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    client.command("CREATE Work/2026").await?;
    for subject in ["plum", "cherry", "apple"] {
        client.append("INBOX", "\\Seen", &message(subject)).await?;
    }
    client.select("INBOX").await?;
    ensure!(client.uid_search("SUBJECT cherry").await? == [2]);
    ensure!(client.uid_search("TEXT \"text of apple\"").await? == [3]);
    ensure!(client.uid_search("UNSEEN").await?.is_empty());
    let part = client.command("UID FETCH 2 (ENVELOPE BODY.PEEK[TEXT]<4.4> RFC822.SIZE)").await?;
    ensure!(has(&part, "\"cherry\"") && has(&part, "text") && !has(&part, "The text"), "{part:?}");
    let moved = client.command("UID MOVE 2 Work/2026").await?;
    ensure!(has(&moved, "COPYUID") && has(&moved, "EXPUNGE"), "{moved:?}");
    client.command("UID COPY 1 Work/2026").await?;
    ensure!(client.uids().await? == [1, 3]);
    let status = client.command("STATUS Work/2026 (MESSAGES UNSEEN)").await?;
    ensure!(has(&status, "MESSAGES 2") && has(&status, "UNSEEN 0"), "{status:?}");
    let mail = wait_for_mail(&mut client, "Work/2026", 2).await?;
    ensure!(mail.iter().map(|(_, subject)| subject.as_str()).eq(["cherry", "plum"]), "{mail:?}");
    client.command("RENAME Work Done").await?;
    client.select("Done/2026").await.map(drop)
}

#[tokio::test]
async fn login_and_select_in_one_packet_are_both_run() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = stranger(&place).await?;
    client
        .send_raw(
            format!("a LOGIN {ANN} {:?}\r\nb SELECT INBOX\r\nc NOOP\r\n", place.password)
                .as_bytes(),
        )
        .await?;
    for tag in ["a", "b", "c"] {
        let answer = client.until_tagged(tag).await?;
        let last = answer.last().context("an answer")?.text();
        ensure!(last.starts_with(&format!("{tag} OK")), "{last}");
    }
    Ok(())
}

#[tokio::test]
async fn hostile_and_mistaken_input_is_answered_and_the_session_goes_on() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = stranger(&place).await?;
    // Before login a literal is small, and a mailbox out of reach.
    let tag = client.send_command("LOGIN {100000}").await?;
    let refused = client.until_tagged(&tag).await?;
    let last = refused.last().context("an answer")?.text();
    ensure!(
        last.starts_with(&format!("{tag} BAD")) || last.starts_with(&format!("{tag} NO")),
        "{last}"
    );
    for early in
        ["SELECT INBOX", "FETCH 1 FLAGS", "APPEND INBOX {3}", "IDLE", "LOGIN onlyone", "NONSENSE"]
    {
        let lines = client.try_command(early).await?;
        ensure!(
            lines.last().is_some_and(|line| line.starts_with("BAD") || line.starts_with("NO")),
            "{early}: {lines:?}"
        );
    }
    client.login(ANN, &place.password).await?;
    client.append("INBOX", "", &message("one")).await?;
    for wrong in ["FETCH 1 FLAGS", "SELECT Nowhere", "UID NONSENSE", "STORE 1 FLAGS"] {
        let lines = client.try_command(wrong).await?;
        ensure!(
            lines.last().is_some_and(|line| line.starts_with("BAD") || line.starts_with("NO")),
            "{wrong}: {lines:?}"
        );
    }
    let lines = client.try_command("COPY 1 Nowhere").await?;
    ensure!(!has(&lines, "OK "), "{lines:?}");
    client.select("INBOX").await?;
    let lines = client.try_command("COPY 1 Nowhere").await?;
    ensure!(has(&lines, "NO [TRYCREATE]"), "{lines:?}");
    // DONE in the packet of IDLE.
    client.send_raw(b"i IDLE\r\nDONE\r\n").await?;
    client.until_tagged("i").await?;
    // Reading only: nothing is changed.
    client.command("EXAMINE INBOX").await?;
    ensure!(
        client
            .try_command("STORE 1 +FLAGS (\\Deleted)")
            .await?
            .last()
            .is_some_and(|line| line.starts_with("NO"))
    );
    client.command("FETCH 1 BODY[]").await?;
    ensure!(client.uid_search("UNSEEN").await? == [1]);
    // A name of IMAP4rev1 in modified UTF-7.
    client.command("CREATE \"Entw&APw-rfe\"").await?;
    let lines = client.command("LIST \"\" \"Entw*\"").await?;
    ensure!(has(&lines, "Entw&APw-rfe"), "{lines:?}");
    client.logout().await
}

#[tokio::test]
async fn after_too_many_wrong_passwords_even_the_right_one_is_refused_for_a_while() -> Result<()> {
    let place = place(|setup| {
        setup
            .set("limits", "exempt", "[]")
            .set("limits", "logins_failed_per_account", "3")
            .set("limits", "ban", "\"2s\"")
            .set("limits", "login_window", "\"2s\"")
    })
    .await?;
    let eve = place.server.add_account("eve@example.test").await?;
    for _ in 0..3 {
        let answer = stranger(&place).await?.authenticate_plain(ANN, "wrong password").await?;
        ensure!(has(&answer, "AUTHENTICATIONFAILED"), "{answer:?}");
    }
    let answer = stranger(&place).await?.authenticate_plain(ANN, &place.password).await?;
    ensure!(has(&answer, "NO [UNAVAILABLE]"), "{answer:?}");
    // Others of the same network are not touched, nor other protocols spared.
    place.server.imap_client("eve@example.test", &eve).await?.logout().await?;
    ensure!(place.server.submit_client(ANN, &place.password).await.is_err());
    ensure!(place.server.pop3_client(ANN, &place.password).await.is_err());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while place.server.imap_client(ANN, &place.password).await.is_err() {
        ensure!(std::time::Instant::now() < deadline, "the ban does not end");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test]
async fn sessions_of_one_account_are_counted_over_all_protocols() -> Result<()> {
    let place = place(|setup| setup.set("limits", "sessions_per_account", "2")).await?;
    let imap = place.server.imap_client(ANN, &place.password).await?;
    let _pop = place.server.pop3_client(ANN, &place.password).await?;
    let answer = stranger(&place).await?.authenticate_plain(ANN, &place.password).await?;
    ensure!(has(&answer, "NO [LIMIT]"), "{answer:?}");
    imap.logout().await?;
    place.server.imap_client(ANN, &place.password).await.map(drop)
}

#[tokio::test]
async fn pop3_reads_and_deletes_only_at_quit() -> Result<()> {
    let place = place(|setup| setup).await?;
    for subject in ["one", "two", "three"] {
        deliver(&place.server, ANN, subject).await?;
    }
    let mut imap = place.server.imap_client(ANN, &place.password).await?;
    wait_for_mail(&mut imap, "INBOX", 3).await?;
    let mut client = place.server.pop3_client(ANN, &place.password).await?;
    ensure!(client.command("STAT").await?.starts_with("+OK 3 "));
    let whole = client.retrieve(2).await?;
    ensure!(whole.ends_with(&message("two")), "{}", String::from_utf8_lossy(&whole));
    let sizes = client.multi("LIST").await?;
    ensure!(sizes[1] == format!("2 {}", whole.len()), "{sizes:?}");
    let top = client.multi("TOP 2 0").await?;
    ensure!(
        top.last().is_some_and(String::is_empty) && !top.contains(&"The text of two.".to_owned())
    );
    client.command("DELE 2").await?;
    ensure!(client.try_command("RETR 2").await?.starts_with("-ERR"));
    // Gone without QUIT: nothing is deleted.
    drop(client);
    ensure!(wait_for_mail(&mut imap, "INBOX", 3).await?.len() == 3);
    let mut client = retry_pop3(&place).await?;
    client.command("DELE 1").await?;
    client.command("DELE 3").await?;
    client.command("RSET").await?;
    client.command("DELE 2").await?;
    ensure!(wait_for_mail(&mut imap, "INBOX", 3).await?.len() == 3);
    client.quit().await?;
    imap.command("NOOP").await?;
    ensure!(imap.uids().await? == [1, 3]);
    Ok(())
}

/// Logs in as soon as the lock of a session that was dropped is gone.
async fn retry_pop3(place: &Place) -> Result<pop3::Client> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        match place.server.pop3_client(ANN, &place.password).await {
            Ok(client) => return Ok(client),
            Err(error) if std::time::Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test]
async fn one_pop3_session_at_a_time_while_imap_and_delivery_go_on() -> Result<()> {
    let place = place(|setup| setup).await?;
    deliver(&place.server, ANN, "old").await?;
    let mut imap = place.server.imap_client(ANN, &place.password).await?;
    wait_for_mail(&mut imap, "INBOX", 1).await?;
    let mut first = place.server.pop3_client(ANN, &place.password).await?;
    let tls = place.server.client_tls()?;
    let mut second =
        pop3::Client::connect_tls(place.server.pop3s(), tls, "mx.example.test").await?;
    second.command(&format!("USER {ANN}")).await?;
    let busy = second.try_command(&format!("PASS {}", place.password)).await?;
    ensure!(busy.starts_with("-ERR [IN-USE]"), "{busy}");

    deliver(&place.server, ANN, "new").await?;
    wait_for_mail(&mut imap, "INBOX", 2).await?;
    ensure!(first.command("STAT").await?.starts_with("+OK 1 "), "the drop is a snapshot");
    imap.command("STORE 1 +FLAGS (\\Deleted)").await?;
    imap.command("EXPUNGE").await?;
    ensure!(first.try_command("RETR 1").await?.starts_with("-ERR"));
    first.quit().await?;
    second.command(&format!("USER {ANN}")).await?;
    second.command(&format!("PASS {}", place.password)).await?;
    ensure!(second.command("STAT").await?.starts_with("+OK 1 "));
    Ok(())
}

#[tokio::test]
async fn unique_ids_of_pop3_and_uids_of_imap_stay_over_a_restart() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    for subject in ["one", "two"] {
        deliver(&place.server, ANN, subject).await?;
    }
    let mut imap = place.server.imap_client(ANN, &place.password).await?;
    let before = wait_for_mail(&mut imap, "INBOX", 2).await?;
    let validity =
        |lines: &[String]| lines.iter().find(|line| line.contains("UIDVALIDITY")).cloned();
    let first = validity(&imap.select("INBOX").await?);
    let mut pop = place.server.pop3_client(ANN, &place.password).await?;
    let ids = pop.multi("UIDL").await?;
    ensure!(ids.len() == 2 && ids[0].strip_prefix("1 ") != ids[1].strip_prefix("2 "), "{ids:?}");
    pop.quit().await?;
    imap.logout().await?;
    place.server.restart().await?;
    let mut imap = place.server.imap_client(ANN, &place.password).await?;
    ensure!(wait_for_mail(&mut imap, "INBOX", 2).await? == before);
    ensure!(validity(&imap.select("INBOX").await?) == first && first.is_some());
    let mut pop = place.server.pop3_client(ANN, &place.password).await?;
    ensure!(pop.multi("UIDL").await? == ids);
    pop.quit().await
}

/// The number after a word in one of the lines.
fn number(lines: &[String], word: &str) -> Result<u64> {
    let line =
        lines.iter().find(|line| line.contains(word)).with_context(|| format!("{lines:?}"))?;
    let rest = line.split(word).nth(1).unwrap_or_default().trim_start_matches([' ', '(']);
    Ok(rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse()?)
}

/// QRESYNC over a restart in between: what came, changed and went is told, and nothing else.
#[tokio::test]
async fn a_client_that_comes_back_is_told_what_happened_meanwhile() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    for subject in ["one", "two", "three"] {
        deliver(&place.server, ANN, subject).await?;
    }
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    wait_for_mail(&mut client, "INBOX", 3).await?;
    let lines = client.select("INBOX").await?;
    let (validity, known) = (number(&lines, "UIDVALIDITY")?, number(&lines, "HIGHESTMODSEQ")?);
    client.logout().await?;
    let mut other = place.server.imap_client(ANN, &place.password).await?;
    other.select("INBOX").await?;
    other.command("STORE 1 +FLAGS (\\Flagged)").await?;
    other.command("STORE 2 +FLAGS (\\Deleted)").await?;
    other.command("EXPUNGE").await?;
    deliver(&place.server, ANN, "four").await?;
    wait_for_mail(&mut other, "INBOX", 3).await?;
    other.logout().await?;
    place.server.restart().await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    client.command("ENABLE QRESYNC").await?;
    let command = format!("SELECT INBOX (QRESYNC ({validity} {known}))");
    let lines = client.command(&command).await?;
    ensure!(has(&lines, "VANISHED (EARLIER) 2"), "{lines:?}");
    let told: Vec<&String> = lines.iter().filter(|line| line.contains(" FETCH (")).collect();
    ensure!(told.len() == 2, "{lines:?}");
    ensure!(told[0].contains("UID 1 FLAGS (\\Flagged"), "{told:?}");
    ensure!(told[1].contains("UID 4 FLAGS ("), "{told:?}");
    Ok(())
}

#[tokio::test]
async fn a_capability_that_is_switched_off_is_gone() -> Result<()> {
    let off = "[\"SORT\", \"COMPRESS=DEFLATE\"]";
    let place = place(|setup| setup.set("imap", "disabled_capabilities", off)).await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    let lines = client.command("CAPABILITY").await?;
    ensure!(has(&lines, " THREAD=REFERENCES") && has(&lines, " QRESYNC"), "{lines:?}");
    ensure!(!has(&lines, " SORT") && !has(&lines, "COMPRESS"), "{lines:?}");
    client.select("INBOX").await?;
    let refused = client.try_command("SORT (DATE) UTF-8 ALL").await?;
    ensure!(refused.last().is_some_and(|line| line.starts_with("BAD")), "{refused:?}");
    ensure!(
        has(&client.command("THREAD REFERENCES UTF-8 ALL").await?, "THREAD"),
        "an empty answer"
    );
    Ok(())
}
