//! Sessions that work on one mailbox at random, side by side, each counting along as a client does.

use crate::support::{Client, World, message};

/// What a client knows: the UID of each number, once it has seen it.
struct Counting {
    client: Client,
    uids: Vec<Option<u32>>,
    random: u64,
}

impl Counting {
    fn random(&mut self, below: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % below.max(1)
    }

    async fn run(&mut self, command: &str) {
        let lines = self.client.run(command).await;
        let holds = ["FETCH", "STORE", "SEARCH"].iter().any(|name| command.starts_with(name));
        for line in &lines {
            let words: Vec<&str> = line.split([' ', '(', ')']).collect();
            let number = || words[1].parse::<usize>().unwrap();
            match (words[0], words.get(2)) {
                ("*", Some(&"EXISTS")) => {
                    assert!(number() >= self.uids.len(), "{command}: {lines:?}");
                    self.uids.resize(number(), None);
                }
                ("*", Some(&"EXPUNGE")) => {
                    assert!(!holds, "{command}: {lines:?}");
                    self.uids.remove(number() - 1);
                }
                ("*", Some(&"FETCH")) => {
                    let known = &mut self.uids[number() - 1];
                    let uid = words
                        .iter()
                        .position(|word| *word == "UID")
                        .map(|at| words[at + 1].parse().unwrap());
                    assert!(
                        known.is_none() || uid.is_none() || *known == uid,
                        "{command}: {line}, was {known:?}"
                    );
                    *known = known.or(uid);
                }
                _ => {}
            }
        }
    }

    async fn step(&mut self) {
        let number = self.random(self.uids.len()) + 1;
        match self.random(9) {
            0 | 1 => self.run(&format!("FETCH {number}:* (UID FLAGS)")).await,
            2 => self.run(&format!("STORE {number} +FLAGS (\\Deleted)")).await,
            3 => self.run(&format!("UID STORE {number}:* -FLAGS.SILENT (\\Flagged)")).await,
            4 => self.run("EXPUNGE").await,
            5 => self.run(&format!("COPY {number} INBOX")).await,
            6 => self.run(&format!("UID MOVE {number} INBOX")).await,
            7 => self.run("SEARCH UNDELETED").await,
            _ => self.run("NOOP").await,
        }
    }
}

#[tokio::test]
async fn everybody_counts_the_same() {
    let world = World::start().await;
    let mut first = world.log_in().await;
    for number in 0..12 {
        first.append("INBOX", "", &message(&format!("m{number}"), "x")).await;
    }
    let mut tasks = Vec::new();
    for seed in 1..=4 {
        let mut counting =
            Counting { client: world.log_in().await, uids: Vec::new(), random: seed };
        counting.run("SELECT INBOX").await;
        tasks.push(tokio::spawn(async move {
            for _ in 0..120 {
                counting.step().await;
            }
            counting
        }));
    }
    let mut after = Vec::new();
    for task in tasks {
        after.push(task.await.unwrap());
    }
    let mut lists = Vec::new();
    for mut counting in after {
        counting.run("NOOP").await;
        counting.run("UID FETCH 1:* (UID)").await;
        lists.push(counting.uids);
    }
    assert!(lists[0].iter().all(Option::is_some));
    assert!(lists.windows(2).all(|two| two[0] == two[1]), "{lists:?}");
}
