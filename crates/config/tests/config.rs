//! The settings as an operator meets them: files, variables, errors and the pages made from the source.

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
fn unknown_names_tell_the_nearest() {
    refused(
        "[limits]\n  mesage_size = \"1MiB\"\n",
        &["l.toml:2:3: limits.mesage_size: ", "did you mean message_size?"],
    );
    refused("[limit]\n", &["l.toml:1:2: limit: ", "did you mean [limits]?"]);
    refused("[frobnication]\nx = 1", &["l.toml:1:2:", "no section", "listen, tls, dns"]);
    refused(
        "[listen]\nhostname = \"a.example\"",
        &["l.toml:2:1:", "stands at the top of the file"],
    );
    refused("message_size = \"1MiB\"", &["l.toml:1:1:", "belongs to section [limits]"]);
    refused("colour = \"green\"", &["keys here are hostname, data_dir"]);
    refused("[tls.other]\n", &["tls.other", "keys here are certificate, key"]);
    refused(
        "limits = 5",
        &["l.toml:1:10: limits: the number 5 stands where a section is expected", "write [limits]"],
    );
}

#[test]
fn wrong_values_tell_what_to_write() {
    refused(
        "hostname = 5",
        &["l.toml:1:12: hostname: the number 5 is not a host name", "mx.example.org"],
    );
    for name in
        ["", "mx example", "mx.example.org.", "-a.example", "192.0.2.1", "bücher.example", "a..b"]
    {
        refused(&format!("hostname = \"{name}\""), &["hostname", "is not a host name"]);
    }
    refused(
        "[limits]\nmessage_size = \"5MB\"",
        &["limits.message_size: the text \"5MB\" is not a size", "KiB"],
    );
    refused("[limits]\nmessage_size = \"1B\"", &["out of range", "from 1KiB to 2GiB"]);
    refused("[limits]\nmessage_size = -1", &["the number -1 is not a size"]);
    refused("[limits]\nrecipients = \"100\"", &["is not a whole number", "without quotes"]);
    refused("[limits]\nrecipients = 0", &["the number 0 is out of range", "from 1 to 100000"]);
    refused("[limits]\nrecipients = 1.5", &["the number 1.5 is not a whole number"]);
    refused("[limits]\nsmtp_errors = -1", &["limits.smtp_errors", "not below 0"]);
    refused(
        "[limits]\nconnections = 99999999999999999999",
        &["99999999999999999999 is not a whole number"],
    );
    refused("[limits]\nsmtp_command = 300", &["the number 300 is not a duration", "\"5m\""]);
    refused(
        "[limits]\nexempt = [\"example.org\"]",
        &["l.toml:2:11: limits.exempt: the text \"example.org\" is not a network"],
    );
    refused("[outbound]\nport = 65536", &["outbound.port"]);
    refused("[outbound]\nretry = []", &["outbound.retry: the list is empty"]);
    refused(
        "[outbound]\nretry = [\"5m\", \"x\"]",
        &["l.toml:2:16: outbound.retry: the text \"x\" is not a duration"],
    );
    refused("[outbound]\nretry = [\"1ms\"]", &["out of range", "from 100ms to 7d"]);
    refused(
        "[outbound.routes]\n\"a b\" = \"h:25\"",
        &["l.toml:2:1: outbound.routes: \"a b\" is not a domain"],
    );
    refused(
        "[outbound.routes]\n\"a.example\" = \"smtp.example\"",
        &["l.toml:2:15:", "is not a host with port"],
    );
    refused("[listen]\nsmtp = \"[::]:25\"", &["listen.smtp", "is not a list"]);
    refused("[listen]\nsmtp = [\"localhost:25\"]", &["l.toml:2:9:", "addresses, not names"]);
    refused("[dns]\nservers = [\"one.one.one.one\"]", &["dns.servers"]);
    refused(
        "[dns]\ndnssec = \"on\"",
        &["is not one of the choices", "\"auto\", \"require\", \"off\""],
    );
    refused("[auth]\nallow_cleartext = \"yes\"", &["without quotes"]);
    refused("[log]\nlevel = \"loud\"", &["log.level", "info"]);
    refused("[log]\nformat = 1979-05-27", &["the date 1979-05-27"]);
    refused("[tls]\ncertificate = true", &["tls.certificate: true is not a path"]);
    refused("data_dir = \"\"", &["data_dir", "folder"]);
}

#[test]
fn text_that_is_no_toml_is_told_with_its_line() {
    refused("hostname = \"mx.example.org\"\ndata_dir = /var", &["l.toml:2:12: not valid TOML"]);
    refused(
        "hostname = \"a.example\"\nhostname = \"b.example\"",
        &["l.toml:2:1: not valid TOML", "duplicate"],
    );
}

