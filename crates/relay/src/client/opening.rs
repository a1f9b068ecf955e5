//! The dialogue's part that a connection has once: greeting, EHLO, STARTTLS, login.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use letterlock_smtp_wire::command::{Command, InitialResponse};
use letterlock_smtp_wire::{Capabilities, Extensions, Reply};
use zeroize::Zeroizing;

use super::dialogue::{Action, Dialogue, State};
use super::{End, Login, Security};
use crate::finding::{Fate, Finding};

impl Dialogue<'_> {
    pub(super) fn hello(&mut self) -> Action {
        self.state = State::Ehlo;
        Action::Send(Command::Ehlo(self.job.own.clone()).to_bytes())
    }

    pub(super) fn ehlo(&mut self, reply: &Reply) -> Action {
        if reply.is_permanent() {
            // RFC 5321 §3.2: a server of old.
            self.state = State::Helo;
            return Action::Send(Command::Helo(self.job.own.clone()).to_bytes());
        }
        if !reply.is_success() {
            return self.trouble(self.said(reply));
        }
        self.standing.offered = Capabilities::parse(reply);
        if self.security == Security::Wanted && self.standing.offered.offers(Extensions::STARTTLS) {
            self.state = State::StartTls;
            return Action::Send(Command::StartTls.to_bytes());
        }
        self.ask()
    }

    /// As much is known about the connection as ever will be: is it good enough?
    pub(super) fn ask(&mut self) -> Action {
        self.state = State::Judge;
        Action::Judge
    }

    /// The answer to [`Action::Judge`]: it is.
    pub fn allow(&mut self) -> Action {
        match self.login {
            Some(login) => self.log_in(login),
            None => self.begin(),
        }
    }

    /// The answer to [`Action::Judge`]: it is not, as the finding says.
    pub fn forbid(&mut self, finding: Finding) -> Action {
        match finding.fate {
            Fate::Failed => self.end(End::Refused(finding)),
            _ => self.end(End::Trouble(finding)),
        }
    }

    /// PLAIN with its response at once (RFC 4954 §4), or LOGIN, which old servers have instead.
    fn log_in(&mut self, login: &Login) -> Action {
        let offered = &self.standing.offered;
        // PLAIN is said at once, and has no further step.
        let (mechanism, initial, step) = if offered.offers_auth("PLAIN") {
            let message = Zeroizing::new(format!("\0{}\0{}", login.user, login.password.as_str()));
            let text = Zeroizing::new(STANDARD.encode(message.as_bytes()));
            ("PLAIN", InitialResponse::new(&text), 2)
        } else if offered.offers_auth("LOGIN") {
            ("LOGIN", None, 0)
        } else {
            let text = format!("{} offers no way to log in that is known here", self.host);
            return self.trouble(Finding::deferred(7, 0, text));
        };
        self.state = State::Login(step);
        Action::Send(Command::Auth { mechanism: mechanism.to_owned(), initial }.to_bytes())
    }

    pub(super) fn logging_in(&mut self, step: usize, reply: &Reply) -> Action {
        let Some(login) = self.login else { return self.out_of_turn() };
        if reply.code == 235 {
            return self.begin();
        }
        // LOGIN asks for the user, then for the password, in whatever words.
        let answer = match (reply.code, step) {
            (334, 0) => login.user.as_bytes(),
            (334, 1) => login.password.as_bytes(),
            // Whoever runs this server can mend it, and no message should be lost by then.
            _ => return self.trouble(self.said(reply)),
        };
        self.state = State::Login(step + 1);
        let mut line = STANDARD.encode(answer);
        line.push_str("\r\n");
        Action::Send(line.into_bytes())
    }

    /// The server is known: can it take the message?
    pub(super) fn begin(&mut self) -> Action {
        match self.obstacle() {
            Some(finding) => {
                // For another message the connection is as good as ever, but this one ends here.
                self.end(End::Refused(finding))
            }
            None => self.after_round(),
        }
    }

    /// What is ours to refuse.
    pub(super) fn obstacle(&self) -> Option<Finding> {
        let lacks = |extension| !self.standing.offered.offers(extension);
        let (content, host) = (&self.job.content, &self.host);
        if self.job.needs_smtputf8() && lacks(Extensions::SMTPUTF8) {
            let text = format!("{host} takes no internationalised addresses or headers (SMTPUTF8)");
            return Some(Finding::failed(6, 7, text));
        }
        if content.eight_bit && lacks(Extensions::EIGHT_BIT_MIME) {
            let text = format!("{host} takes no messages with 8-bit characters (8BITMIME)");
            return Some(Finding::failed(6, 3, text));
        }
        if content.binary && lacks(Extensions::BINARY_MIME | Extensions::CHUNKING) {
            let text = format!("{host} takes no binary messages (BINARYMIME)");
            return Some(Finding::failed(6, 3, text));
        }
        if content.bare_newline && lacks(Extensions::CHUNKING) {
            let text = format!("the message has broken line ends, which {host} could misread");
            return Some(Finding::failed(6, 0, text));
        }
        match self.standing.offered.max_size {
            Some(limit) if content.size > limit => {
                let text = format!("the message has {} octets; {host} takes {limit}", content.size);
                Some(Finding::failed(3, 4, text))
            }
            _ => None,
        }
    }
}
