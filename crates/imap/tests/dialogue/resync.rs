//! CONDSTORE and QRESYNC (RFC 7162), and `\Recent` between sessions.

use crate::support::{Client, World, message};

/// The number after a word in the lines.
fn after(lines: &[String], word: &str) -> u64 {
    let line = lines.iter().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{lines:?}"));
    let rest = &line[line.find(word).unwrap() + word.len()..];
    let digits: String =
        rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

async fn filled(world: &World, messages: usize) -> Client {
    let mut client = world.log_in().await;
    for number in 1..=messages {
        client.append("INBOX", "", &message(&format!("m{number}"), "Some text")).await;
    }
    // None of them is recent any more.
    client.ok("SELECT INBOX").await;
    client.ok("UNSELECT").await;
    client
}

async fn select(client: &mut Client, parameters: &str) -> Vec<String> {
    client.ok(&format!("SELECT INBOX{parameters}")).await
}

#[tokio::test]
async fn whoever_asks_is_told_of_modification_sequences() {
    let world = World::start().await;
    let mut ann = filled(&world, 3).await;
    let mut other = world.select("INBOX").await;
    let start = after(&select(&mut ann, "").await, "HIGHESTMODSEQ");
    // Not asked for: not told.
    other.ok("STORE 1 +FLAGS (\\Seen)").await;
    assert_eq!(ann.ok("NOOP").await, ["* 1 FETCH (FLAGS (\\Seen))"]);
    // Each of these asks.
    let lines = ann.ok("FETCH 1:3 (FLAGS) (CHANGEDSINCE 1)").await;
    assert!(lines[0].starts_with("* OK [HIGHESTMODSEQ "), "{lines:?}");
    let lines = ann.ok(&format!("FETCH 1:* (FLAGS) (CHANGEDSINCE {start})")).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("* 1 FETCH (FLAGS (\\Seen) MODSEQ ("), "{lines:?}");
    // What is told unasked has the UID as well (RFC 7162 §3.2.4).
    let lines = ann.ok("FETCH 2 BODY[]").await;
    assert!(lines[0].contains("FLAGS (\\Seen) MODSEQ ("), "{lines:?}");
    assert!(lines[0].contains(" UID 2 "), "{lines:?}");
    let seen = after(&lines, "MODSEQ");
    assert_eq!(after(&ann.ok("FETCH 2 MODSEQ").await, "MODSEQ"), seen);
    // The other session's change comes with its sequence now, a silent one of the own with that alone.
    other.ok("STORE 3 +FLAGS (\\Flagged)").await;
    let lines = ann.ok("NOOP").await;
    assert!(lines[0].starts_with("* 3 FETCH (UID 3 FLAGS (\\Flagged) MODSEQ ("), "{lines:?}");
    let lines = ann.ok("STORE 3 -FLAGS.SILENT (\\Flagged)").await;
    assert!(lines[0].starts_with("* 3 FETCH (UID 3 MODSEQ ("), "{lines:?}");
    assert!(after(&lines, "MODSEQ") > seen);
    let lines = ann.ok("UID STORE 3 +FLAGS (\\Draft)").await;
    assert!(lines[0].starts_with("* 3 FETCH (UID 3 FLAGS (\\Draft) MODSEQ ("), "{lines:?}");
    let lines = ann.ok("STATUS INBOX (HIGHESTMODSEQ)").await;
    assert_eq!(after(&lines, "HIGHESTMODSEQ"), after(&ann.ok("FETCH 3 MODSEQ").await, "MODSEQ"));
}

