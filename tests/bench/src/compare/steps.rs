//! The steps of a reader: what is sent, what it has to bring, and in which row its time goes.

use std::time::Instant;

use anyhow::{Context as _, bail};

use super::letters::{PEOPLE, letter};
use super::session::{Side, milliseconds};
use crate::imap::Client;
use crate::messages::reference;
use crate::report::median;

/// What a command has to bring, so that no server is quick because it does less.
#[derive(Clone, Copy)]
pub(super) enum Brings {
    /// Anything.
    Any,
    /// This many FETCH responses, or one for each message of the mailbox.
    Fetches(Option<u32>),
    /// One literal at least.
    Body,
    /// Numbers: one of this many messages of the mailbox.
    OneOf(u32),
    /// No number.
    Nothing,
}

/// A step of the comparison.
pub(super) enum Step {
    /// One message after another, or several connections, or several messages a command.
    Append { row: &'static str, share: u32, connections: u32, batch: u32 },
    /// A server that was just started and has done its pending work.
    Restart,
    /// TLS and login of accounts that nobody is logged in to, with their password; then once more.
    Logins,
    /// The same with the credential of least cost.
    LightLogins,
    /// The first SELECT of a session.
    SelectFirst,
    /// Commands, each this often, in turn. `#` is a message from all over the mailbox, another one each time, and `^` a
    /// hundred of them.
    Commands { row: &'static str, commands: Vec<String>, times: u32, brings: Brings },
    /// The same without a row, to bring both servers into the state that the next row wants.
    Prepare(Vec<String>),
    /// Another message comes, and the session hears of it.
    New,
    /// EXPUNGE of every second message.
    Expunge,
    /// MOVE of the first messages, this many.
    Move(u32),
    /// What a client that was away asks for, when one per cent has changed meanwhile.
    Resync,
    /// From a change by one session until another one in IDLE hears of it.
    Notice,
    /// Waits until the server does nothing: search indexes are made when nobody is there.
    Quiet,
}

/// A figure: its row, its unit, its value.
pub(super) type Figure = (&'static str, &'static str, f64);

impl Step {
    /// The row of a step that has exactly one and that nothing after it needs.
    pub(super) fn row(&self) -> Option<&'static str> {
        match self {
            Self::Commands { row, .. } => Some(row),
            _ => None,
        }
    }

    /// Takes the step, and gives its figures.
    pub(super) async fn take(&self, side: &mut Side, total: u32) -> anyhow::Result<Vec<Figure>> {
        let ms = |row, value| Ok(vec![(row, "ms", value)]);
        match self {
            Self::Append { row, share, connections, batch } => {
                ms(*row, side.append(total / share, *connections, *batch).await?)
            }
            Self::Restart => side.restart().await.map(|()| Vec::new()),
            Self::Quiet => side.stage.process()?.quiet().await.map(|()| Vec::new()),
            Self::Logins => logins(side).await,
            Self::LightLogins => light_logins(side).await,
            Self::SelectFirst => {
                ms("SELECT, first of a session", side.timed("SELECT INBOX").await?.0)
            }
            Self::Commands { row, commands, times, brings } => {
                ms(*row, repeated(side, commands, *times, *brings).await?)
            }
            Self::Prepare(commands) => {
                for command in commands {
                    side.client().await?.command(command).await?;
                }
                Ok(Vec::new())
            }
            Self::New => {
                side.append(1, 1, 1).await?;
                side.timed("NOOP").await?;
                Ok(Vec::new())
            }
            Self::Expunge => ms("EXPUNGE of half", expunge(side).await?),
            Self::Move(count) => {
                let took = side.timed(&format!("MOVE 1:{count} Moved")).await?.0;
                side.messages -= count;
                side.check().await?;
                ms("MOVE of 1,000", took)
            }
            Self::Resync => ms("resync by QRESYNC, 1 % changed", resync(side).await?),
            Self::Notice => notices(side).await,
        }
    }
}

/// Accounts whose logins are timed; they are the last ones.
pub(super) const LOGINS: usize = 8;

/// How many milliseconds it takes until a login is answered, and the server's CPU for it. The session ends again.
async fn login(side: &Side, times: usize) -> anyhow::Result<(f64, f64)> {
    let (process, first) = (side.stage.process()?, side.stage.accounts.len() - LOGINS);
    let (mut took, before) = (Vec::new(), process.cpu()?);
    for number in 0..times {
        let account = &side.stage.accounts[first + number % LOGINS];
        let start = Instant::now();
        let client = side.stage.reader(account).await?;
        took.push(milliseconds(start));
        client.logout().await?;
    }
    process.quiet().await?;
    let cpu = (process.cpu()? - before).as_secs_f64() * 1e3 / times as f64;
    Ok((median(&took), cpu))
}

async fn logins(side: &mut Side) -> anyhow::Result<Vec<Figure>> {
    let (first, first_cpu) = login(side, LOGINS).await?;
    let (again, again_cpu) = login(side, LOGINS * 2).await?;
    Ok(vec![
        ("TLS and login, password", "ms", first),
        ("TLS and login, password: server CPU", "ms", first_cpu),
        ("TLS and login, password, while another session was just there", "ms", again),
        ("the same: server CPU", "ms", again_cpu),
    ])
}

async fn light_logins(side: &mut Side) -> anyhow::Result<Vec<Figure>> {
    // An account without mail: nothing is indexed behind its back.
    let number = side.stage.accounts.len() - LOGINS;
    let Some(light) = side.stage.light(number).await? else { return Ok(Vec::new()) };
    let (address, tls) = (side.stage.imaps(), side.stage.tls.clone());
    let (process, mut took) = (side.stage.process()?, Vec::new());
    process.quiet().await?;
    let before = process.cpu()?;
    for _ in 0..4 * LOGINS {
        let start = Instant::now();
        let client = Client::login(address, Some(&tls), &light.address, &light.password).await?;
        took.push(milliseconds(start));
        client.logout().await?;
    }
    process.quiet().await?;
    let cpu = (process.cpu()? - before).as_secs_f64() * 1e3 / took.len() as f64;
    Ok(vec![
        ("TLS and login, app password (there: salted SHA-256)", "ms", median(&took)),
        ("TLS and login, app password: server CPU", "ms", cpu),
    ])
}

/// The median of all commands' times.
async fn repeated(
    side: &mut Side,
    commands: &[String],
    times: u32,
    brings: Brings,
) -> anyhow::Result<f64> {
    let (mut took, all) = (Vec::new(), side.messages);
    for time in 0..times {
        let place = u64::from(time) * u64::from(all) / u64::from(times) + 1;
        let last = (place + 99).min(u64::from(all));
        for command in commands {
            let command =
                command.replace('#', &place.to_string()).replace('^', &format!("{place}:{last}"));
            let (time, brought) = side.timed(&command).await?;
            let good = match brings {
                Brings::Any => true,
                Brings::Fetches(count) => brought.fetched >= count.unwrap_or(all),
                Brings::Body => brought.literals > 0,
                // What was moved and expunged before may have taken some.
                Brings::OneOf(share) => (all / share / 2..=all / share * 2).contains(&brought.hits),
                Brings::Nothing => brought.hits == 0,
            };
            if !good {
                bail!("{command} brought {brought:?} of {all} messages");
            }
            took.push(time);
        }
    }
    Ok(median(&took))
}

async fn expunge(side: &mut Side) -> anyhow::Result<f64> {
    let odd: Vec<String> = (1..=side.messages).step_by(2).map(|n| n.to_string()).collect();
    for part in odd.chunks(500) {
        side.timed(&format!("STORE {} +FLAGS.SILENT (\\Deleted)", part.join(","))).await?;
    }
    let took = side.timed("EXPUNGE").await?.0;
    side.messages -= u32::try_from(odd.len())?;
    side.check().await?;
    Ok(took)
}

/// A session that was away knows UIDVALIDITY and HIGHESTMODSEQ; one message in a hundred gets a flag meanwhile, and one
/// in a thousand goes.
async fn resync(side: &mut Side) -> anyhow::Result<f64> {
    let mut other = side.another().await?;
    let known = other.command("SELECT INBOX (CONDSTORE)").await?;
    other.logout().await?;
    let modseq = known.modseq.context("no HIGHESTMODSEQ")?;
    let validity = known.validity.context("no UIDVALIDITY")?;
    let every = |step: usize, from: u32| -> Vec<String> {
        (from..=side.messages).step_by(step).map(|n| n.to_string()).collect()
    };
    let (changed, gone) = (every(100, 1), every(1000, 2));
    side.timed(&format!("STORE {} +FLAGS.SILENT ($Seen2)", changed.join(","))).await?;
    side.timed(&format!("STORE {} +FLAGS.SILENT (\\Deleted)", gone.join(","))).await?;
    side.timed("EXPUNGE").await?;
    side.messages -= u32::try_from(gone.len())?;
    let mut took = Vec::new();
    for _ in 0..5 {
        let mut back = side.another().await?;
        back.command("ENABLE QRESYNC").await?;
        let start = Instant::now();
        let command = format!("SELECT INBOX (QRESYNC ({validity} {modseq}))");
        let brought = back.command(&command).await?;
        took.push(milliseconds(start));
        if (brought.fetched as usize) < changed.len() - 1 {
            bail!("QRESYNC brought {} changes, not {}", brought.fetched, changed.len());
        }
        back.logout().await?;
    }
    Ok(median(&took))
}

/// How often a notice is waited for.
const NOTICES: u32 = 9;

async fn notices(side: &mut Side) -> anyhow::Result<Vec<Figure>> {
    let mut hears = side.another().await?;
    hears.command("SELECT INBOX").await?;
    hears.idle().await?;
    let (mut flags, mut arrivals) = (Vec::new(), Vec::new());
    let address = side.owner()?.address.clone();
    for number in 0..NOTICES {
        let sign = if number % 2 == 0 { '+' } else { '-' };
        let start = Instant::now();
        side.client().await?.command(&format!("STORE 1 {sign}FLAGS.SILENT (\\Draft)")).await?;
        hears.until(b" FETCH ").await?;
        flags.push(milliseconds(start));
    }
    for number in 0..NOTICES {
        let mail = letter(1_000_000 + number, &address, side.size);
        let start = Instant::now();
        side.client().await?.append(&mail).await?;
        hears.until(b" EXISTS").await?;
        arrivals.push(milliseconds(start));
    }
    side.messages += NOTICES;
    hears.done().await?;
    hears.logout().await?;
    Ok(vec![
        ("IDLE: from a STORE until another session hears", "ms", median(&flags)),
        ("IDLE: from an APPEND until another session hears", "ms", median(&arrivals)),
    ])
}

/// All steps, in their order.
pub(super) fn all() -> Vec<Step> {
    let mut steps = vec![
        Step::Append { row: "APPEND, one by one, a message", share: 20, connections: 1, batch: 1 },
        Step::Append {
            row: "APPEND, 8 connections, a message",
            share: 4,
            connections: 8,
            batch: 1,
        },
        Step::Append {
            row: "APPEND of 50 at once, a message",
            share: 10,
            connections: 1,
            batch: 50,
        },
    ];
    // The rest, so that the mailbox is full.
    steps.push(Step::Append { row: "", share: 5, connections: 2, batch: 50 });
    steps.push(Step::Append { row: "", share: 5, connections: 2, batch: 50 });
    steps.push(Step::Append { row: "", share: 5, connections: 2, batch: 50 });
    steps.extend([Step::Restart, Step::Logins, Step::LightLogins]);
    steps.extend(lists());
    steps.extend(searches());
    steps.extend(orders());
    steps.extend(changes());
    steps
}

fn row(row: &'static str, command: &str, times: u32, brings: Brings) -> Step {
    Step::Commands { row, commands: vec![command.to_owned()], times, brings }
}

fn lists() -> Vec<Step> {
    let all = Brings::Fetches(None);
    let headers = "FETCH 1:* (ENVELOPE BODYSTRUCTURE)";
    // What Thunderbird asks for.
    let fields = "FETCH ^ (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date \
                  Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])";
    let hundred = Brings::Fetches(Some(100));
    vec![
        Step::SelectFirst,
        row("SELECT, again", "SELECT INBOX", 51, Brings::Any),
        row("ENVELOPE BODYSTRUCTURE of all, never asked for before", headers, 1, all),
        row("ENVELOPE BODYSTRUCTURE of all, again", headers, 5, all),
        Step::Restart,
        Step::Prepare(vec!["SELECT INBOX".to_owned()]),
        row("ENVELOPE BODYSTRUCTURE of all, first of a session", headers, 1, all),
        row("header fields of 100, never asked for before", fields, 20, hundred),
        row("header fields of 100, again", fields, 20, hundred),
        row("FLAGS of all", "FETCH 1:* (UID FLAGS)", 5, all),
        row("PREVIEW of 100, never asked for before", "FETCH ^ (UID PREVIEW)", 20, hundred),
        row("PREVIEW of 100, again", "FETCH ^ (UID PREVIEW)", 20, hundred),
        row("one body", "FETCH # BODY.PEEK[]", 101, Brings::Body),
        row("1,000 bodies", "FETCH 1:1000 BODY.PEEK[]", 3, Brings::Fetches(Some(1000))),
    ]
}

fn searches() -> Vec<Step> {
    let (word, person) = (reference(7), "person7@");
    vec![
        Step::Quiet,
        Step::Prepare(vec![
            "STORE 1:* -FLAGS.SILENT (\\Flagged)".to_owned(),
            "STORE 50,150,250 +FLAGS.SILENT (\\Flagged)".to_owned(),
            // Whoever indexes at the first search does so here.
            "SEARCH TEXT \"notthereatall\"".to_owned(),
            "SEARCH FROM \"person7@\"".to_owned(),
            "SEARCH SUBJECT \"notthereatall\"".to_owned(),
        ]),
        Step::Quiet,
        row("SEARCH of a flag", "SEARCH FLAGGED", 21, Brings::Any),
        row("SEARCH FROM", &format!("SEARCH FROM \"{person}\""), 5, Brings::OneOf(PEOPLE)),
        row("SEARCH SUBJECT, nowhere", "SEARCH SUBJECT \"notthereatall\"", 5, Brings::Nothing),
        row("SEARCH TEXT, in 1 %", &format!("SEARCH TEXT \"{word}\""), 3, Brings::OneOf(100)),
        row("SEARCH TEXT, nowhere", "SEARCH TEXT \"notthereeither\"", 3, Brings::Nothing),
        row(
            "SEARCH BODY, a phrase in 1 %",
            &format!("SEARCH BODY \"Reference {word}\""),
            3,
            Brings::OneOf(100),
        ),
        row("SEARCH BODY, in all", "SEARCH BODY \"reference\"", 3, Brings::OneOf(1)),
    ]
}

fn orders() -> Vec<Step> {
    let orders = [
        ("SORT by date", "SORT by date, after a new message", "SORT (DATE) UTF-8 ALL"),
        ("SORT by subject", "SORT by subject, after a new message", "SORT (SUBJECT) UTF-8 ALL"),
        ("SORT by sender", "SORT by sender, after a new message", "SORT (FROM) UTF-8 ALL"),
        (
            "THREAD=REFERENCES",
            "THREAD=REFERENCES, after a new message",
            "THREAD REFERENCES UTF-8 ALL",
        ),
    ];
    let again = orders.into_iter().flat_map(|(name, _, command)| {
        [Step::Prepare(vec![command.to_owned()]), row(name, command, 5, Brings::OneOf(1))]
    });
    let anew = orders
        .into_iter()
        .flat_map(|(_, name, command)| [Step::New, row(name, command, 1, Brings::OneOf(1))]);
    again.chain(anew).collect()
}

fn changes() -> Vec<Step> {
    let both = |text: &str| vec![text.replace('~', "+"), text.replace('~', "-")];
    let store =
        |row, text, times, brings| Step::Commands { row, commands: both(text), times, brings };
    vec![
        store("STORE of one", "STORE # ~FLAGS (\\Flagged)", 51, Brings::Fetches(Some(1))),
        store("STORE of all", "STORE 1:* ~FLAGS (\\Answered)", 2, Brings::Fetches(None)),
        Step::Prepare(vec!["CREATE Copies".to_owned(), "CREATE Moved".to_owned()]),
        row("COPY of one", "COPY # Copies", 21, Brings::Any),
        row("COPY of 1,000", "COPY 1:1000 Copies", 3, Brings::Any),
        Step::Resync,
        Step::Notice,
        Step::Move(1000),
        Step::Expunge,
    ]
}
