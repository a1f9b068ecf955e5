//! The settings as an operator meets them: files, variables, errors and the pages made from the source.

mod mistakes;
mod pages;

use std::path::{Path, PathBuf};
use std::time::Duration;

use letterlock_config::{
    Dnssec, KeyInfo, LogAddresses, LogFormat, Settings, annotated_example, keys, reference,
};

type Env = Vec<(String, String)>;

fn env(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect::<Env>()
        .into_iter()
}

fn parse(toml: &str) -> Result<Settings, String> {
    Settings::parse(toml, "l.toml", env(&[])).map_err(|error| error.to_string())
}

fn with(pairs: &[(&str, &str)]) -> Result<Settings, String> {
    Settings::parse("", "l.toml", env(pairs)).map_err(|error| error.to_string())
}

/// Asserts that `toml` is refused with a text that has each of the parts.
fn refused(toml: &str, parts: &[&str]) {
    let error = parse(toml).expect_err(toml);
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn the_empty_file_gives_the_defaults() {
    let settings = parse("").unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.listen.imaps, ["[::]:993".parse().unwrap()]);
    assert_eq!(settings.limits.message_size, 50 << 20);
    assert_eq!(settings.outbound.retry.len(), 6);
    assert!(settings.listen.https.is_empty());
    assert!(!settings.auth.allow_cleartext);
}

#[test]
fn every_kind_of_value_is_read() {
    let settings = parse(
        r#"
        hostname = "MX.example.org"
        data_dir = "/srv/mail"
        [listen]
        smtp = ["127.0.0.1:25", "[::1]:25"]
        pop3 = []
        [dns]
        servers = ["192.0.2.53", "[2001:db8::53]", "2001:db8::54", "127.0.0.1:5353"]
        dnssec = "require"
        [outbound]
        retry = ["10s"]
        expire = "1h30m"
        [outbound.routes]
        "Example.net" = "smtp.example.org:587"
        "*" = "[::1]:2525"
        [limits]
        exempt = ["192.0.2.7/24", "::1"]
        message_size = 1048576
        [auth]
        grace = "0s"
        [log]
        level = "info,letterlock_smtp=debug"
        format = "json"
        addresses = "clear"
        "#,
    )
    .unwrap();
    assert_eq!(settings.hostname, "mx.example.org");
    assert_eq!(settings.data_dir, PathBuf::from("/srv/mail"));
    assert_eq!(settings.listen.smtp.len(), 2);
    assert!(settings.listen.pop3.is_empty());
    let servers: Vec<String> = settings.dns.servers.iter().map(ToString::to_string).collect();
    assert_eq!(
        servers,
        ["192.0.2.53:53", "[2001:db8::53]:53", "[2001:db8::54]:53", "127.0.0.1:5353"]
    );
    assert_eq!(settings.dns.dnssec, Dnssec::Require);
    assert_eq!(settings.outbound.expire, Duration::from_secs(5400));
    assert_eq!(settings.outbound.route("EXAMPLE.net"), Some("smtp.example.org:587"));
    assert_eq!(settings.outbound.route("example.com"), Some("[::1]:2525"));
    assert_eq!(settings.limits.exempt[0].to_string(), "192.0.2.0/24");
    assert_eq!(settings.limits.exempt[1].to_string(), "::1/128");
    assert_eq!(settings.limits.message_size, 1 << 20);
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.log.addresses, LogAddresses::Clear);
    assert_eq!(Settings::default().outbound.route("example.com"), None);
}

#[test]
fn the_environment_overrides_the_file() {
    let toml = "hostname = \"a.example\"\n[limits]\nrecipients = 7";
    let pairs = [
        ("PATH", "/bin"),
        ("LETTERLOCK_HOSTNAME", "b.example"),
        ("LETTERLOCK_DATA_DIR", "relative"),
        ("LETTERLOCK_LISTEN_SMTP", "127.0.0.1:25, [::1]:25"),
        ("LETTERLOCK_LISTEN_POP3", ""),
        ("LETTERLOCK_OUTBOUND_ROUTES", "example.net=smtp.example.org:587,*=[::1]:2525"),
        ("LETTERLOCK_OUTBOUND_PORT", "2525"),
        ("LETTERLOCK_AUTH_GRACE", "10s"),
        ("LETTERLOCK_LIMITS_MESSAGE_SIZE", "20MiB"),
        ("LETTERLOCK_LOG_FORMAT", "text"),
    ];
    let settings = Settings::parse(toml, "l.toml", env(&pairs)).unwrap();
    assert_eq!(settings.hostname, "b.example");
    assert_eq!(settings.data_dir, PathBuf::from("relative"));
    assert_eq!(settings.listen.smtp.len(), 2);
    assert!(settings.listen.pop3.is_empty());
    assert_eq!(settings.outbound.routes.len(), 2);
    assert_eq!(settings.outbound.port, 2525);
    assert_eq!(settings.auth.grace, Duration::from_secs(10));
    assert_eq!(settings.limits.message_size, 20 << 20);
    assert_eq!(settings.limits.recipients, 7);
    assert_eq!(settings.log.format, LogFormat::Text);
}

