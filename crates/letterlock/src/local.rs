//! `letterlock serve --local`: a server to try, on loopback, with one account.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use letterlock_admin::{AccountRequest, Admin, DomainRequest, Request, Response};
use letterlock_config::Settings;

use crate::serve::{self, Reach};
use crate::{Failure, logging, render};

const DOMAIN: &str = "example.test";
const ACCOUNT: &str = "demo@example.test";

/// Serves until it is stopped.
pub(crate) fn serve(data: Option<PathBuf>) -> Result<(), Failure> {
    let data = data.map_or_else(default_folder, Ok)?;
    let data = std::path::absolute(&data)
        .with_context(|| format!("{} is no usable path", data.display()))?;
    let settings = Settings::local(&data)
        .with_env(std::env::vars())
        .map_err(|error| Failure::Usage(error.to_string()))?;
    logging::start(&settings.log)?;
    let shown = settings.clone();
    serve::start(settings, Reach::Loopback, async move |admin| {
        let password = account(admin, &data).await?;
        render::print(&announcement(&shown, &data, &password))
    })
}

/// Under the user's own data, so that trying it does not depend on where one stands.
fn default_folder() -> Result<PathBuf, Failure> {
    let base = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share")))
        .ok_or_else(|| {
            Failure::Usage("serve --local: say where to keep the data with --data DIR".into())
        })?;
    Ok(base.join("letterlock-local"))
}

/// Makes domain and account at the first start. The password is kept beside the data: this
/// is a server to play with.
async fn account(admin: &Admin, data: &Path) -> Result<String, Failure> {
    let file = data.join("demo-password");
    match std::fs::read_to_string(&file) {
        Ok(password) => return Ok(password.trim_end().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(anyhow::Error::from(error).context(format!("{}", file.display())).into());
        }
    }
    let run = async |request| admin.run(request).await.map_err(anyhow::Error::from);
    if !admin.directory.snapshot().domains().any(|domain| domain.name.as_str() == DOMAIN) {
        run(Request::Domain(DomainRequest::Add { domain: DOMAIN.into(), contact: None })).await?;
    }
    let add = AccountRequest::Add {
        address: ACCOUNT.into(),
        password: None,
        server_held: false,
        name: Some("Demo".into()),
        quota: letterlock_admin::Quota::Unlimited,
        quota_messages: letterlock_admin::Quota::Unlimited,
    };
    let Response::Made(secrets) = run(Request::Account(add)).await? else {
        return Err(anyhow::anyhow!(
            "{ACCOUNT} is there, but {} is not: start with another --data",
            file.display()
        )
        .into());
    };
    let mut password = String::new();
    for secret in secrets {
        let text = secret.secret.expose().to_string();
        keep(&data.join(format!("demo-{}", secret.kind)), &text)?;
        if secret.kind == "password" {
            password = text;
        }
    }
    Ok(password)
}

fn keep(file: &Path, text: &str) -> Result<(), Failure> {
    let written = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut file| writeln!(file, "{text}"));
    Ok(written.with_context(|| format!("cannot write {}", file.display()))?)
}

fn announcement(settings: &Settings, data: &Path, password: &str) -> String {
    let mut text = format!(
        "Letterlock is running on this machine only. Data: {}\n\n  account    {ACCOUNT}\n  password   {password}\n\n",
        data.display()
    );
    for (name, addresses) in settings.listen.by_name() {
        if let Some(address) = addresses.first() {
            let tls = if name.ends_with('s') { "  (TLS)" } else { "" };
            text.push_str(&format!("  {name:<12} {address}{tls}\n"));
        }
    }
    text.push_str(
        "\nThe certificate is self-signed. Mail to other domains stays in the queue. Ctrl-C stops the server.\n",
    );
    text
}
