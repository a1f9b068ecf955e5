//! What encryption costs: the same steps with a build whose cipher is off and with the real one, in turns, so that
//! both see the same machine.

use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::report::{Report, shown};
use crate::{Command, once};

/// Runs the command with both binaries, and shows the medians and their ratio for each figure.
pub(crate) async fn run(mut command: Command) -> anyhow::Result<()> {
    let title =
        command.title().context("a comparison with another server has no ratio of this kind")?;
    let common = command.common().context("no binary")?.clone();
    let plain = common.plain_binary.clone().context("--plain-binary")?;
    let limit = Duration::from_secs(common.time_limit);
    let (off, on) = tokio::select! {
        runs = turns(&mut command, &common, plain) => runs?,
        () = tokio::time::sleep(limit) => bail!("not done after {} s", limit.as_secs()),
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    let (off, on) = (Report::new(title.clone(), off), Report::new(title, on));
    if common.json {
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "off": off, "on": on }))?);
    } else {
        println!("{}", table(&off, &on));
    }
    Ok(())
}

type Runs = Vec<crate::report::Figures>;

/// Each run with both; who comes first changes, as a machine grows warm.
async fn turns(
    command: &mut Command,
    common: &crate::Common,
    plain: std::path::PathBuf,
) -> anyhow::Result<(Runs, Runs)> {
    let (mut off, mut on) = (Runs::new(), Runs::new());
    for run in 0..common.runs {
        for turn in 0..2 {
            let is_plain = (run + turn) % 2 == 0;
            eprintln!(
                "run {} of {}, cipher {}",
                run + 1,
                common.runs,
                if is_plain { "off" } else { "on" }
            );
            let binary = if is_plain { Some(plain.clone()) } else { common.binary.clone() };
            command.common_mut().context("no binary")?.binary = binary;
            let figures = once(command).await?;
            if is_plain { off.push(figures) } else { on.push(figures) }
        }
    }
    Ok((off, on))
}

/// One line a figure: name, cipher off, cipher on, unit, ratio.
fn table(off: &Report, on: &Report) -> String {
    let width = off.medians().map(|(name, _, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = format!("{}\n  {:width$}  {:>9}  {:>9}  on ÷ off", off.title(), "", "off", "on");
    for (name, unit, plain) in off.medians() {
        let Some((_, _, sealed)) = on.medians().find(|(other, _, _)| *other == name) else {
            continue;
        };
        let ratio = if plain > 0.0 { format!("{:.2}", sealed / plain) } else { "–".to_owned() };
        let (plain, sealed) = (shown(plain), shown(sealed));
        text.push_str(&format!("\n  {name:width$}  {plain:>9}  {sealed:>9}  {ratio:>8}  {unit}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Figures;

    #[test]
    fn the_table_shows_ratios() {
        let runs = |value| {
            let mut figures = Figures::default();
            figures.add("accepted", "messages/s", value);
            figures.add("nothing", "ms", 0.0);
            Report::new("title".to_owned(), vec![figures])
        };
        let text = table(&runs(200.0), &runs(150.0));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "  accepted        200        150      0.75  messages/s");
        assert!(lines[3].ends_with("–  ms"), "{text}");
    }
}