#[test]
fn variables_that_are_not_settings_are_left_alone() {
    let pairs = [
        ("LETTERLOCK_CONFIG", "/x"),
        ("LETTERLOCK_TESTDATA", "/y"),
        ("LETTERLOCK_TEST_SLOW", "1"),
        ("LETTERLOCK_SERVICE_HOST", "10.0.0.1"),
        ("LETTERLOCK_PORT_25_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(with(&pairs).unwrap(), Settings::default());
}

#[test]
fn files_are_loaded_and_relative_paths_start_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.toml");
    std::fs::write(dir.path().join("roots.pem"), "x").unwrap();
    std::fs::write(&path, "data_dir = \"data\"\n[outbound]\ntrusted_roots = \"roots.pem\"")
        .unwrap();
    let settings = Settings::load(&path, env(&[])).unwrap();
    assert_eq!(settings.data_dir, dir.path().join("data"));
    assert_eq!(settings.outbound.trusted_roots, Some(dir.path().join("roots.pem")));
    std::fs::write(&path, "data_dri = \"data\"").unwrap();
    let error = Settings::load(&path, env(&[])).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}:1:1: data_dri: \"data_dri\" is no key here; did you mean data_dir?",
            path.display()
        )
    );
    let error = Settings::load(&dir.path().join("none.toml"), env(&[])).unwrap_err();
    assert!(
        error.to_string().contains("none.toml: cannot be read")
            && error.to_string().contains("--config"),
        "{error}"
    );
}

#[test]
fn local_settings_stay_on_loopback() {
    let settings = Settings::local("/tmp/try");
    let servers = &settings.dns.servers;
    assert!(!servers.is_empty(), "a machine without name servers would not do");
    assert!(servers.iter().all(|server| server.ip().is_loopback()));
    let all: Vec<_> =
        settings.listen.by_name().into_iter().flat_map(|(_, list)| list.to_vec()).collect();
    assert!(all.iter().all(|address| address.ip().is_loopback()));
    let ipv4: Vec<u16> =
        all.iter().filter(|address| address.is_ipv4()).map(|address| address.port()).collect();
    assert_eq!(ipv4, [2025, 2587, 2465, 2143, 2993, 2110, 2995]);
    assert_eq!(settings.hostname, "mail.example.test");
    assert_eq!(settings.data_dir, PathBuf::from("/tmp/try"));
    assert!(
        settings
            .limits
            .exempt
            .iter()
            .any(|net| net.contains(&"127.0.0.1".parse::<std::net::IpAddr>().unwrap()))
    );
    assert_eq!(settings.outbound, Settings::default().outbound);
    let moved = settings.with_env(env(&[("LETTERLOCK_LISTEN_SMTP", "127.0.0.1:3025")])).unwrap();
    assert_eq!(moved.listen.smtp, ["127.0.0.1:3025".parse().unwrap()]);
}

#[test]
fn settings_in_effect_read_back_to_the_same() {
    let mut settings = Settings::local("/tmp/try");
    settings.outbound.routes.insert("*".to_owned(), "smtp.example.net:587".to_owned());
    settings.limits.smtp_command = Duration::from_millis(1500);
    settings.dns.dnssec = Dnssec::Off;
    for settings in [settings, Settings::default()] {
        assert_eq!(parse(&settings.to_toml()).unwrap(), settings);
    }
}

#[test]
fn unwise_settings_are_warned_of() {
    let warnings = Settings::default().warnings().join("\n");
    assert!(
        warnings.contains("not fully qualified") && warnings.contains("self-signed"),
        "{warnings}"
    );
    assert!(!Settings::local("/tmp/try").warnings().join("").contains("hostname"));
}

#[test]
fn load_balancers_are_named_by_listener() {
    let settings = parse("[proxy]\nsmtp = [\"10.0.0.0/8\", \"192.0.2.7\"]\n").unwrap();
    let networks: Vec<String> = settings.proxy.of("smtp").iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.7/32"]);
    assert!(settings.proxy.of("imap").is_empty() && settings.proxy.of("nobody").is_empty());
    refused("[proxy]\nsmtp = [\"10.0.0.0/33\"]", &["is not a network"]);
    refused("[proxy]\nftp = []", &["is no key here"]);
}
