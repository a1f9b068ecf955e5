//! A real Letterlock process with a folder, a configuration and ports of its own.

mod setup;

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

pub use setup::Setup;

use crate::ca::trusting_client_config;
use crate::{imap, pop3, smtp};
use setup::LISTENERS;

/// How long a start, a stop or a command may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition of another process is looked at.
const POLL: Duration = Duration::from_millis(5);
/// Lines of the log that an error shows.
const SHOWN: usize = 60;

impl Setup {
    /// Makes folder and configuration, starts the server and waits until it is ready.
    pub async fn start(self) -> anyhow::Result<Letterlock> {
        let mut server = self.prepare()?;
        server.start().await?;
        Ok(server)
    }

    /// Makes folder and configuration without starting the server, for commands that work without one.
    pub fn prepare(self) -> anyhow::Result<Letterlock> {
        let directory = TempDir::new()?;
        let data_dir = directory.path().join("data");
        std::fs::create_dir(&data_dir)?;
        let ports = self.ports()?;
        let config = directory.path().join("letterlock.toml");
        std::fs::write(&config, self.toml(&data_dir, &ports)?)?;
        Ok(Letterlock { setup: self, directory, data_dir, config, ports, child: None })
    }
}

/// A server process, or the place where one ran. Dropping it kills the process and removes its folder; if the test
/// is failing, the end of the log is printed.
#[derive(Debug)]
pub struct Letterlock {
    setup: Setup,
    directory: TempDir,
    data_dir: PathBuf,
    config: PathBuf,
    ports: [u16; 7],
    child: Option<Child>,
}

impl Letterlock {
    /// Starts the process, which must not run, and waits until every port and the control socket answer.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            bail!("the server runs already");
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let child = self
            .command(&["serve"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.setup.binary.display()))?;
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.exited()? {
                return Err(self.failed(&format!("the server ended at its start: {status}")));
            }
            if self.is_ready() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.failed("the server does not get ready"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn is_ready(&self) -> bool {
        UnixStream::connect(self.data_dir.join("control.sock")).is_ok()
            && self.listening().all(|address| std::net::TcpStream::connect(address).is_ok())
    }

    /// The addresses of the listeners that are not switched off.
    fn listening(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let listen = self.setup.sections.get("listen");
        LISTENERS.iter().zip(self.ports).filter_map(move |(name, port)| {
            let own = listen.is_some_and(|keys| keys.contains_key(*name));
            (!own).then(|| SocketAddr::new(self.setup.ip, port))
        })
    }

    /// Sends SIGTERM and waits for the end, which has to be a clean one.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.wait().await?;
        if !status.success() {
            return Err(self.failed(&format!("the server did not stop cleanly: {status}")));
        }
        Ok(())
    }

