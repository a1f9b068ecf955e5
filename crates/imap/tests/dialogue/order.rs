//! SORT and THREAD (RFC 5256, RFC 5267, RFC 5957), and PARTIAL (RFC 9394).

use crate::support::{Client, World, message};

/// Appends a message that came in on this day of January.
async fn add(client: &mut Client, day: u8, headers: &str, text: &str) {
    let message = format!("{headers}\r\n\r\n{text}\r\n");
    let date = format!("{day:02}-Jan-2024 00:00:00 +0000");
    let size = message.len();
    client.send(format!("t APPEND INBOX \"{date}\" {{{size}+}}\r\n{message}\r\n")).await;
    assert!(client.until("t").await.pop().unwrap().starts_with("t OK"));
}

/// Four messages whose orders differ.
async fn filled(world: &World) -> Client {
    let mut ann = world.log_in().await;
    let dated = |day: u8, rest: &str| format!("Date: {day} Feb 2024 10:00:00 +0000\r\n{rest}");
    add(
        &mut ann,
        1,
        &dated(3, "From: Zoe <b@x.example>\r\nSubject: Re: beta\r\nTo: d@x.example"),
        "1",
    )
    .await;
    add(
        &mut ann,
        2,
        &dated(1, "From: a@x.example\r\nSubject: =?utf-8?q?=C3=84pfel?=\r\nCc: z@x.example"),
        "22",
    )
    .await;
    add(&mut ann, 3, &dated(4, "From: \"Adam\" <c@x.example>\r\nSubject: [list] Alpha"), "333")
        .await;
    add(
        &mut ann,
        4,
        &dated(2, "From: C@x.example\r\nSubject: BETA (fwd)\r\nTo: C@x.example"),
        "4444",
    )
    .await;
    ann.ok("SELECT INBOX").await;
    ann
}

#[tokio::test]
async fn sorting_by_each_criterion() {
    let world = World::start().await;
    let mut ann = filled(&world).await;
    for (criteria, order) in [
        ("ARRIVAL", "1 2 3 4"),
        ("REVERSE ARRIVAL", "4 3 2 1"),
        ("DATE", "2 4 1 3"),
        ("REVERSE DATE", "3 1 4 2"),
        ("SUBJECT DATE", "3 2 4 1"),
        ("SUBJECT REVERSE DATE", "3 2 1 4"),
        ("FROM", "2 1 3 4"),
        ("REVERSE FROM", "3 4 1 2"),
        ("TO", "2 3 4 1"),
        ("REVERSE CC", "2 1 3 4"),
        ("DISPLAYFROM", "2 3 4 1"),
        ("REVERSE DISPLAYTO", "1 4 2 3"),
        ("REVERSE SIZE ARRIVAL", "1 4 2 3"),
    ] {
        let lines = ann.ok(&format!("SORT ({criteria}) UTF-8 ALL")).await;
        // By size, the header's length counts as well.
        if !criteria.contains("SIZE") {
            assert_eq!(lines, [format!("* SORT {order}")], "{criteria}");
        }
    }
    assert_eq!(ann.ok("UID SORT (DATE) US-ASCII NOT FROM zoe").await, ["* SORT 2 4 3"]);
    assert_eq!(ann.ok("SORT (DATE) UTF-8 SUBJECT nothing").await, ["* SORT"]);
    ann.gives("SORT (DATE) X-UNKNOWN ALL", "NO [BADCHARSET").await;
    ann.gives("SORT () UTF-8 ALL", "BAD").await;
    let sizes = ann.ok("SORT (SIZE) UTF-8 ALL").await;
    let mut by_size = Vec::new();
    for number in sizes[0].split(' ').skip(2) {
        let line = ann.ok(&format!("FETCH {number} RFC822.SIZE")).await.remove(0);
        by_size.push(line.split(' ').nth(4).unwrap().trim_end_matches(')').parse::<u32>().unwrap());
    }
    assert!(by_size.len() == 4 && by_size.is_sorted());
}

