//! A server of ours that sends everything by way of another one, where it logs in like a person: on port 587 and, with
//! TLS from the first octet, on port 465.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use letterlock_testkit::mx::{FakeMx, Script};
use letterlock_testkit::world::World;

use crate::wait::wait_for_json;
use crate::{A, BINARY, json, letter, submit};

const SOON: Duration = Duration::from_secs(30);
const SUBMISSIONS: u16 = 465;

/// The second server has an account of the same name, and the first one the login to it; `far.test` is beyond. The
/// password at the first one.
async fn world(port_465: bool) -> Result<(World, FakeMx, String)> {
    let mut world = World::start(BINARY, &["one.test", "two.test"]).await?;
    let far = world.fake("far.test", Script::new("mx.far.test"))?;
    let two = world.server_mut("two.test");
    two.add_domain("one.test").await?;
    let at_two = two.add_account(A).await?;
    let port = match port_465 {
        true => {
            let address = std::net::SocketAddr::from((two.smtp().ip(), SUBMISSIONS));
            two.configure(|setup| setup.set("listen", "submissions", &format!("[\"{address}\"]")))?;
            two.restart().await?;
            SUBMISSIONS
        }
        false => two.submission().port(),
    };
    let one = world.server_mut("one.test");
    let file = one.data_dir().join("smarthost");
    std::fs::write(&file, format!("{A}\n{at_two}\n"))?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    let host = format!("mx.two.test:{port}");
    one.configure(|setup| {
        setup.set("outbound", "routes", &format!("{{ \"*\" = {host:?} }}")).set(
            "outbound",
            "credentials",
            &format!("{{ {host:?} = {file:?} }}"),
        )
    })?;
    one.restart().await?;
    let password = one.add_account(A).await?;
    Ok((world, far, password))
}

async fn goes_by_way_of_the_other(port_465: bool) -> Result<()> {
    let (world, far, password) = world(port_465).await?;
    let one = world.server("one.test");
    submit(one, A, &password, "x@far.test", &letter(A, "x@far.test", "relayed")).await?;
    let message = far.wait_for(1, SOON).await?.remove(0);
    ensure!(message.from == A && message.addresses() == ["x@far.test"], "{message:?}");
    let text = message.text().replace("\r\n\t", " ");
    ensure!(text.contains("by mx.two.test with ESMTPSA id "), "{text}");
    ensure!(text.contains("by mx.one.test with ESMTPSA id "), "{text}");
    ensure!(
        !text.contains("127."),
        "where people and their servers are is nobody's business: {text}"
    );
    let done = |queue: &serde_json::Value| *queue == serde_json::json!([]);
    wait_for_json(one, &["queue", "list"], done).await?;
    let id = text.split("by mx.one.test with ESMTPSA id ").nth(1).unwrap_or_default();
    let id: String = id.chars().take_while(char::is_ascii_alphanumeric).collect();
    let lines = json(one, &["trace", &id]).await?["lines"].to_string();
    let port = if port_465 { SUBMISSIONS } else { world.server("two.test").submission().port() };
    for words in [
        format!("try 1 to mx.two.test:{port}"),
        "TLS1.3 ".to_owned(),
        " X25519MLKEM768; decided by configuration: ".to_owned(),
    ] {
        ensure!(lines.contains(&words), "{words:?} is missing: {lines}");
    }
    Ok(())
}

#[tokio::test]
async fn by_submission_with_starttls() -> Result<()> {
    goes_by_way_of_the_other(false).await
}

#[tokio::test]
async fn by_submission_with_tls_from_the_first_octet() -> Result<()> {
    goes_by_way_of_the_other(true).await
}

#[tokio::test]
async fn a_login_that_is_refused_is_no_verdict_about_the_mail() -> Result<()> {
    let (mut world, far, password) = world(false).await?;
    let one = world.server_mut("one.test");
    std::fs::write(one.data_dir().join("smarthost"), format!("{A}\nwrong\n"))?;
    one.restart().await?;
    let one = world.server("one.test");
    submit(one, A, &password, "x@far.test", &letter(A, "x@far.test", "kept")).await?;
    let put_off = |queue: &serde_json::Value| queue[0]["id"].is_string();
    let queue = wait_for_json(one, &["queue", "list"], put_off).await?;
    let id = queue[0]["id"].as_str().unwrap_or_default().to_owned();
    let tried = |entry: &serde_json::Value| entry["details"][0]["last_reply"].is_string();
    let entry = wait_for_json(one, &["queue", "show", &id], tried).await?;
    ensure!(entry["details"][0]["state"] == "due", "{entry:#}");
    ensure!(far.messages().is_empty());
    Ok(())
}
