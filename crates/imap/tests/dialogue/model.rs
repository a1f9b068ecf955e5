//! Four sessions do at random what clients do to one mailbox; a model of it, some dozen lines long, must explain every
//! untagged response. Each follows two searches (RFC 5267), and one of them uses NOTIFY (RFC 5465).
//!
//! A few rounds run always; `LETTERLOCK_MODEL_ROUNDS` asks for more, `LETTERLOCK_MODEL_SEED` for certain ones.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Client, World, message};

const SESSIONS: usize = 4;
const STEPS: usize = 60;
const FLAGS: [&str; 4] = ["\\Seen", "\\Flagged", "\\Deleted", "Work"];

/// Small, fast and the same everywhere (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}

type Flags = BTreeSet<String>;

/// The mailbox as it is.
#[derive(Default)]
struct Truth {
    messages: BTreeMap<u32, Flags>,
    last_uid: u32,
    /// Every state of flags that a message ever had.
    history: BTreeMap<u32, Vec<Flags>>,
}

impl Truth {
    fn add(&mut self, uid: u32, flags: Flags) {
        assert!(uid > self.last_uid, "UID {uid} after {}", self.last_uid);
        self.last_uid = uid;
        self.set(uid, flags);
    }

    fn set(&mut self, uid: u32, flags: Flags) {
        self.history.entry(uid).or_default().push(flags.clone());
        self.messages.insert(uid, flags);
    }
}

/// What one client believes, by what it was told.
struct Session {
    client: Client,
    qresync: bool,
    /// The UID of each number.
    numbers: Vec<u32>,
    flags: BTreeMap<u32, Flags>,
    highest: u64,
    /// UIDs without `\Seen`, as the updates of a search have it.
    unseen: BTreeSet<u32>,
    /// UIDs without `\Deleted` by subject, as the updates of a sorted search have it.
    sorted: Vec<u32>,
    notifies: bool,
}

impl Session {
    async fn start(world: &World, index: usize) -> Session {
        let mut client = world.log_in().await;
        let qresync = index % 2 == 1;
        client.ok(if qresync { "ENABLE QRESYNC" } else { "ENABLE CONDSTORE" }).await;
        let mut session = Session {
            client,
            qresync,
            numbers: Vec::new(),
            flags: BTreeMap::new(),
            highest: 0,
            unseen: BTreeSet::new(),
            sorted: Vec::new(),
            notifies: index == 3,
        };
        session.client.ok("SELECT INBOX").await;
        session.client.send("u UID SEARCH RETURN (UPDATE) UNSEEN\r\n").await;
        session.client.until("u").await;
        session.client.send("s UID SORT RETURN (UPDATE) (SUBJECT) UTF-8 UNDELETED\r\n").await;
        session.client.until("s").await;
        if session.notifies {
            let wishes = "(selected (MessageNew (UID FLAGS) MessageExpunge FlagChange))";
            session.client.ok(&format!("NOTIFY SET {wishes}")).await;
        }
        session
    }

    /// `* ESEARCH (TAG "…") UID ADDTO (place set …)` and REMOVEFROM.
    fn update(&mut self, line: &str) -> Result<(), String> {
        let (head, pairs) =
            line.split_once(" (").and_then(|(_, rest)| rest.split_once(" (")).ok_or("no pairs")?;
        let words: Vec<&str> = pairs.trim_end_matches(')').split(' ').collect();
        for pair in words.chunks(2) {
            let place: usize = pair[0].parse().map_err(|_| "no place")?;
            for uid in expand(pair[1]) {
                let is_right = match (head.contains("\"u\""), head.ends_with("ADDTO"), place) {
                    (true, true, 0) => self.unseen.insert(uid),
                    (true, false, 0) => self.unseen.remove(&uid),
                    (false, true, 1..) if place <= self.sorted.len() + 1 => {
                        let is_new = !self.sorted.contains(&uid);
                        self.sorted.insert(place - 1, uid);
                        is_new
                    }
                    (false, false, 1..) if place <= self.sorted.len() => {
                        self.sorted.remove(place - 1) == uid
                    }
                    _ => false,
                };
                if !is_right {
                    return Err(format!("UID {uid} at {place} of {:?}", self.sorted));
                }
            }
        }
        Ok(())
    }

