//! The commands that speak to a server, running or not.

pub(crate) mod account;
pub(crate) mod alias;
pub(crate) mod config;
pub(crate) mod domain;
pub(crate) mod organisation;
mod progress;
pub(crate) mod queue;
pub(crate) mod verify;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use letterlock_admin::{Reporter, Request, Response, Secret, control};
use letterlock_config::Settings;

use self::progress::Shown;
use crate::Failure;
use crate::stores::{Lock, Stores};

/// Reads the configuration; what is wrong with it is the user's to mend.
pub(crate) fn settings(path: &Path) -> Result<Settings, Failure> {
    Settings::load(path, std::env::vars()).map_err(|error| Failure::Usage(error.to_string()))
}

/// Has a request carried out: by the running server, or with no server on the files.
pub(crate) fn carry_out(config: &Path, request: Request) -> Result<Response, Failure> {
    let settings = settings(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        let mut shown = Shown::default();
        let socket = settings.data_dir.join(control::SOCKET);
        let outcome = match control::call_with(&socket, &request, |heard| shown.show(&heard)).await
        {
            Ok(outcome) => outcome,
            Err(error) if reached(&error) => {
                let error = anyhow::Error::from(error);
                return Err(error.context("the server may or may not have done it").into());
            }
            Err(_) => on_files(&settings, request, &mut shown).await?,
        };
        outcome.map_err(|text| Failure::Failed(anyhow::Error::msg(text)))
    })
}

/// Whether somebody took the request and then gave no answer that makes sense. It must not be carried out a second
/// time then.
fn reached(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, InvalidData, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | InvalidData | UnexpectedEof)
}

/// No server answers: the same code works on the files, under the same lock.
async fn on_files(
    settings: &Settings,
    request: Request,
    shown: &mut Shown,
) -> Result<Result<Response, String>, Failure> {
    let lock = Lock::take(&settings.data_dir)?;
    let stores = Stores::open(settings, lock).await?;
    let admin = stores.admin(settings);
    let (reporter, mut heard) = Reporter::new();
    let outcome = {
        let work = admin.run_with(request, &reporter);
        tokio::pin!(work);
        loop {
            tokio::select! {
                outcome = &mut work => break outcome.map_err(|error| error.to_string()),
                Ok(()) = heard.changed() => shown.show(&heard.borrow_and_update()),
            }
        }
    };
    drop(admin);
    drop(stores.close().await);
    Ok(outcome)
}

/// `letterlock healthcheck`
pub(crate) fn healthcheck(config: &Path) -> Result<(), Failure> {
    let settings = settings(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let socket = settings.data_dir.join(control::SOCKET);
    runtime
        .block_on(async {
            tokio::time::timeout(
                std::time::Duration::from_secs(4),
                control::call(&socket, &Request::Health),
            )
            .await
        })
        .context("the server does not answer")?
        .with_context(|| format!("no server at {}", socket.display()))?
        .map_err(anyhow::Error::msg)?;
    Ok(())
}

/// Asks before something is destroyed; without a terminal `--yes` is needed.
pub(crate) fn confirm(what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!(
            "{what}: this needs --yes when there is no terminal to ask on"
        )));
    }
    eprint!("{what}. Go on? [y/N] ");
    std::io::stderr().flush().context("cannot ask")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    if answer.trim().eq_ignore_ascii_case("y") || answer.trim().eq_ignore_ascii_case("yes") {
        Ok(())
    } else {
        Err(Failure::Failed(anyhow::anyhow!("not done")))
    }
}

/// One secret a line from standard input; the line end is not part of it.
pub(crate) fn secret_line(what: &str) -> Result<Secret, Failure> {
    if std::io::stdin().is_terminal() {
        eprintln!("{what}:");
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read standard input")?;
    let secret = line.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(Failure::Usage(format!("standard input has no {what}")));
    }
    let secret = Secret::new(secret.to_owned());
    drop(zeroize::Zeroizing::new(line));
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_a_server_took_is_not_carried_out_twice() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let call = async |path: &Path| control::call(path, &Request::Health).await.unwrap_err();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("socket");
            assert!(!reached(&call(&path).await), "no socket");
            let listener = tokio::net::UnixListener::bind(&path).unwrap();
            let server = async { drop(listener.accept().await.unwrap()) };
            let (error, ()) = tokio::join!(call(&path), server);
            assert!(reached(&error), "{error}");
            drop(listener);
            assert!(!reached(&call(&path).await), "a socket that was left behind");
        });
    }
}
