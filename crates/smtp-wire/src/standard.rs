//! Replies that sessions give often, in one wording.
//!
//! Texts say nothing about people or about the inside of the server. Codes follow RFC 5321 §4.2.3, enhanced
//! codes the IANA registry of RFC 5248.

use std::borrow::Cow;
use std::fmt::Display;

use crate::reply::{EnhancedCode, Reply};

const fn enhanced(class: u8, subject: u16, detail: u16) -> EnhancedCode {
    EnhancedCode::new(class, subject, detail)
}

/// Declares constructors without arguments: name, code, enhanced code, text.
macro_rules! replies {
    ($($(#[$doc:meta])+ $name:ident = $code:literal ($class:literal, $subject:literal, $detail:literal) $text:literal;)+) => {
        $($(#[$doc])+ pub fn $name() -> Reply {
            Reply::new($code, enhanced($class, $subject, $detail), $text)
        })+

        /// Every reply above, for the test that holds them against the rules.
        #[cfg(test)]
        fn all() -> Vec<Reply> {
            vec![$($name()),+]
        }
    };
}

replies! {
    /// RSET, NOOP and other commands that need no particular text.
    ok = 250 (2, 0, 0) "OK";
    /// MAIL accepted.
    sender_ok = 250 (2, 1, 0) "Sender OK";
    /// RCPT accepted.
    recipient_ok = 250 (2, 1, 5) "Recipient OK";
    /// A BDAT chunk that is not the last (RFC 3030).
    chunk_ok = 250 (2, 0, 0) "Chunk received";
    /// VRFY, whose truth would serve address harvesters (RFC 5321 §7.3).
    cannot_verify = 252 (2, 5, 0) "Cannot verify, but will accept a message and attempt delivery";
    /// HELP.
    help = 214 (2, 0, 0) "See RFC 5321";
    /// STARTTLS accepted; what the client sent behind the command is thrown away.
    ready_for_tls = 220 (2, 0, 0) "Ready to start TLS";
    /// AUTH succeeded (RFC 4954 §6).
    authenticated = 235 (2, 7, 0) "Authentication succeeded";
    /// Something of ours failed; nothing was accepted.
    try_later = 451 (4, 3, 0) "Temporary problem, please try again later";
    /// The account has submitted as much as it may for now.
    too_much_mail = 452 (4, 7, 1) "Too much mail from this account, please try again later";
    /// The client asked for too many recipients that do not exist; it is told nothing about others.
    recipient_put_off = 450 (4, 7, 1) "Too many unknown recipients, please try again later";
    /// No room to accept a message durably.
    disk_full = 452 (4, 3, 1) "Insufficient system storage, please try again later";
    /// The recipient's quota is used up.
    mailbox_full = 452 (4, 2, 2) "Mailbox is full";
    /// More RCPT than one message may have; those accepted stay valid (RFC 5321 §4.5.3.1.10).
    too_many_recipients = 452 (4, 5, 3) "Too many recipients";
    /// AUTH could not be judged now (RFC 4954 §6).
    auth_temporary = 454 (4, 7, 0) "Temporary authentication failure";
    /// A command line over its limit.
    line_too_long = 500 (5, 5, 2) "Line too long";
    /// A NUL in a command line.
    nul_in_line = 500 (5, 5, 2) "NUL is not allowed in a command";
    /// Bare CR or bare LF; the connection is closed, for the sides do not agree about lines.
    bare_newline = 521 (5, 5, 2) "Lines must end in CR LF; closing the connection";
    /// A command at the wrong time.
    bad_sequence = 503 (5, 5, 1) "Bad sequence of commands";
    /// MAIL before EHLO or HELO.
    hello_first = 503 (5, 5, 1) "Please send EHLO first";
    /// DATA without any accepted recipient (RFC 5321 §3.3).
    no_recipients = 554 (5, 5, 1) "No valid recipients";
    /// A domain in a submission that is no full name (RFC 6409 §6.2).
    domain_incomplete = 554 (5, 1, 2) "The domain is not a fully qualified name";
    /// HOLDFOR or HOLDUNTIL beyond what FUTURERELEASE offers, in the past, or no time at all (RFC 4865 §4).
    hold_out_of_range = 501 (5, 5, 4) "The time of release is not one that is offered";
    /// DATA or its like after BODY=BINARYMIME (RFC 3030 §3).
    binary_needs_bdat = 503 (5, 5, 1) "BODY=BINARYMIME needs BDAT";
    /// A command that exists but is not offered here.
    not_implemented = 502 (5, 5, 1) "Command not implemented";
    /// Submission without AUTH (RFC 4954 §6).
    auth_required = 530 (5, 7, 0) "Authentication required";
    /// The command is allowed over TLS only (RFC 3207 §4).
    tls_required = 530 (5, 7, 0) "Must issue a STARTTLS command first";
    /// AUTH in clear text (RFC 4954 §6).
    auth_needs_tls = 538 (5, 7, 11) "Encryption required for this authentication mechanism";
    /// One text for everything that can be wrong with credentials.
    auth_failed = 535 (5, 7, 8) "Authentication credentials invalid";
    /// The client sent `*` (RFC 4954 §4).
    auth_cancelled = 501 (5, 7, 0) "Authentication cancelled";
    /// Base64 or SASL message that cannot be read.
    auth_malformed = 501 (5, 5, 2) "Malformed authentication data";
    /// A mechanism that was not offered.
    auth_mechanism_unknown = 504 (5, 5, 4) "Authentication mechanism not supported";
    /// The local part does not exist in a domain of ours.
    no_such_user = 550 (5, 1, 1) "No such user here";
    /// A return address (SRS) that is not of our making, or too old.
    bad_return_address = 550 (5, 1, 1) "This return address was not made here or has expired";
    /// A recipient that is not ours, from a client that may not submit.
    relay_denied = 550 (5, 7, 1) "Relaying denied";
    /// The recipient exists and takes no mail.
    mailbox_disabled = 550 (5, 2, 1) "Mailbox disabled";
    /// The recipient exists and takes no mail for now.
    mailbox_unavailable = 450 (4, 2, 1) "Mailbox temporarily unavailable";
    /// The recipient's quota has been used up for long, or the message is larger than all of it.
    mailbox_full_for_long = 552 (5, 2, 2) "Mailbox is full";
    /// More octets than SIZE allows (RFC 1870 §6.2).
    message_too_big = 552 (5, 3, 4) "Message too big";
    /// Too many Received fields, or delivered to the same recipient before.
    mail_loop = 554 (5, 4, 6) "Mail loop detected";
    /// A submission in somebody else's name.
    sender_not_owned = 553 (5, 7, 1) "Sender address not owned by the authenticated user";
    /// A non-ASCII address in a transaction that did not announce SMTPUTF8 (RFC 6531 §3.5).
    utf8_needs_extension = 553 (5, 6, 7) "Non-ASCII address without SMTPUTF8";
}

/// The greeting of a server (RFC 5321 §4.2: the name comes first).
pub fn greeting(hostname: &str) -> Reply {
    Reply::plain(220, format!("{hostname} ESMTP Letterlock"))
}

/// HELO accepted.
pub fn hello(hostname: &str) -> Reply {
    Reply::plain(250, hostname.to_owned())
}

/// QUIT.
pub fn closing(hostname: &str) -> Reply {
    Reply::new(221, enhanced(2, 0, 0), format!("{hostname} closing connection"))
}

/// DATA accepted: the message may come.
pub fn start_data() -> Reply {
    Reply::plain(354, "Start mail input; end with <CRLF>.<CRLF>")
}

/// A challenge of AUTH; `challenge` is in base64 already and may be empty.
pub fn auth_challenge(challenge: &str) -> Reply {
    Reply::plain(334, challenge.to_owned())
}

/// A message was accepted and is durable; `id` finds it again in logs and traces.
pub fn accepted(id: impl Display) -> Reply {
    Reply::new(250, enhanced(2, 0, 0), format!("Accepted as {id}"))
}

/// The server stops and closes the connection.
pub fn shutting_down(hostname: &str) -> Reply {
    Reply::new(421, enhanced(4, 3, 2), format!("{hostname} shutting down, please try again later"))
}

/// The client was silent for too long; the connection is closed.
pub fn timed_out(hostname: &str) -> Reply {
    Reply::new(421, enhanced(4, 4, 2), format!("{hostname} timed out waiting, closing connection"))
}

/// As many messages in one session as LIMITS allows (RFC 9422); the client may connect again.
pub fn too_many_messages(hostname: &str) -> Reply {
    Reply::new(
        421,
        enhanced(4, 7, 0),
        format!("{hostname} enough messages in this session, please connect again"),
    )
}

/// The author's domain wants such a message refused: neither SPF nor DKIM passed for it (RFC 9989), which is more than
/// one check (RFC 7372 §3.3). SPF alone refuses nothing here, so there is no 5.7.23.
pub fn dmarc_rejected(reason: impl Into<Cow<'static, str>>) -> Reply {
    Reply::new(550, enhanced(5, 7, 26), reason)
}

/// A DNS answer that decides about the sender is missing for now (RFC 7208 §8.6 has the codes for SPF).
pub fn sender_undecided(reason: impl Into<Cow<'static, str>>) -> Reply {
    Reply::new(451, enhanced(4, 4, 3), reason)
}

/// A message that was accepted before, when the client did not hear of it.
pub fn accepted_before() -> Reply {
    Reply::new(250, enhanced(2, 0, 0), "Accepted before")
}

/// A PROXY header from somebody who is not trusted with it; the connection is closed.
pub fn not_a_proxy(hostname: &str) -> Reply {
    Reply::new(
        521,
        enhanced(5, 7, 1),
        format!("{hostname} takes no PROXY header from you; closing connection"),
    )
}

/// Too many errors in one session; the connection is closed.
pub fn too_many_errors(hostname: &str) -> Reply {
    Reply::new(421, enhanced(4, 7, 0), format!("{hostname} too many errors, closing connection"))
}

/// Something of ours failed so that the connection has to be closed.
pub fn unavailable(hostname: &str) -> Reply {
    Reply::new(
        421,
        enhanced(4, 3, 0),
        format!("{hostname} service not available, closing connection"),
    )
}

/// A client that speaks HTTP; the connection is closed.
pub fn not_http(hostname: &str) -> Reply {
    Reply::new(
        521,
        enhanced(5, 5, 1),
        format!("{hostname} speaks SMTP, not HTTP; closing connection"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The highest detail of each subject in the registry of RFC 5248, whose details have no gaps.
    const REGISTERED: [u16; 8] = [0, 10, 4, 6, 7, 6, 10, 30];

    /// One of each kind of what can be wrong with a command.
    fn command_errors() -> Vec<Reply> {
        use crate::CommandError as E;
        let address = "".parse::<letterlock_address::Mailbox>().unwrap_err();
        [
            E::Unknown,
            E::NotImplemented,
            E::NotUtf8,
            E::NoArgument("RSET"),
            E::Syntax("NOOP"),
            E::Sender(address),
            E::Recipient(address),
            E::NonAscii,
            E::UnknownParameter("X".to_owned()),
            E::BadParameter("SIZE"),
            E::Duplicate("SIZE"),
            E::MalformedParameters,
        ]
        .iter()
        .map(E::reply)
        .collect()
    }

    #[test]
    fn classes_agree_and_lines_fit() {
        let mut replies = all();
        replies.extend([
            closing("mx.example.org"),
            accepted(7),
            shutting_down("mx.example.org"),
            timed_out("mx.example.org"),
            too_many_errors("mx.example.org"),
            unavailable("mx.example.org"),
            not_http("mx.example.org"),
            too_many_messages("mx.example.org"),
            not_a_proxy("mx.example.org"),
            accepted_before(),
            dmarc_rejected("DMARC policy of a.test is to reject this message"),
            sender_undecided("cannot authenticate a.test at the moment"),
        ]);
        replies.extend(command_errors());
        for reply in replies {
            let EnhancedCode { class, subject, detail } = reply.enhanced.unwrap();
            assert_eq!(u16::from(class), reply.code / 100, "{reply}");
            assert!(detail <= REGISTERED[usize::from(subject)], "not registered: {reply}");
            let bytes = reply.to_bytes();
            assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 1, "{reply}");
            assert!(!bytes.contains(&b'?'), "{reply}");
        }
    }

    #[test]
    fn a_refusal_for_its_sender_has_the_code_that_says_so() {
        assert_eq!(dmarc_rejected("no").to_bytes(), b"550 5.7.26 no\r\n");
        assert_eq!(sender_undecided("later").to_bytes(), b"451 4.4.3 later\r\n");
    }

    #[test]
    fn greetings_have_no_enhanced_code() {
        assert_eq!(
            greeting("mx.example.org").to_bytes(),
            b"220 mx.example.org ESMTP Letterlock\r\n"
        );
        assert_eq!(hello("mx.example.org").to_bytes(), b"250 mx.example.org\r\n");
        assert_eq!(auth_challenge("").to_bytes(), b"334 \r\n");
        assert_eq!(start_data().code, 354);
    }
}
