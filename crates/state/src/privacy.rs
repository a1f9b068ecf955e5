//! Who may read a sender's name in this file.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether what names a message's sender may be kept in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privacy {
    sealed: bool,
}

impl Privacy {
    /// Of a message for these recipients: `any_user_held` says whether one of them is an account here that only its
    /// owner can open. Then the sender is the owner's to know, also for the message's other recipients.
    pub fn of_recipients(any_user_held: bool) -> Self {
        Self { sealed: any_user_held }
    }

    /// What may be shown of `value`.
    pub fn show<T>(self, value: impl Into<T>) -> Shown<T> {
        Shown(if self.sealed { None } else { Some(value.into()) })
    }
}

/// A value that names a sender: in clear, or sealed to the owner of the mailbox, which means that it is not here.
///
/// Made by [`Privacy::show`] alone, so that nobody puts a sender into an event without having asked who may know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown<T>(Option<T>);

impl<T> Shown<T> {
    /// The value, if it may be shown.
    pub fn clear(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("(sealed to the owner)"),
        }
    }
}
