//! What idle sessions hold in memory.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;

use super::letters::letter;
use super::session::Side;
use super::steps::LOGINS;
use super::{Table, Whose};
use crate::gauge::memory_available;
use crate::imap::Client;
use crate::stage::Account;

/// Logins under way at a time.
const AT_ONCE: usize = 16;
/// Messages in each mailbox.
const MESSAGES: u32 = 100;
/// How long everything is left alone before memory is read.
const SETTLE: Duration = Duration::from_secs(5);
/// KiB that the machine has to have left.
const RESERVE: f64 = 3.0 * 1024.0 * 1024.0;

/// Opens sessions in IDLE over TLS until there are as many as wanted, and notes what memory grew by for each, at each of
/// the numbers. A server that takes no more is noted with the number at which it stopped.
pub(super) async fn measure(
    numbers: &[u32],
    whose: Whose,
    side: &mut Side,
    table: &mut Table,
) -> anyhow::Result<()> {
    if numbers.iter().all(|number| *number == 0) {
        return Ok(());
    }
    side.restart().await?;
    let accounts = accounts(side).await?;
    side.restart().await?;
    let process = side.stage.process()?;
    // One of each account first: what an account costs is not what a session costs.
    let mut sessions = Vec::new();
    open(side, &accounts, accounts.len(), &mut sessions).await?;
    tokio::time::sleep(SETTLE).await;
    let (base, own) = (process.proportional()?, sessions.len());
    for number in numbers {
        let wanted = own + *number as usize;
        let ended = open(side, &accounts, wanted, &mut sessions).await;
        tokio::time::sleep(SETTLE).await;
        let count = (sessions.len() - own) as f64;
        let each = (process.proportional()? - base) / count;
        table.note(&format!("memory of an idle session, of {number}"), "KiB", whose, each);
        table.note(&format!("processes, {number} idle sessions"), "", whose, process.count());
        if let Err(error) = ended {
            eprintln!("{whose:?} stopped at {count} idle sessions: {error:#}");
            table.note("idle sessions when no more were taken", "", whose, count);
            break;
        }
    }
    Ok(())
}

/// The accounts for logins, with some messages each, and their credentials of least cost.
async fn accounts(side: &mut Side) -> anyhow::Result<Vec<Account>> {
    let first = side.stage.accounts.len() - LOGINS;
    let mut accounts = Vec::new();
    for number in first..side.stage.accounts.len() {
        let account = side.stage.accounts[number].clone();
        let light = side.stage.light(number).await?.unwrap_or(account);
        let mut client = login(side, &light).await?;
        let mail: Vec<_> =
            (0..MESSAGES).map(|number| letter(number, &light.address, 2000)).collect();
        client.append_all(&mail).await?;
        accounts.push(light);
    }
    Ok(accounts)
}

async fn login(side: &Side, account: &Account) -> anyhow::Result<Client> {
    let (user, password) = (&account.address, &account.password);
    Client::login(side.stage.imaps(), Some(&side.stage.tls), user, password).await
}

/// Opens sessions, a few at a time, until there are `wanted`.
async fn open(
    side: &Side,
    accounts: &[Account],
    wanted: usize,
    sessions: &mut Vec<Client>,
) -> anyhow::Result<()> {
    let mut tasks: JoinSet<anyhow::Result<Client>> = JoinSet::new();
    let mut begun = sessions.len();
    while begun < wanted || !tasks.is_empty() {
        if begun < wanted && tasks.len() < AT_ONCE {
            if begun.is_multiple_of(500) && memory_available()? < RESERVE {
                anyhow::bail!("the machine's memory is used up");
            }
            let account = accounts[begun % accounts.len()].clone();
            let (address, tls) = (side.stage.imaps(), side.stage.tls.clone());
            tasks.spawn(async move {
                let (user, password) = (&account.address, &account.password);
                let mut client = Client::login(address, Some(&tls), user, password).await?;
                client.command("SELECT INBOX").await?;
                client.idle().await?;
                client.shrink();
                Ok(client)
            });
            begun += 1;
        } else if let Some(done) = tasks.join_next().await {
            sessions.push(done?.context("an idle session")?);
        }
    }
    Ok(())
}
