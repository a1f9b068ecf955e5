//! `letterlock serve --local`: the first thing that anybody tries.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use letterlock_testkit::ca::trusting_client_config;
use letterlock_testkit::{imap, smtp};
use rustix::process::{Pid, Signal, kill_process};

use crate::letter::message;
use crate::mail::wait_for_mail;

const BINARY: &str = env!("CARGO_BIN_EXE_letterlock");
const PORTS: [u16; 7] = [2025, 2110, 2143, 2465, 2587, 2993, 2995];
const DEMO: &str = "demo@example.test";

/// Kills what a failing test leaves.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it and reads what it prints up to its last line.
fn start(data: &std::path::Path) -> Result<(Running, String)> {
    let mut child = Command::new(BINARY)
        .args(["serve", "--local", "--data"])
        .arg(data)
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = child.stdout.take().context("no output")?;
    let running = Running(child);
    let mut printed = String::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        printed.push_str(&line);
        printed.push('\n');
        if line.contains("Ctrl-C") {
            return Ok((running, printed));
        }
    }
    anyhow::bail!("it ended: {printed}")
}

fn stop(mut running: Running) -> Result<()> {
    let pid = i32::try_from(running.0.id()).ok().and_then(Pid::from_raw).context("a process id")?;
    kill_process(pid, Signal::TERM)?;
    ensure!(running.0.wait()?.success());
    Ok(())
}

fn password(printed: &str) -> Result<&str> {
    let line = printed.lines().find_map(|line| line.trim().strip_prefix("password"));
    Ok(line.with_context(|| format!("no password in {printed}"))?.trim())
}

#[tokio::test]
async fn serve_local_works_out_of_the_box_on_loopback_with_the_account_that_it_prints() -> Result<()>
{
    let free = |port: &u16| {
        TcpListener::bind(("127.0.0.1", *port)).is_ok() && TcpListener::bind(("::1", *port)).is_ok()
    };
    if !PORTS.iter().all(free) {
        println!("skipped: a port of {PORTS:?} is taken, or there is no IPv6");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let (running, printed) = start(&data)?;
    for port in PORTS {
        ensure!(printed.contains(&format!(":{port}")), "{port} is not told: {printed}");
    }
    ensure!(printed.contains(DEMO), "{printed}");
    let secret = password(&printed)?.to_owned();
    ensure!(std::fs::read_to_string(data.join("demo-password"))?.trim_end() == secret);

    let tls = trusting_client_config()?;
    let name = "mail.example.test";
    let mut client =
        smtp::Client::connect_tls("127.0.0.1:2465".parse()?, tls.clone(), name).await?;
    client.ehlo("client.test").await?;
    ensure!(client.auth_plain(DEMO, &secret).await?.code == 235);
    let own = format!("From: {DEMO}\r\nSubject: own\r\n\r\nx\r\n");
    ensure!(client.deliver(DEMO, &[DEMO], own.as_bytes()).await?.code == 250);
    let mut client = smtp::Client::connect("[::1]:2025".parse()?).await?;
    client.ehlo("client.test").await?;
    ensure!(client.deliver("bob@elsewhere.test", &[DEMO], &message("other")).await?.code == 250);
    let mut client =
        imap::Client::connect_tls("127.0.0.1:2993".parse()?, tls.clone(), name).await?;
    client.login(DEMO, &secret).await?;
    wait_for_mail(&mut client, "INBOX", 2).await?;
    stop(running)?;

    let (running, printed) = start(&data)?;
    ensure!(password(&printed)? == secret, "the password changed");
    let mut client = imap::Client::connect_tls("127.0.0.1:2993".parse()?, tls, name).await?;
    client.login(DEMO, &secret).await?;
    ensure!(wait_for_mail(&mut client, "INBOX", 2).await?.len() == 2);
    stop(running)
}
