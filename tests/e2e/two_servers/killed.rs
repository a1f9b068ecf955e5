//! The server is killed while it talks to another one: nothing is lost, whatever was being said.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use letterlock_testkit::mx::{Behaviour, FakeMx, Script, Stage};

use crate::json::json;
use crate::outbound::sender;
use crate::wait::wait_for_json;
use crate::{A, letter, submit};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_kill_in_any_stage_of_a_delivery_loses_nothing() -> Result<()> {
    let (mut world, password) = sender(|setup| setup).await?;
    let mx = world.fake("far.test", Script::new("mx.far.test"))?;
    let stages =
        [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfData];
    for (number, stage) in (1..).zip(stages) {
        mx.once(stage, Behaviour::Hang);
        let (before, commands) = (mx.connections(), mx.commands().len());
        let one = world.server("one.test");
        let subject = format!("{stage:?}");
        submit(one, A, &password, "x@far.test", &letter(A, "x@far.test", &subject)).await?;
        mx.wait_for_connections(before + 1, SOON).await?;
        let said = match stage {
            Stage::Greeting => None,
            Stage::Ehlo => Some("EHLO"),
            Stage::Mail => Some("MAIL"),
            Stage::Rcpt => Some("RCPT"),
            _ => Some("DATA"),
        };
        if let Some(said) = said {
            let heard = |mx: &FakeMx| {
                let lines = mx.commands();
                lines.iter().skip(commands).any(|line| line.starts_with(said))
            };
            mx.wait_until(SOON, heard).await?;
        }
        world.server_mut("one.test").kill9()?;
        // Whether the stage was reached by then or not: from now on it is polite.
        mx.behave();
        world.server_mut("one.test").restart().await?;
        let messages = mx.wait_for(number, SOON).await?;
        ensure!(messages.len() == number, "{stage:?}: {} messages", messages.len());
        let text = messages[number - 1].text();
        ensure!(text.contains(&format!("Subject: {subject}\r\n")), "{text}");
    }
    let one = world.server("one.test");
    wait_for_json(one, &["queue", "list"], |queue| *queue == serde_json::json!([])).await?;
    Ok(())
}

#[tokio::test]
async fn what_an_operator_held_stays_held_after_a_kill() -> Result<()> {
    let (mut world, password) = sender(|setup| setup).await?;
    let mx = world.fake("far.test", Script::new("mx.far.test"))?;
    mx.always(Stage::Mail, Behaviour::Reply("451 4.3.0 later".to_owned()));
    let one = world.server("one.test");
    submit(one, A, &password, "x@far.test", &letter(A, "x@far.test", "held")).await?;
    let waits = |queue: &serde_json::Value| queue[0]["id"].is_string();
    let queue = wait_for_json(one, &["queue", "list"], waits).await?;
    let id = queue[0]["id"].as_str().context("an id")?.to_owned();
    one.run(&["queue", "hold", &id]).await?;
    mx.behave();
    world.server_mut("one.test").kill9()?;
    world.server_mut("one.test").restart().await?;
    let one = world.server("one.test");
    let entry = json(one, &["queue", "show", &id]).await?;
    ensure!(entry["details"][0]["state"] == "held", "{entry}");
    ensure!(mx.messages().is_empty());
    one.run(&["queue", "release", &id]).await?;
    mx.wait_for(1, SOON).await?;
    Ok(())
}
