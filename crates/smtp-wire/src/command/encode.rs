//! From a [`Command`] to a line, for clients.

use std::fmt::Write;

use super::{Body, Command, Hold, Mail, Notify, Rcpt, Ret, Submitter};
use crate::xtext;

impl Command {
    /// Appends the command's line with its CRLF. Text that a command carries unexamined cannot end the line: control
    /// characters become `?`. [`Command::Http`] and [`Command::Proxy`] write
    /// nothing.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let line = match self {
            Self::Ehlo(name) => format!("EHLO {name}"),
            Self::Helo(name) => format!("HELO {name}"),
            Self::StartTls => "STARTTLS".to_owned(),
            Self::Mail(mail) => mail_line(mail),
            Self::Rcpt(rcpt) => rcpt_line(rcpt),
            Self::Data => "DATA".to_owned(),
            Self::Bdat { size, last } => format!("BDAT {size}{}", if *last { " LAST" } else { "" }),
            Self::Rset => "RSET".to_owned(),
            Self::Noop => "NOOP".to_owned(),
            Self::Vrfy(argument) => format!("VRFY {argument}"),
            Self::Expn(argument) => format!("EXPN {argument}"),
            Self::Help(argument) if argument.is_empty() => "HELP".to_owned(),
            Self::Help(argument) => format!("HELP {argument}"),
            Self::Quit => "QUIT".to_owned(),
            Self::Auth { mechanism, initial } => {
                push_clean(out, &format!("AUTH {mechanism}"));
                if let Some(initial) = initial {
                    // Straight into the caller's buffer, so that no copy of the secret stays behind here.
                    out.push(b' ');
                    out.extend_from_slice(initial.as_str().as_bytes());
                }
                out.extend_from_slice(b"\r\n");
                return;
            }
            Self::Http | Self::Proxy => return,
        };
        push_clean(out, &line);
        out.extend_from_slice(b"\r\n");
    }

    /// The command's line with its CRLF.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.encode(&mut out);
        out
    }
}

fn push_clean(out: &mut Vec<u8>, line: &str) {
    out.extend(line.bytes().map(|byte| if byte.is_ascii_control() { b'?' } else { byte }));
}

fn mail_line(Mail { path, params }: &Mail) -> String {
    let mut line = format!("MAIL FROM:<{path}>");
    let mut add = |text: std::fmt::Arguments<'_>| {
        line.push(' ');
        let _ = line.write_fmt(text); // writing to a String cannot fail
    };
    if let Some(size) = params.size {
        add(format_args!("SIZE={size}"));
    }
    match params.body {
        Body::SevenBit => {}
        Body::EightBitMime => add(format_args!("BODY=8BITMIME")),
        Body::BinaryMime => add(format_args!("BODY=BINARYMIME")),
    }
    if params.smtputf8 {
        add(format_args!("SMTPUTF8"));
    }
    match params.ret {
        Some(Ret::Full) => add(format_args!("RET=FULL")),
        Some(Ret::Hdrs) => add(format_args!("RET=HDRS")),
        None => {}
    }
    if let Some(envid) = &params.envid {
        add(format_args!("ENVID={}", xtext::encode(envid)));
    }
    match &params.auth {
        Some(Submitter::Unknown) => add(format_args!("AUTH=<>")),
        Some(Submitter::Mailbox(mailbox)) => {
            add(format_args!("AUTH={}", xtext::encode(&mailbox.to_string())))
        }
        None => {}
    }
    if params.requiretls {
        add(format_args!("REQUIRETLS"));
    }
    match &params.hold {
        Some(Hold::For(seconds)) => add(format_args!("HOLDFOR={seconds}")),
        Some(Hold::Until(time)) => add(format_args!("HOLDUNTIL={time}")),
        None => {}
    }
    line
}

fn rcpt_line(Rcpt { path, params, .. }: &Rcpt) -> String {
    let mut line = format!("RCPT TO:<{path}>");
    if let Some(notify) = params.notify {
        let words = notify_words(notify);
        if !words.is_empty() {
            line.push_str(" NOTIFY=");
            line.push_str(&words.join(","));
        }
    }
    if let Some(orcpt) = &params.orcpt {
        line.push_str(" ORCPT=");
        line.push_str(&orcpt.to_parameter());
    }
    line
}

fn notify_words(notify: Notify) -> Vec<&'static str> {
    if notify.never {
        return vec!["NEVER"];
    }
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    words.into_iter().filter_map(|(set, word)| set.then_some(word)).collect()
}