    /// Runs a command and takes in what it tells. `held` says that no message may lose its number meanwhile.
    async fn run(&mut self, truth: &Truth, command: &str, held: bool) -> (Vec<String>, String) {
        let mut lines = self.client.run(command).await;
        let tagged = lines.pop().unwrap();
        for line in &lines {
            self.take(truth, line, held).unwrap_or_else(|why| panic!("{command}: {line}: {why}"));
        }
        (lines, tagged)
    }

    fn take(&mut self, truth: &Truth, line: &str, held: bool) -> Result<(), String> {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["*", number, "EXPUNGE"] => {
                if held || self.qresync {
                    return Err("not now, or not in this form".into());
                }
                let number: usize = number.parse().map_err(|_| "no number")?;
                if number == 0 || number > self.numbers.len() {
                    return Err("no such message".into());
                }
                self.gone(truth, self.numbers[number - 1])
            }
            ["*", "VANISHED", uids] => {
                if held || !self.qresync {
                    return Err("not now, or not in this form".into());
                }
                expand(uids).into_iter().try_for_each(|uid| self.gone(truth, uid))
            }
            ["*", count, "EXISTS"] => {
                let count: usize = count.parse().map_err(|_| "no number")?;
                let last = self.numbers.last().copied().unwrap_or(0);
                // New ones have the next UIDs that were ever given out; which are still there is told in time.
                let news: Vec<u32> = truth.history.range(last + 1..).map(|(uid, _)| *uid).collect();
                let wanted = count.checked_sub(self.numbers.len()).ok_or("fewer messages")?;
                if wanted == 0 || wanted > news.len() {
                    return Err(format!("{wanted} new ones of {news:?}"));
                }
                // Those that came and went unseen have no number.
                let there: Vec<u32> =
                    news.into_iter().filter(|uid| truth.messages.contains_key(uid)).collect();
                if there.len() != wanted {
                    return Err(format!("{wanted} new ones, there are {there:?}"));
                }
                self.numbers.extend(there);
                Ok(())
            }
            ["*", number, "FETCH", ..] => self.fetched(truth, number, line),
            ["*", "ESEARCH", _, _, "UID", "ADDTO" | "REMOVEFROM", ..] => self.update(line),
            ["*", "OK" | "FLAGS" | "SEARCH" | "SORT" | "THREAD" | "ESEARCH", ..]
            | ["*", _, "RECENT"] => Ok(()),
            _ => Err("nobody asked for this".into()),
        }
    }

    fn gone(&mut self, truth: &Truth, uid: u32) -> Result<(), String> {
        if truth.messages.contains_key(&uid) {
            return Err(format!("UID {uid} is still there"));
        }
        let place = self.numbers.iter().position(|one| *one == uid);
        self.numbers.remove(place.ok_or(format!("UID {uid} had no number"))?);
        self.flags.remove(&uid);
        Ok(())
    }

    fn fetched(&mut self, truth: &Truth, number: &str, line: &str) -> Result<(), String> {
        let number: usize = number.parse().map_err(|_| "no number")?;
        let uid = *self.numbers.get(number - 1).ok_or("no message has this number")?;
        if let Some(told) = inside(line, "UID ")
            && told.parse() != Ok(uid)
        {
            return Err(format!("this is UID {uid}"));
        }
        if let Some(modseq) = inside(line, "MODSEQ (") {
            let modseq: u64 = modseq.parse().map_err(|_| "no number")?;
            self.highest = self.highest.max(modseq);
        }
        let Some(flags) = line.split("FLAGS (").nth(1).and_then(|rest| rest.split(')').next())
        else {
            return Ok(());
        };
        let flags: Flags = flags
            .split(' ')
            .filter(|flag| !matches!(*flag, "" | "\\Recent"))
            .map(str::to_owned)
            .collect();
        if !truth.history[&uid].contains(&flags) {
            return Err(format!("UID {uid} never had these flags: {:?}", truth.history[&uid]));
        }
        self.flags.insert(uid, flags);
        Ok(())
    }

    /// After NOOP nothing may be unknown.
    fn is_up_to_date(&self, truth: &Truth) {
        let there: Vec<u32> = truth.messages.keys().copied().collect();
        assert_eq!(self.numbers, there);
        for (uid, flags) in &self.flags {
            assert_eq!(Some(flags), truth.messages.get(uid), "UID {uid}");
        }
        let without = |flag: &str| -> BTreeSet<u32> {
            let all = truth.messages.iter().filter(|(_, flags)| !flags.contains(flag));
            all.map(|(uid, _)| *uid).collect()
        };
        assert_eq!(self.unseen, without("\\Seen"));
        assert_eq!(self.sorted.iter().copied().collect::<BTreeSet<u32>>(), without("\\Deleted"));
    }

    /// What the updates of the sorted search made is what it finds.
    async fn is_in_order(&mut self) {
        let lines = self.client.ok("UID SORT (SUBJECT) UTF-8 UNDELETED").await;
        let found = lines[0].strip_prefix("* SORT").unwrap().split_whitespace();
        assert_eq!(self.sorted, found.map(|uid| uid.parse().unwrap()).collect::<Vec<u32>>());
    }
}

