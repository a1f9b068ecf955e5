//! What is refused, and in what words.

use super::*;

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