#[tokio::test]
async fn a_store_leaves_alone_what_others_changed() {
    let world = World::start().await;
    let mut ann = filled(&world, 3).await;
    let known = after(&select(&mut ann, " (CONDSTORE)").await, "HIGHESTMODSEQ");
    let mut other = world.select("INBOX").await;
    other.ok("STORE 2 +FLAGS (\\Seen)").await;
    let command = format!("STORE 1:3 (UNCHANGEDSINCE {known}) +FLAGS.SILENT (\\Flagged)");
    let lines = ann.run(&command).await;
    assert!(lines.last().unwrap().starts_with("t OK [MODIFIED 2]"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("* 1 FETCH (UID 1 MODSEQ (")));
    let second = "* 2 FETCH (UID 2 FLAGS (\\Seen) MODSEQ (";
    assert!(lines.iter().any(|line| line.starts_with(second)), "{lines:?}");
    let lines = ann.run(&format!("UID STORE 2 (UNCHANGEDSINCE {known}) FLAGS ()")).await;
    assert!(lines.last().unwrap().starts_with("t OK [MODIFIED 2]"), "{lines:?}");
    // Zero: only what has no sequence at all, which is nothing.
    let lines = ann.run("STORE 1 (UNCHANGEDSINCE 0) +FLAGS (\\Draft)").await;
    assert!(lines.last().unwrap().starts_with("t OK [MODIFIED 1]"), "{lines:?}");
    assert_eq!(other.ok("FETCH 1:3 FLAGS").await.len(), 3 + 2);
}

#[tokio::test]
async fn searching_by_modification_sequence() {
    let world = World::start().await;
    let mut ann = filled(&world, 4).await;
    let known = after(&select(&mut ann, "").await, "HIGHESTMODSEQ");
    ann.ok("STORE 1 +FLAGS (\\Seen)").await;
    ann.ok("STORE 3 +FLAGS (\\Seen)").await;
    let modseq = |lines: &[String]| after(lines, "MODSEQ (");
    let first = modseq(&ann.ok("FETCH 1 (MODSEQ)").await);
    let third = modseq(&ann.ok("FETCH 3 (MODSEQ)").await);
    let since = known + 1;
    let plain = ann.ok(&format!("SEARCH MODSEQ {since}")).await;
    assert_eq!(plain, [format!("* SEARCH 1 3 (MODSEQ {third})")]);
    let entry = format!("SEARCH MODSEQ \"/flags/\\\\draft\" all {since} SEEN");
    assert_eq!(ann.ok(&entry).await, [format!("* SEARCH 1 3 (MODSEQ {third})")]);
    assert_eq!(ann.ok(&format!("SEARCH MODSEQ {}", third + 9)).await, ["* SEARCH"]);
    let returns = |what: &str| format!("SEARCH RETURN ({what}) MODSEQ {since}");
    for (what, expected) in [
        ("MIN", format!("MIN 1 MODSEQ {first}")),
        ("MAX", format!("MAX 3 MODSEQ {third}")),
        ("MIN MAX", format!("MIN 1 MAX 3 MODSEQ {third}")),
        ("MIN COUNT", format!("MIN 1 COUNT 2 MODSEQ {third}")),
        ("ALL", format!("ALL 1,3 MODSEQ {third}")),
    ] {
        let lines = ann.ok(&returns(what)).await;
        assert_eq!(lines, [format!("* ESEARCH (TAG \"t\") {expected}")], "{what}");
    }
}