fn inside<'l>(line: &'l str, word: &str) -> Option<&'l str> {
    line.split(word).nth(1)?.split([' ', ')']).next()
}

fn expand(set: &str) -> Vec<u32> {
    let number = |text: &str| text.parse::<u32>().unwrap();
    set.split(',')
        .flat_map(|range| match range.split_once(':') {
            Some((first, last)) => number(first)..=number(last),
            None => number(range)..=number(range),
        })
        .collect()
}

/// Some numbers that the client knows, as a set and as UIDs.
fn some(session: &Session, random: &mut Random) -> (String, Vec<u32>) {
    let (one, other) = (random.below(session.numbers.len()), random.below(session.numbers.len()));
    let (first, last) = (one.min(other), one.max(other).min(one.min(other) + 3));
    (format!("{}:{}", first + 1, last + 1), session.numbers[first..=last].to_vec())
}

async fn append(session: &mut Session, truth: &mut Truth, random: &mut Random) {
    let flag = FLAGS[random.below(FLAGS.len())];
    let mail = message(&format!("s{}", random.below(5)), "text");
    session.client.send(format!("t APPEND INBOX ({flag}) {{{}+}}\r\n{mail}\r\n", mail.len())).await;
    let mut lines = session.client.until("t").await;
    let tagged = lines.pop().unwrap();
    let uid = tagged.split([' ', ']']).nth(4).and_then(|uid| uid.parse().ok());
    truth.add(uid.unwrap_or_else(|| panic!("{tagged}")), [flag.to_owned()].into());
    for line in lines {
        session.take(truth, &line, false).unwrap_or_else(|why| panic!("APPEND: {line}: {why}"));
    }
}

async fn store(session: &mut Session, truth: &mut Truth, random: &mut Random) {
    let (numbers, uids) = some(session, random);
    let flag = FLAGS[random.below(FLAGS.len())];
    let by_uid = random.below(2) == 0;
    let sign = ["+", "-", ""][random.below(3)];
    let silent = if random.below(3) == 0 { ".SILENT" } else { "" };
    let since = (random.below(4) == 0).then_some(session.highest);
    // Without a condition, all that are there are changed; the model knows before the answer comes.
    let set = match by_uid {
        true => format!("UID STORE {}:{}", uids[0], uids[uids.len() - 1]),
        false => format!("STORE {numbers}"),
    };
    let condition = since.map(|since| format!(" (UNCHANGEDSINCE {since})")).unwrap_or_default();
    let command = format!("{set}{condition} {sign}FLAGS{silent} ({flag})");
    let mut lines = session.client.run(&command).await;
    let tagged = lines.pop().unwrap();
    let left_alone: BTreeSet<u32> = match inside(&tagged, "[MODIFIED ") {
        Some(set) => {
            let set = expand(set.trim_end_matches(']'));
            let uid =
                |number: u32| if by_uid { number } else { session.numbers[number as usize - 1] };
            set.into_iter().map(uid).collect()
        }
        None => BTreeSet::new(),
    };
    assert!(left_alone.is_empty() || since.is_some(), "{command}: {tagged}");
    let mut own = Vec::new();
    for uid in uids.into_iter().filter(|uid| !left_alone.contains(uid)) {
        let Some(old) = truth.messages.get(&uid) else { continue };
        let mut flags = old.clone();
        match sign {
            "+" => {
                flags.insert(flag.to_owned());
            }
            "-" => {
                flags.remove(flag);
            }
            _ => flags = [flag.to_owned()].into(),
        }
        truth.set(uid, flags.clone());
        own.push((uid, flags));
    }
    // Responses about what others did come before the own ones: the last one of each message counts.
    for line in lines {
        session
            .take(truth, &line, !by_uid)
            .unwrap_or_else(|why| panic!("{command}: {line}: {why}"));
    }
    // Of what it does in silence, a client keeps count itself.
    for (uid, flags) in own {
        if !silent.is_empty() && session.flags.contains_key(&uid) {
            session.flags.insert(uid, flags);
        }
    }
}

