//! ESEARCH over several mailboxes (RFC 7377).

use crate::support::{Client, World, message};

async fn filled(world: &World) -> Client {
    let mut client = world.log_in().await;
    for name in ["Work", "Work/Old", "Work/Old/Older", "Empty"] {
        client.ok(&format!("CREATE {name}")).await;
    }
    for (name, subjects) in [
        ("INBOX", &["apple", "pear"][..]),
        ("Work", &["pear", "apple", "apple"]),
        ("Work/Old", &["apple"]),
        ("Work/Old/Older", &["apple"]),
    ] {
        for subject in subjects {
            client.append(name, "", &message(subject, "text")).await;
        }
    }
    client.ok("SUBSCRIBE Work/Old").await;
    client
}

/// Each answer as the mailbox and what follows its UIDVALIDITY.
async fn found(client: &mut Client, arguments: &str) -> Vec<String> {
    let lines = client.ok(&format!("ESEARCH {arguments}")).await;
    let mut found = Vec::new();
    for line in lines {
        let rest =
            line.strip_prefix("* ESEARCH (TAG \"t\" MAILBOX ").unwrap_or_else(|| panic!("{line}"));
        let (name, rest) = rest.split_once(" UIDVALIDITY ").unwrap();
        let (validity, rest) = rest.split_once(") UID ").unwrap();
        assert!(validity.parse::<u32>().unwrap() > 0);
        found.push(format!("{name} {rest}"));
    }
    found.sort();
    found
}

#[tokio::test]
async fn each_mailbox_with_a_hit_answers_for_itself() {
    let world = World::start().await;
    let mut client = filled(&world).await;
    let all = ["INBOX ALL 1", "Work ALL 2:3", "Work/Old ALL 1", "Work/Old/Older ALL 1"];
    assert_eq!(found(&mut client, "IN (personal) SUBJECT apple").await, all);
    assert_eq!(found(&mut client, "IN (inboxes subscribed) RETURN (ALL) SUBJECT apple").await, all);
    assert_eq!(found(&mut client, "IN (subtree Work) SUBJECT apple").await, all[1..]);
    assert_eq!(found(&mut client, "IN (subtree-one Work) SUBJECT apple").await, all[1..3]);
    assert_eq!(found(&mut client, "IN (subtree-one work) SUBJECT apple").await, [""; 0]);
    assert_eq!(
        found(
            &mut client,
            "IN (mailboxes (inbox Work/Old Nowhere) mailboxes Work/Old) SUBJECT apple"
        )
        .await,
        ["INBOX ALL 1", "Work/Old ALL 1"]
    );
    assert_eq!(found(&mut client, "IN (subscribed) SUBJECT pear").await, ["INBOX ALL 2"]);
    assert_eq!(
        found(&mut client, "IN (personal) RETURN (MIN COUNT) SUBJECT apple").await[1],
        "Work MIN 2 COUNT 2"
    );
    let lines = client.ok("ESEARCH IN (mailboxes Work) RETURN (COUNT) MODSEQ 1").await;
    assert!(lines[0].contains(" COUNT 3 MODSEQ "), "{lines:?}");
    // A search takes nothing away.
    assert_eq!(client.ok("STATUS Work (RECENT)").await, ["* STATUS Work (RECENT 3)"]);
}

#[tokio::test]
async fn the_selected_mailbox_is_one_of_them() {
    let world = World::start().await;
    let mut client = filled(&world).await;
    client.gives("ESEARCH SUBJECT apple", "BAD").await;
    client.gives("ESEARCH IN (selected) SUBJECT apple", "BAD").await;
    client.ok("SELECT Work").await;
    assert_eq!(found(&mut client, "SUBJECT apple").await, ["Work ALL 2:3"]);
    assert_eq!(found(&mut client, "IN (selected mailboxes INBOX) RECENT").await, ["Work ALL 1:3"]);
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    assert_eq!(found(&mut client, "IN (selected) RETURN (SAVE ALL) 1").await, ["Work ALL 2"]);
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH 1"]);
    for bound in ["1:2", "NOT $", "UID $"] {
        client.gives(&format!("ESEARCH IN (personal) {bound}"), "BAD").await;
    }
    client.gives("ESEARCH IN (selected personal) RETURN (SAVE) ALL", "BAD").await;
    client.ok("ENABLE UIDONLY").await;
    client.gives("ESEARCH IN (selected) 1", "BAD [UIDREQUIRED]").await;
}
