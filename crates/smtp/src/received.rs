//! The Received field that this server adds (RFC 5321 §4.4).

use std::fmt::Write;
use std::net::IpAddr;

use jiff::{Timestamp, tz::TimeZone};
use letterlock_vault::DeliveryId;

/// What is known of a transmission.
#[derive(Clone, Debug)]
pub(crate) struct Transmission<'a> {
    /// What the client called itself.
    pub(crate) helo: &'a str,
    /// Where it came from; left out for people's own submissions, whose whereabouts are
    /// nobody's business.
    pub(crate) ip: Option<IpAddr>,
    /// Our name.
    pub(crate) hostname: &'a str,
    /// EHLO, and not HELO.
    pub(crate) extended: bool,
    /// The message has SMTPUTF8 (RFC 6531 §4.3).
    pub(crate) utf8: bool,
    /// What TLS there is: version, cipher suite, and key exchange if it is known, in words.
    pub(crate) tls: Option<&'a str>,
    /// Somebody logged in.
    pub(crate) authenticated: bool,
    /// The message's id here.
    pub(crate) id: DeliveryId,
    /// The recipient, when there is just one: several would tell each of the others.
    pub(crate) only_recipient: Option<&'a str>,
    /// When it came.
    pub(crate) at: Timestamp,
}

/// The field, folded, with its CRLF.
pub(crate) fn field(t: &Transmission<'_>) -> String {
    let mut field = String::with_capacity(256);
    field.push_str("Received: from ");
    field.push_str(t.helo);
    if let Some(ip) = t.ip {
        let _ = write!(field, " ([{}{ip}])", if ip.is_ipv6() { "IPv6:" } else { "" });
    }
    let _ = write!(field, "\r\n\tby {} with {} id {}", t.hostname, protocol(t), t.id);
    if let Some(recipient) = t.only_recipient {
        let _ = write!(field, "\r\n\tfor <{recipient}>");
    }
    if let Some(tls) = t.tls {
        field.push_str(&tls_clause(tls));
    }
    let _ = write!(field, ";\r\n\t{}\r\n", date(t.at));
    field
}

/// The clauses "tls" and "group" with IANA's names (RFC 8314 §4.3), and the version as a comment: for it there is none.
fn tls_clause(description: &str) -> String {
    let mut words = description.split(' ');
    let version = words.next().unwrap_or_default();
    let suite = words.next().map(|suite| format!("tls {suite} ")).unwrap_or_default();
    let group = words.next().map(|group| format!("group {group} ")).unwrap_or_default();
    format!("\r\n\t{suite}{group}({version})")
}

/// The registered "with" keyword (RFC 3848, RFC 6531 §4.3).
fn protocol(t: &Transmission<'_>) -> &'static str {
    match (t.extended, t.utf8, t.tls.is_some(), t.authenticated) {
        (false, ..) => "SMTP",
        (_, false, false, false) => "ESMTP",
        (_, false, true, false) => "ESMTPS",
        (_, false, false, true) => "ESMTPA",
        (_, false, true, true) => "ESMTPSA",
        (_, true, false, false) => "UTF8SMTP",
        (_, true, true, false) => "UTF8SMTPS",
        (_, true, false, true) => "UTF8SMTPA",
        (_, true, true, true) => "UTF8SMTPSA",
    }
}

/// A date-time (RFC 5322 §3.3), in UTC.
pub(crate) fn date(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_says_how_the_message_came() {
        let id = DeliveryId::generate();
        let mut transmission = Transmission {
            helo: "mx.example.org",
            ip: Some(IpAddr::from([192, 0, 2, 1])),
            hostname: "mx.example.test",
            extended: true,
            utf8: false,
            tls: Some("TLS1.3 TLS_AES_256_GCM_SHA384 X25519MLKEM768"),
            authenticated: false,
            id,
            only_recipient: Some("ann@example.test"),
            at: Timestamp::from_second(1_700_000_000).unwrap(),
        };
        assert_eq!(
            field(&transmission),
            format!(
                "Received: from mx.example.org ([192.0.2.1])\r\n\tby mx.example.test with ESMTPS id {id}\r\n\tfor \
                 <ann@example.test>\r\n\ttls TLS_AES_256_GCM_SHA384 group X25519MLKEM768 (TLS1.3);\r\n\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
            )
        );
        transmission.tls = Some("TLS1.2 TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384");
        assert!(
            field(&transmission)
                .contains("\r\n\ttls TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 (TLS1.2);")
        );
        transmission.tls = None;
        transmission.extended = false;
        assert!(field(&transmission).contains(" with SMTP id "));
    }
}