async fn expunge(session: &mut Session, truth: &mut Truth) {
    let doomed: Vec<u32> = truth
        .messages
        .iter()
        .filter(|(_, flags)| flags.contains("\\Deleted"))
        .map(|(uid, _)| *uid)
        .collect();
    for uid in doomed {
        truth.messages.remove(&uid);
    }
    let (_, tagged) = session.run(truth, "EXPUNGE", false).await;
    assert!(tagged.starts_with("t OK"), "{tagged}");
    session.is_up_to_date(truth);
}

async fn look(session: &mut Session, truth: &Truth, random: &mut Random) {
    let (numbers, uids) = some(session, random);
    let (command, held) = match random.below(6) {
        0 => (format!("FETCH {numbers} (UID FLAGS MODSEQ)"), true),
        1 => (format!("UID FETCH {}:* FLAGS", uids[0]), false),
        2 => ("SEARCH ALL".to_owned(), true),
        3 => ("UID SEARCH UNSEEN".to_owned(), false),
        4 => ("SORT (SUBJECT REVERSE ARRIVAL) UTF-8 ALL".to_owned(), true),
        _ => (format!("FETCH 1:* (FLAGS) (CHANGEDSINCE {})", session.highest.max(1)), true),
    };
    let (lines, tagged) = session.run(truth, &command, held).await;
    let gone = tagged.starts_with("t NO [EXPUNGEISSUED]");
    assert!(tagged.starts_with("t OK") || gone, "{command}: {tagged}");
    if let Some(found) = lines.iter().find_map(|line| line.strip_prefix("* SEARCH")) {
        let found = found.split_whitespace().map(|number| number.parse::<u32>().unwrap());
        for number in found {
            let is_uid = command.starts_with("UID");
            let known = is_uid || session.numbers.get(number as usize - 1).is_some();
            assert!(known, "{command}: {number}");
        }
    }
}

async fn round(seed: u64) {
    let world = World::start().await;
    let mut random = Random(seed | 1);
    let mut truth = Truth::default();
    let mut sessions = Vec::new();
    for index in 0..SESSIONS {
        sessions.push(Session::start(&world, index).await);
    }
    for _ in 0..STEPS {
        let turn = random.below(SESSIONS);
        let session = &mut sessions[turn];
        let choice = if session.numbers.is_empty() { random.below(2) } else { random.below(12) };
        match choice {
            0 | 2 | 3 => append(session, &mut truth, &mut random).await,
            1 => {
                session.run(&truth, "NOOP", false).await;
                session.is_up_to_date(&truth);
            }
            4..=7 => store(session, &mut truth, &mut random).await,
            8 => expunge(session, &mut truth).await,
            _ => look(session, &truth, &mut random).await,
        }
        // Who uses NOTIFY hears of everything at once, and so before the next step.
        for session in sessions.iter_mut().filter(|session| session.notifies) {
            session.run(&truth, "NOOP", false).await;
            session.is_up_to_date(&truth);
        }
    }
    for session in &mut sessions {
        session.run(&truth, "NOOP", false).await;
        session.is_up_to_date(&truth);
        session.is_in_order().await;
        let (_, tagged) = session.run(&truth, "UID FETCH 1:* (FLAGS)", false).await;
        assert!(tagged.starts_with("t OK"), "{tagged}");
        assert_eq!(session.flags, truth.messages);
    }
}

#[tokio::test]
async fn the_model_explains_every_response() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let rounds = number("LETTERLOCK_MODEL_ROUNDS").unwrap_or(6);
    let first = number("LETTERLOCK_MODEL_SEED").unwrap_or(0x5eed);
    for seed in first..first + rounds {
        println!("seed {seed}");
        round(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).await;
    }
}