#[tokio::test]
async fn extended_answers_of_sort() {
    let world = World::start().await;
    let mut ann = filled(&world).await;
    for (returns, answer) in [
        ("", "ALL 2,4,1,3"),
        ("MIN", "MIN 2"),
        ("MIN MAX COUNT", "MIN 2 MAX 3 COUNT 4"),
        ("PARTIAL 2:3", "PARTIAL (2:3 4,1)"),
        ("PARTIAL -1:-3 COUNT", "COUNT 4 PARTIAL (-1:-3 4,1,3)"),
        ("PARTIAL 9:10", "PARTIAL (9:10 NIL)"),
    ] {
        let lines = ann.ok(&format!("SORT RETURN ({returns}) (DATE) UTF-8 ALL")).await;
        assert_eq!(lines, [format!("* ESEARCH (TAG \"t\") {answer}")], "{returns}");
    }
    let lines = ann.ok("UID SORT RETURN (COUNT) (DATE) UTF-8 SUBJECT nothing").await;
    assert_eq!(lines, ["* ESEARCH (TAG \"t\") UID COUNT 0"]);
    ann.ok("SORT RETURN (SAVE MIN MAX) (DATE) UTF-8 ALL").await;
    assert_eq!(ann.ok("SEARCH $").await, ["* SEARCH 2 3"]);
    ann.gives("SORT RETURN (ALL PARTIAL 1:2) (DATE) UTF-8 ALL", "BAD").await;
}

#[tokio::test]
async fn pieces_of_results() {
    let world = World::start().await;
    let mut ann = filled(&world).await;
    let of = |piece: &str, answer: &str| {
        (format!("SEARCH RETURN (PARTIAL {piece}) ALL"), format!("* ESEARCH (TAG \"t\") {answer}"))
    };
    for (command, answer) in [
        of("1:2", "PARTIAL (1:2 1:2)"),
        of("-1:-2", "PARTIAL (-1:-2 3:4)"),
        of("4:2", "PARTIAL (2:4 2:4)"),
        of("5:6", "PARTIAL (5:6 NIL)"),
    ] {
        assert_eq!(ann.ok(&command).await, [answer]);
    }
    ann.ok("SEARCH RETURN (PARTIAL 2:3 SAVE) ALL").await;
    assert_eq!(ann.ok("SEARCH $").await, ["* SEARCH 2 3"]);
    let fetched = ann.ok("UID FETCH 1:* UID (PARTIAL -1:-2)").await;
    assert_eq!(fetched, ["* 3 FETCH (UID 3)", "* 4 FETCH (UID 4)"]);
    ann.gives("FETCH 1:* UID (PARTIAL 1:2)", "BAD").await;
    ann.ok("STORE 1,3 +FLAGS.SILENT (\\Seen)").await;
    let modseq = ann.ok("FETCH 4 MODSEQ").await.pop().unwrap();
    let modseq = modseq.split(['(', ')']).nth(2).unwrap().to_owned();
    let changed = format!("UID FETCH 1:* UID (CHANGEDSINCE {modseq} PARTIAL 2:5)");
    let fetched = ann.ok(&changed).await;
    assert!(fetched.len() == 1 && fetched[0].starts_with("* 3 FETCH (UID 3 MODSEQ"), "{fetched:?}");
    // RFC 9394 §3.4: the window is one of the set, and of that only what changed is told.
    let fetched = ann.ok(&changed.replace("2:5", "-2:-4")).await;
    assert!(fetched.len() == 2 && fetched[0].starts_with("* 1 FETCH (UID 1"), "{fetched:?}");
    let fetched = ann.ok(&changed.replace("2:5", "1:2")).await;
    assert!(fetched.len() == 1 && fetched[0].starts_with("* 1 FETCH (UID 1"), "{fetched:?}");
}

