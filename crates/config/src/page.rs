//! The reference page and the annotated example, made from the descriptions of the keys.

use crate::schema::{KeyInfo, Section};
use crate::sections::Settings;

const INTRO: &str = r#"# Configuration

<!-- Made from the source by `letterlock config reference`. Do not edit. -->

Letterlock reads one TOML file, by default `/etc/letterlock/letterlock.toml`; another one is named with `--config FILE`. Every
key has a default, so the file may be short: usually `hostname` and the certificate. An unknown key, a value of the wrong
type or out of its range is an error, and nothing starts; `letterlock config check` tells all mistakes with line and column,
`letterlock config show` prints the settings in effect. Domains, accounts and aliases are not set here but with
`letterlock domain`, `letterlock account` and `letterlock alias`.

How values are written:

- A duration is a text such as `"5m"`, `"1h30m"` or `"250ms"` (units `d`, `h`, `m`, `s`, `ms`).
- A size is a text such as `"50MiB"` (units `B`, `KiB`, `MiB`, `GiB`, `TiB`, powers of 1,024), or a number of octets.
- A file or folder is a text; a relative path starts at the folder of the configuration file. `""` is none.

Each key can be overridden by a variable of the environment, `LETTERLOCK_<SECTION>_<KEY>` in capitals: `LETTERLOCK_HOSTNAME`,
`LETTERLOCK_LIMITS_MESSAGE_SIZE=20MiB`. Lists are separated by commas (`LETTERLOCK_LISTEN_SMTP="127.0.0.1:25,[::1]:25"`), the
empty text is the empty list, and routes are pairs (`LETTERLOCK_OUTBOUND_ROUTES="*=smtp.example.net:587"`). A variable with
this prefix that sets no key is an error, except `LETTERLOCK_CONFIG` (the file to read), `LETTERLOCK_TEST…`, and the
`…_SERVICE_HOST`, `…_SERVICE_PORT…` and `…_PORT…` variables that container platforms add for a service of this name.
"#;

/// The reference of all keys, as Markdown (`docs/configuration.md`).
pub fn reference() -> String {
    let mut page = INTRO.to_owned();
    describe(&Settings::default(), &mut page);
    page
}

fn describe(section: &dyn Section, page: &mut String) {
    let title = if section.name().is_empty() {
        "At the top".to_owned()
    } else {
        format!("`[{}]`", section.name())
    };
    page.push_str(&format!("\n## {title}\n\n"));
    if !section.name().is_empty() {
        page.push_str(&format!("{}\n\n", section.about()));
    }
    page.push_str("| Key | Type | Default | Range | Meaning |\n|---|---|---|---|---|\n");
    for key in section.keys() {
        let range =
            key.range.as_ref().map(|(low, high)| format!("{low} to {high}")).unwrap_or_default();
        let docs = match key.example {
            Some(example) => format!("{} Example: `{example}`", key.docs),
            None => key.docs.clone(),
        };
        let row = [
            format!("`{}`", key.key),
            key.kind.to_owned(),
            format!("`{}`", key.default),
            range,
            docs,
        ];
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        page.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    for part in section.parts() {
        describe(part, page);
    }
}

/// A configuration with every key explained (`config/letterlock.toml`): `hostname`, `data_dir` and the listeners are set,
/// everything else is commented out with its default or an example.
pub fn annotated_example() -> String {
    let mut file = "\
# Configuration of Letterlock. Every key is here; what is commented out shows its default, or an example.
# Values: durations \"5m\", \"1h30m\"; sizes \"50MiB\"; relative paths start at the folder of this file.
# Any key can be overridden by the environment: LETTERLOCK_<SECTION>_<KEY>.
# After a change: `letterlock config check`, then restart. The reference is docs/configuration.md.
"
    .to_owned();
    write_section(&Settings::default(), &mut file);
    file
}

fn write_section(section: &dyn Section, file: &mut String) {
    let name = section.name();
    if !name.is_empty() {
        file.push('\n');
        comment(&section.about(), file);
        file.push_str(&format!("[{name}]\n"));
    }
    let (tables, plain): (Vec<KeyInfo>, Vec<KeyInfo>) =
        section.keys().into_iter().partition(|key| key.default == "{}");
    for key in plain {
        file.push('\n');
        comment(&words(&key), file);
        let mark = if name.is_empty() || name == "listen" { "" } else { "#" };
        file.push_str(&format!("{mark}{} = {}\n", key.key, key.example.unwrap_or(&key.default)));
    }
    for key in tables {
        file.push('\n');
        comment(&words(&key), file);
        file.push_str(&format!("#[{}]\n", key.path()));
        if let Some(example) = key.example {
            file.push_str(&format!("#{example}\n"));
        }
    }
    for part in section.parts() {
        write_section(part, file);
    }
}

/// The text above a key: what it does, its range, and its default where an example stands below.
fn words(key: &KeyInfo) -> String {
    let mut text = key.docs.clone();
    if let Some((low, high)) = &key.range {
        text.push_str(&format!(" From {low} to {high}."));
    }
    if key.example.is_some() && key.default != "{}" {
        text.push_str(&format!(" Default: {}.", key.default));
    }
    text
}

/// Writes `text` as comment lines of at most 110 characters.
fn comment(text: &str, file: &mut String) {
    const WIDTH: usize = 110;
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            file.push_str(&line);
            file.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    file.push_str(&line);
    file.push('\n');
}