    /// Kills the process without warning (SIGKILL).
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the server does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Stops the process if it runs and starts it on the same folder and ports.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            self.terminate().await?;
        }
        self.start().await
    }

    /// Sends SIGHUP.
    pub fn reload(&self) -> anyhow::Result<()> {
        self.signal(Signal::HUP)
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid().context("the server does not run")?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, signal)?;
        Ok(())
    }

    /// Waits until the process has ended by itself.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if self.child.is_none() {
                bail!("the server does not run");
            }
            if Instant::now() > deadline {
                return Err(self.failed("the server does not end"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let status = match &mut self.child {
            Some(child) => child.try_wait()?,
            None => None,
        };
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    /// Runs a command of the binary with this server's configuration, whether the server runs or not.
    pub async fn cli(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        self.cli_with_input(arguments, "").await
    }

    /// The same with something on standard input.
    pub async fn cli_with_input(&self, arguments: &[&str], input: &str) -> anyhow::Result<Output> {
        let mut command = tokio::process::Command::from(self.command(arguments));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input closes it early.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        match tokio::time::timeout(PATIENCE, child.wait_with_output()).await {
            Ok(output) => Ok(output?),
            Err(_) => Err(self.failed(&format!("{arguments:?} does not end"))),
        }
    }

    /// Runs a command that has to succeed; what it printed.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run_with_input(arguments, "").await
    }

    /// The same with something on standard input.
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let output = self.cli_with_input(arguments, input).await?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(self.failed(&format!("{arguments:?}: {}\n{errors}", output.status)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Makes a domain local.
    pub async fn add_domain(&self, domain: &str) -> anyhow::Result<()> {
        self.run(&["domain", "add", domain]).await.map(drop)
    }

    /// Makes an account, whose domain has to be local, and gives its password.
    pub async fn add_account(&self, address: &str) -> anyhow::Result<String> {
        let password = format!("correct horse {address} staple");
        let arguments = ["account", "add", address, "--password-stdin"];
        self.run_with_input(&arguments, &format!("{password}\n")).await?;
        Ok(password)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.setup.binary);
        command
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .current_dir(self.directory.path())
            .env_clear()
            .envs(&self.setup.environment);
        command
    }

    /// Changes the configuration file; it counts from the next start or reload.
    pub fn configure(&mut self, change: impl FnOnce(Setup) -> Setup) -> anyhow::Result<()> {
        self.setup = change(self.setup.clone());
        std::fs::write(&self.config, self.setup.toml(&self.data_dir, &self.ports)?)?;
        Ok(())
    }

    /// The process id, while the process runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The name of the server.
    pub fn hostname(&self) -> &str {
        &self.setup.hostname
    }

    /// The folder of the server's files.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The configuration file.
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    /// All that the server wrote to standard output and standard error so far, all starts together.
    pub fn log(&self) -> String {
        std::fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn failed(&self, what: &str) -> anyhow::Error {
        anyhow!("{what}\n--- log of {} ---\n{}", self.setup.hostname, self.log_end())
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }

    fn address(&self, listener: usize) -> SocketAddr {
        SocketAddr::new(self.setup.ip, self.ports[listener])
    }

    /// SMTP of other servers.
    pub fn smtp(&self) -> SocketAddr {
        self.address(0)
    }

    /// Submission with STARTTLS.
    pub fn submission(&self) -> SocketAddr {
        self.address(1)
    }

    /// Submission over TLS.
    pub fn submissions(&self) -> SocketAddr {
        self.address(2)
    }

    /// IMAP with STARTTLS.
    pub fn imap(&self) -> SocketAddr {
        self.address(3)
    }

    /// IMAP over TLS.
    pub fn imaps(&self) -> SocketAddr {
        self.address(4)
    }

    /// POP3 with STLS.
    pub fn pop3(&self) -> SocketAddr {
        self.address(5)
    }

    /// POP3 over TLS.
    pub fn pop3s(&self) -> SocketAddr {
        self.address(6)
    }

    /// TLS for a client that takes any certificate of this server.
    pub fn client_tls(&self) -> anyhow::Result<Arc<rustls::ClientConfig>> {
        trusting_client_config()
    }

    /// A session on the SMTP port after EHLO, as another server has it.
    pub async fn smtp_client(&self) -> anyhow::Result<smtp::Client> {
        let mut client = smtp::Client::connect(self.smtp()).await?;
        client.ehlo("client.test").await?;
        Ok(client)
    }

    /// A session for submission over TLS, logged in.
    pub async fn submit_client(&self, user: &str, password: &str) -> anyhow::Result<smtp::Client> {
        let tls = self.client_tls()?;
        let mut client =
            smtp::Client::connect_tls(self.submissions(), tls, self.hostname()).await?;
        client.ehlo("client.test").await?;
        let reply = client.auth_plain(user, password).await?;
        if reply.code != 235 {
            return Err(self.failed(&format!("login of {user}: {reply}")));
        }
        Ok(client)
    }

    /// An IMAP session over TLS, logged in.
    pub async fn imap_client(&self, user: &str, password: &str) -> anyhow::Result<imap::Client> {
        let tls = self.client_tls()?;
        let mut client = imap::Client::connect_tls(self.imaps(), tls, self.hostname()).await?;
        client.login(user, password).await?;
        Ok(client)
    }

    /// A POP3 session over TLS, logged in.
    pub async fn pop3_client(&self, user: &str, password: &str) -> anyhow::Result<pop3::Client> {
        let tls = self.client_tls()?;
        let mut client = pop3::Client::connect_tls(self.pop3s(), tls, self.hostname()).await?;
        client.login(user, password).await?;
        Ok(client)
    }
}

impl Drop for Letterlock {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; there is nothing more to do about it.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let text = format!("--- log of {} ---\n{}\n", self.setup.hostname, self.log_end());
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_ends_at_once_is_reported() {
        let error = Setup::new("/bin/false").start().await.expect_err("no server");
        assert!(error.to_string().contains("ended at its start"), "{error}");
    }
}