#[test]
fn columns_count_characters_not_octets() {
    refused(
        "[log]\n\"é\" = 1\nlevel = \"é\" \n[\"ü\"]\n",
        &["l.toml:2:1:", "l.toml:3:9: log.level", "l.toml:4:2:"],
    );
    refused("limits = { \"ü\" = 1, recipients = 0 }", &["l.toml:1:34: limits.recipients"]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let error = parse("hostname = 1\n[listen]\nsmtpp = []\n").unwrap_err();
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn what_is_not_built_is_refused_in_clear_words() {
    for name in ["http", "managesieve"] {
        refused(
            &format!("[listen]\n{name} = [\"[::]:4190\"]"),
            &[&format!("listen.{name}"), "not available in this version"],
        );
        assert!(parse(&format!("[listen]\n{name} = []")).is_ok());
    }
    refused(
        "[tls.acme]\ncontact = \"a@example.org\"",
        &["l.toml:1:6: tls.acme", "ACME", "not available in this version", "certificate and key"],
    );
    let error = with(&[("LETTERLOCK_TLS_ACME_CONTACT", "a@example.org")]).unwrap_err();
    assert!(
        error.contains("LETTERLOCK_TLS_ACME_CONTACT") && error.contains("not available"),
        "{error}"
    );
}

#[test]
fn certificate_and_key_come_together_and_exist() {
    let dir = tempfile::tempdir().unwrap();
    let cert = dir.path().join("cert.pem");
    std::fs::write(&cert, "x").unwrap();
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    refused(
        &format!("[tls]\ncertificate = {}", quoted(&cert)),
        &["l.toml:2:1: tls.certificate: certificate is set without key", "tls.key"],
    );
    refused(
        &format!("[tls]\nkey = {}", quoted(&cert)),
        &["tls.key: key is set without certificate"],
    );
    let missing = dir.path().join("key.pem");
    let both = format!("[tls]\ncertificate = {}\nkey = {}", quoted(&cert), quoted(&missing));
    refused(&both, &["l.toml:3:1: tls.key: the file", "key.pem does not exist"]);
    refused(
        &format!("[outbound]\ntrusted_roots = {}", quoted(dir.path())),
        &["outbound.trusted_roots", "is a folder"],
    );
    std::fs::write(&missing, "x").unwrap();
    assert_eq!(parse(&both).unwrap().tls.key, Some(missing));
    assert_eq!(parse("[tls]\ncertificate = \"\"\nkey = \"\"").unwrap().tls.key, None);
}

#[test]
fn passwords_in_the_clear_only_on_loopback() {
    refused(
        "[auth]\nallow_cleartext = true",
        &["l.toml:2:1: auth.allow_cleartext", "listen.submission on [::]:587"],
    );
    let loopback = "[auth]\nallow_cleartext = true\n[listen]\nsubmission = [\"127.0.0.1:587\"]\nimap = [\"[::1]:143\"]\n";
    assert!(parse(&format!("{loopback}pop3 = []")).unwrap().auth.allow_cleartext);
    refused(&format!("{loopback}pop3 = [\"192.0.2.1:110\"]"), &["listen.pop3 on 192.0.2.1:110"]);
}

#[test]
fn listeners_do_not_share_an_address() {
    refused(
        "[listen]\nimap = [\"[::]:25\"]",
        &["listen.imap: [::]:25 is already used by listen.smtp"],
    );
    assert!(parse("[listen]\nimap = [\"127.0.0.1:0\"]\nsmtp = [\"127.0.0.1:0\"]").is_ok());
}

#[test]
fn a_first_ban_is_no_longer_than_the_longest() {
    refused(
        "[limits]\nban = \"2h\"\nban_max = \"1h\"",
        &["limits.ban: 2h is longer than ban_max (1h)"],
    );
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
fn wrong_variables_are_named() {
    let error = with(&[("LETTERLOCK_HOSTNAM", "a")]).unwrap_err();
    assert_eq!(
        error,
        "environment variable LETTERLOCK_HOSTNAM: sets no key; did you mean LETTERLOCK_HOSTNAME?"
    );
    let error = with(&[("LETTERLOCK_LIMITS_RECIPIENTS", "many")]).unwrap_err();
    assert!(error.starts_with("environment variable LETTERLOCK_LIMITS_RECIPIENTS: limits.recipients: the text \"many\""), "{error}");
    let error = with(&[("LETTERLOCK_LISTEN_SMTP", "[\"[::]:25\"]")]).unwrap_err();
    assert!(error.contains("separated by commas, without brackets"), "{error}");
    let error = with(&[("LETTERLOCK_AUTH_ALLOW_CLEARTEXT", "true")]).unwrap_err();
    assert!(error.starts_with("environment variable LETTERLOCK_AUTH_ALLOW_CLEARTEXT: "), "{error}");
    let error = with(&[("LETTERLOCK_OUTBOUND_ROUTES", "example.net")]).unwrap_err();
    assert!(error.contains("LETTERLOCK_OUTBOUND_ROUTES"), "{error}");
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

#[test]
fn load_balancers_are_named_by_listener() {
    let settings = parse("[proxy]\nsmtp = [\"10.0.0.0/8\", \"192.0.2.7\"]\n").unwrap();
    let networks: Vec<String> = settings.proxy.of("smtp").iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.7/32"]);
    assert!(settings.proxy.of("imap").is_empty() && settings.proxy.of("nobody").is_empty());
    refused("[proxy]\nsmtp = [\"10.0.0.0/33\"]", &["is not a network"]);
    refused("[proxy]\nftp = []", &["is no key here"]);
}
