//! The pages that are made from the source.

use super::*;

#[test]
fn every_key_is_described_and_reachable() {
    let keys = keys();
    assert!(keys.len() > 50);
    for key in &keys {
        assert!(key.docs.len() > 10 && key.docs.ends_with(['.', '`']), "{}", key.path());
    }
    let names: std::collections::BTreeSet<String> = keys.iter().map(KeyInfo::variable).collect();
    assert_eq!(names.len(), keys.len());
    // Each default, given as a text of its own, is accepted as it is printed.
    for key in keys.iter().filter(|key| key.default != "{}") {
        let toml = if key.section.is_empty() {
            format!("{} = {}", key.key, key.default)
        } else {
            format!("[{}]\n{} = {}", key.section, key.key, key.default)
        };
        assert_eq!(parse(&toml).as_ref(), Ok(&Settings::default()), "{toml}");
    }
}

#[test]
fn the_example_is_valid_commented_or_not() {
    let example = annotated_example();
    let settings = parse(&example).unwrap();
    assert_eq!(settings, Settings { hostname: "mx.example.org".to_owned(), ..Settings::default() });
    // Taken out of their comments, the other keys are valid too; only the certificate is not there.
    let uncommented: Vec<&str> = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect();
    let error = parse(&uncommented.join("\n")).unwrap_err();
    assert!(
        error
            .lines()
            .all(|line| line.contains("/etc/letterlock/tls/") && line.contains("does not exist")),
        "{error}"
    );
    for key in keys() {
        let shown = if key.default == "{}" {
            format!("#[{}]", key.path())
        } else {
            format!("{} = ", key.key)
        };
        assert!(example.contains(&shown), "{shown}");
    }
}

/// Compares a file of the repository with what the code makes; with `UPDATE_DOCS=1` writes it.
fn same_as(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let present = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        present == text,
        "{path} is out of date: run `UPDATE_DOCS=1 cargo test -p letterlock-config`"
    );
}

#[test]
fn the_reference_in_the_repository_is_up_to_date() {
    same_as("docs/configuration.md", &reference());
}

#[test]
fn the_example_in_the_repository_is_up_to_date() {
    same_as("config/letterlock.toml", &annotated_example());
}