#[tokio::test]
async fn threads() {
    let world = World::start().await;
    let mut ann = world.log_in().await;
    for (day, headers) in [
        (1, "Subject: plan\r\nMessage-ID: <a@x>"),
        (2, "Subject: Re: plan\r\nMessage-ID: <b@x>\r\nReferences: <a@x>"),
        (3, "Subject: other\r\nMessage-ID: <c@x>"),
        (4, "Subject: Re: Plan\r\nMessage-ID: <d@x>\r\nIn-Reply-To: <b@x> (Bob)"),
        (5, "Subject: AW: plan\r\nMessage-ID: <e@x>\r\nReferences: <a@x>\r\n <gone@x>"),
    ] {
        add(&mut ann, day, &format!("Date: {day} Feb 2024 10:00:00 +0000\r\n{headers}"), "x").await;
    }
    ann.ok("SELECT INBOX").await;
    assert_eq!(ann.ok("THREAD REFERENCES UTF-8 ALL").await, ["* THREAD (1 (2 4)(5))(3)"]);
    assert_eq!(ann.ok("THREAD ORDEREDSUBJECT UTF-8 ALL").await, ["* THREAD (1 (2)(4))(3)(5)"]);
    ann.ok("STORE 1 +FLAGS (\\Deleted)").await;
    ann.ok("EXPUNGE").await;
    assert_eq!(
        ann.ok("UID THREAD REFERENCES UTF-8 NOT SUBJECT other").await,
        ["* THREAD ((2 4)(5))"]
    );
    assert_eq!(ann.ok("THREAD REFERENCES UTF-8 SUBJECT nothing").await, ["* THREAD"]);
    ann.gives("THREAD REFS UTF-8 ALL", "BAD").await;
}

#[tokio::test]
async fn sorting_by_modification_sequence() {
    let world = World::start().await;
    let mut ann = filled(&world).await;
    ann.ok("STORE 2 +FLAGS (\\Seen)").await;
    let lines = ann.ok("SORT (REVERSE DATE) UTF-8 MODSEQ 1").await;
    let answer = lines.last().unwrap();
    assert!(answer.starts_with("* SORT 3 1 4 2 (MODSEQ "), "{lines:?}");
    let lines = ann.ok("SORT RETURN (MIN) (DATE) UTF-8 MODSEQ 1").await;
    let highest = answer.rsplit(' ').next().unwrap().trim_end_matches(')');
    assert_eq!(lines, [format!("* ESEARCH (TAG \"t\") MIN 2 MODSEQ {highest}")]);
}

#[tokio::test]
async fn what_comes_near_is_found_and_scored() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    for subject in ["Report of the year", "the year's report", "yearly", "year report"] {
        client.append("INBOX", "", &message(subject, "text")).await;
    }
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("SEARCH SUBJECT \"year report\"").await, ["* SEARCH 4"]);
    assert_eq!(client.ok("SEARCH FUZZY SUBJECT \"year report\"").await, ["* SEARCH 1 2 4"]);
    assert_eq!(
        client.ok("SEARCH RETURN (ALL RELEVANCY) FUZZY SUBJECT \"year report\"").await,
        ["* ESEARCH (TAG \"t\") ALL 1:2,4 RELEVANCY (50 50 100)"]
    );
    assert_eq!(
        client.ok("SEARCH RETURN (PARTIAL -1:-2 RELEVANCY) FUZZY SUBJECT \"year report\"").await,
        ["* ESEARCH (TAG \"t\") PARTIAL (-1:-2 2,4) RELEVANCY (50 100)"]
    );
    assert_eq!(
        client.ok("SORT (RELEVANCY REVERSE SUBJECT) UTF-8 FUZZY SUBJECT \"year report\"").await,
        ["* SORT 4 2 1"]
    );
    assert_eq!(
        client
            .ok("UID SORT RETURN (ALL RELEVANCY) (RELEVANCY) UTF-8 FUZZY SUBJECT \"year report\"")
            .await,
        ["* ESEARCH (TAG \"t\") UID ALL 4,1,2 RELEVANCY (100 50 50)"]
    );
    assert_eq!(
        client.ok("ESEARCH RETURN (COUNT RELEVANCY) FUZZY SUBJECT \"report year\"").await.len(),
        1
    );
    for command in [
        "SEARCH RETURN (RELEVANCY) ALL",
        "SORT (RELEVANCY) UTF-8 ALL",
        "ESEARCH RETURN (RELEVANCY) ALL",
    ] {
        client.gives(command, "BAD").await;
    }
}
