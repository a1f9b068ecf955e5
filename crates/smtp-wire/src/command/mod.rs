//! Commands: typed values, read by servers and written by clients.
//!
//! [`Command::parse`] is given the extensions that the server offered, because a parameter that was not offered
//! has to be refused as if it did not exist (RFC 5321 §4.1.1.11). It looks at one line only. What depends on the
//! session is the session's: whether the command is allowed now, whether STARTTLS, AUTH or BDAT are on offer, whether
//! a recipient may be non-ASCII in this transaction ([`Rcpt::non_ascii`]), whether the declared size is too big.

mod encode;
mod error;
mod name;
mod params;
mod parse;
mod path;

use std::fmt;

use letterlock_address::{ForwardPath, ReversePath};
use zeroize::Zeroizing;

pub use error::CommandError;
pub use name::ClientName;
pub use params::{Body, Hold, MailParams, Notify, OriginalRecipient, RcptParams, Ret, Submitter};

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// EHLO with the client's name.
    Ehlo(ClientName),
    /// HELO with the client's name.
    Helo(ClientName),
    /// STARTTLS (RFC 3207).
    StartTls,
    /// MAIL FROM.
    Mail(Mail),
    /// RCPT TO.
    Rcpt(Rcpt),
    /// DATA.
    Data,
    /// BDAT (RFC 3030).
    Bdat {
        /// Octets that follow the command's CRLF.
        size: u64,
        /// Whether the chunk is the message's last.
        last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP; its argument is nobody's business.
    Noop,
    /// VRFY with its argument, unexamined.
    Vrfy(String),
    /// EXPN with its argument, unexamined.
    Expn(String),
    /// HELP with its argument, empty if there is none.
    Help(String),
    /// QUIT.
    Quit,
    /// AUTH (RFC 4954).
    Auth {
        /// The mechanism's name in upper case.
        mechanism: String,
        /// The initial response, if one was sent.
        initial: Option<InitialResponse>,
    },
    /// A line of HTTP, sent by a browser or by an attack through one: close without a word more.
    Http,
    /// A header of the PROXY protocol where none belongs: who sends it would have us believe that it is somebody else.
    /// Close.
    Proxy,
}

/// MAIL FROM and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Where failure reports go.
    pub path: ReversePath,
    /// The ESMTP parameters.
    pub params: MailParams,
}

/// RCPT TO and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rcpt {
    /// Who receives.
    pub path: ForwardPath,
    /// The ESMTP parameters.
    pub params: RcptParams,
    /// The path was written with non-ASCII characters, perhaps only in its domain, which [`ForwardPath`] no longer
    /// shows: to be refused unless MAIL said SMTPUTF8 (RFC 6531 §3.4). Writing a command does not look at it.
    pub non_ascii: bool,
}

/// The initial response of AUTH as it stood on the line: base64, or `=` for an empty one. Zeroised when dropped,
/// not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct InitialResponse(Zeroizing<String>);

impl InitialResponse {
    /// Takes base64 text or `=`. `None` if it has other characters, or none.
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        let valid = !text.is_empty() && text.bytes().all(allowed);
        valid.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The text of the line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for InitialResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InitialResponse(..)")
    }
}
