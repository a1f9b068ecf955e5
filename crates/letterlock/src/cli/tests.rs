//! The command line as a whole.

use clap::CommandFactory;

use super::Cli;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

/// Every command that does something, by its words.
fn commands() -> Vec<(String, clap::Command)> {
    fn visit(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
        for sub in command.get_subcommands() {
            let path = format!("{path} {}", sub.get_name());
            if sub.get_subcommands().next().is_none() {
                found.push((path.clone(), sub.clone()));
            }
            visit(sub, &path, found);
        }
    }
    let mut found = Vec::new();
    visit(&Cli::command(), "letterlock", &mut found);
    assert!(found.len() > 30, "{}", found.len());
    found
}

#[test]
fn every_command_has_an_example_that_is_a_command_line_of_its_own() {
    for (path, command) in commands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let (_, examples) = help.split_once("Example").unwrap_or_else(|| panic!("{path}"));
        let own: Vec<&str> = examples.lines().filter(|line| line.contains("letterlock ")).collect();
        assert!(!own.is_empty(), "{path}");
        for line in own {
            let line = line.split_once("letterlock ").map_or(line, |(_, rest)| rest);
            let line = line.split(['|', '<', '>', '&']).next().unwrap_or_default();
            let words = line.replace("\"Ann Example\"", "Ann");
            let words = std::iter::once("letterlock").chain(words.split_whitespace());
            let parsed = Cli::command().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{path}: {line}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn what_lists_something_does_so_as_json_too() {
    for (path, command) in commands() {
        let last = path.rsplit(' ').next().unwrap_or_default();
        let lists = ["list", "show", "sessions", "dns", "trace", "verify"].contains(&last)
            || path.ends_with("domain check");
        let json = command.get_arguments().any(|argument| argument.get_id() == "json");
        assert_eq!(json, lists, "{path}");
    }
}

#[test]
fn what_destroys_something_takes_yes() {
    for path in
        ["account remove", "account offboard", "account password", "domain remove", "queue cancel"]
    {
        let found = commands().into_iter().find(|(words, _)| words.ends_with(path));
        let (_, command) = found.unwrap_or_else(|| panic!("{path}"));
        assert!(command.get_arguments().any(|argument| argument.get_id() == "yes"), "{path}");
    }
}