#[tokio::test]
async fn coming_back_costs_what_changed() {
    let world = World::start().await;
    let mut ann = filled(&world, 6).await;
    let lines = select(&mut ann, "").await;
    let (validity, known) = (after(&lines, "UIDVALIDITY"), after(&lines, "HIGHESTMODSEQ"));
    ann.gives(&format!("SELECT INBOX (QRESYNC ({validity} {known}))"), "BAD").await;
    assert_eq!(ann.ok("ENABLE QRESYNC").await[0], "* ENABLED QRESYNC");
    let mut other = world.select("INBOX").await;
    other.ok("STORE 2,5 +FLAGS (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    other.ok("STORE 1 +FLAGS (\\Seen)").await;
    other.append("INBOX", "", &message("m7", "x")).await;
    let resync = |rest: &str| format!(" (QRESYNC ({validity} {known}{rest}))");
    let told = |lines: Vec<String>| -> Vec<String> {
        let tells = |line: &String| line.contains("FETCH") || line.contains("VANISHED");
        lines
            .into_iter()
            .filter(tells)
            .map(|line| line.split(" MODSEQ").next().unwrap().to_owned())
            .collect()
    };
    let lines = select(&mut ann, &resync("")).await;
    assert!(lines.iter().any(|line| line.starts_with("* OK [CLOSED]")), "{lines:?}");
    assert_eq!(
        told(lines),
        [
            "* VANISHED (EARLIER) 2,5",
            "* 1 FETCH (UID 1 FLAGS (\\Seen)",
            "* 5 FETCH (UID 7 FLAGS ()"
        ]
    );
    assert_eq!(told(select(&mut ann, &resync(" 3:6")).await), ["* VANISHED (EARLIER) 5"]);
    assert_eq!(told(select(&mut ann, &resync(" 1:6 (1,3 1,3)")).await).len(), 2);
    // Another UIDVALIDITY: nothing of what the client knows counts.
    let other_validity = format!(" (QRESYNC ({} {known}))", validity + 1);
    assert!(told(select(&mut ann, &other_validity).await).is_empty());
    // A sequence that was never given out: everything.
    let lines = told(select(&mut ann, &format!(" (QRESYNC ({validity} 4000000000 1:7))")).await);
    assert_eq!((lines[0].as_str(), lines.len()), ("* VANISHED (EARLIER) 2,5", 6));
    // Samples shorten that: message 2 is UID 3 still.
    let samples = format!(" (QRESYNC ({validity} 4000000000 1:7 (2 3)))");
    assert_eq!(told(select(&mut ann, &samples).await)[0], "* VANISHED (EARLIER) 5");
    let lines = ann.ok(&format!("UID FETCH 1:* FLAGS (CHANGEDSINCE {known} VANISHED)")).await;
    assert_eq!(told(lines)[0], "* VANISHED (EARLIER) 2,5");
    ann.gives("UID FETCH 1:* FLAGS (VANISHED)", "BAD").await;
    ann.gives("FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)", "BAD").await;
}

#[tokio::test]
async fn vanished_takes_the_place_of_expunge() {
    let world = World::start().await;
    let mut ann = filled(&world, 5).await;
    ann.ok("ENABLE QRESYNC").await;
    select(&mut ann, "").await;
    let mut other = world.select("INBOX").await;
    other.ok("STORE 1:2,4 +FLAGS (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    // Not while numbers count.
    let lines = ann.run("FETCH 5 UID").await;
    assert!(lines[0].starts_with("* 5 FETCH (UID 5"), "{lines:?}");
    assert!(lines.last().unwrap().contains("[EXPUNGEISSUED]"), "{lines:?}");
    let lines = ann.ok("NOOP").await;
    assert!(lines.contains(&"* VANISHED 1:2,4".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.ends_with("EXPUNGE")), "{lines:?}");
    assert!(ann.ok("FETCH 2 UID").await[0].starts_with("* 2 FETCH (UID 5)"));
    // The own ones, with where that leaves the client.
    ann.ok("STORE 1 +FLAGS (\\Deleted)").await;
    let lines = ann.run("EXPUNGE").await;
    assert_eq!(lines[0], "* VANISHED 3");
    let highest = after(&lines, "t OK [HIGHESTMODSEQ");
    let status = ann.ok("STATUS INBOX (HIGHESTMODSEQ)").await;
    assert_eq!(highest, after(&status, "HIGHESTMODSEQ"));
    ann.gives("EXPUNGE", "OK Expunged").await;
}

/// RFC 5182 §2.1: a search that fails leaves nothing, one that is malformed changes nothing.
#[tokio::test]
async fn a_search_in_an_unknown_charset_empties_what_was_saved() {
    let world = World::start().await;
    let mut ann = world.log_in().await;
    ann.append("INBOX", "", &message("a", "x")).await;
    select(&mut ann, "").await;
    ann.ok("SEARCH RETURN (SAVE) ALL").await;
    ann.gives("SEARCH RETURN (SAVE) NONSENSE", "BAD").await;
    ann.gives("SEARCH CHARSET KLINGON ALL", "NO [BADCHARSET").await;
    assert_eq!(ann.ok("SEARCH $").await, ["* SEARCH 1"]);
    ann.gives("SEARCH RETURN (SAVE) CHARSET KLINGON ALL", "NO [BADCHARSET").await;
    assert_eq!(ann.ok("SEARCH $").await, ["* SEARCH"]);
    ann.ok("SEARCH RETURN (SAVE) ALL").await;
    ann.gives("SORT RETURN (SAVE) (DATE) KLINGON ALL", "NO [BADCHARSET").await;
    assert_eq!(ann.ok("SEARCH $").await, ["* SEARCH"]);
}

/// RFC 7162 §3.2.8: the client would take it for the state that it knows.
#[tokio::test]
async fn close_tells_no_sequence() {
    let world = World::start().await;
    let mut ann = world.log_in().await;
    ann.ok("ENABLE QRESYNC").await;
    ann.append("INBOX", "\\Deleted", &message("a", "x")).await;
    select(&mut ann, "").await;
    ann.gives("CLOSE", "OK Mailbox").await;
    assert_eq!(ann.ok("STATUS INBOX (MESSAGES)").await, ["* STATUS INBOX (MESSAGES 0)"]);
}

/// RFC 7162 §3.2.10.2: what the client's numbers stand for must not change under its search.
#[tokio::test]
async fn a_uid_search_by_numbers_is_not_answered_with_removals() {
    let world = World::start().await;
    let mut ann = world.log_in().await;
    for name in ["a", "b"] {
        ann.append("INBOX", "", &message(name, "x")).await;
    }
    let mut other = world.select("INBOX").await;
    select(&mut ann, "").await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    let lines = ann.ok("UID SEARCH 1:2").await;
    assert!(!lines.iter().any(|line| line.ends_with("EXPUNGE")), "{lines:?}");
    let lines = ann.ok("UID SEARCH UID 1:2").await;
    assert!(lines.contains(&"* 1 EXPUNGE".to_owned()), "{lines:?}");
}

#[tokio::test]
async fn the_first_session_that_hears_of_a_message_has_it_as_recent() {
    let world = World::start().await;
    let mut ann = world.log_in().await;
    ann.append("INBOX", "", &message("old", "x")).await;
    assert!(select(&mut ann, "").await.contains(&"* 1 RECENT".to_owned()));
    let mut other = world.select("INBOX").await;
    let mut onlooker = world.log_in().await;
    onlooker.ok("EXAMINE INBOX").await;
    other.append("INBOX", "", &message("new", "x")).await;
    // APPEND told the session that made it first.
    assert_eq!(ann.ok("NOOP").await, ["* 2 EXISTS", "* 1 RECENT"]);
    assert_eq!(other.ok("FETCH 2 FLAGS").await, ["* 2 FETCH (FLAGS (\\Recent))"]);
    assert_eq!(ann.ok("FETCH 2 FLAGS").await, ["* 2 FETCH (FLAGS ())"]);
    assert_eq!(ann.ok("SEARCH RECENT").await, ["* SEARCH 1"]);
    assert_eq!(other.ok("SEARCH NEW").await, ["* SEARCH 2"]);
    assert_eq!(ann.ok("SEARCH OLD").await, ["* SEARCH 2"]);
    // EXAMINE takes nothing away; a session that comes later finds nothing recent.
    assert_eq!(onlooker.ok("NOOP").await, ["* 2 EXISTS", "* 1 RECENT"]);
    assert_eq!(onlooker.ok("STATUS INBOX (RECENT)").await, ["* STATUS INBOX (RECENT 0)"]);
    let mut late = world.log_in().await;
    assert!(select(&mut late, "").await.contains(&"* 0 RECENT".to_owned()));
}
