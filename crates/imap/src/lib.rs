//! IMAP4rev2 (RFC 9051) and IMAP4rev1 (RFC 3501): sessions over the codec of `imap-wire` and the mail of `mailbox`.
//!
//! [`Imap`] serves one connection at a time with [`Imap::serve`]. What it does: greeting, STARTTLS, logging in,
//! the state machine of a session, the numbering of messages that each session has for itself, and all commands of both
//! revisions with the extensions that are advertised. What it does not do: it parses no commands and writes no syntax
//! (`imap-wire`), checks no passwords (`login`), stores and searches nothing (`mailbox`), opens no sockets (`net`).
//!
//! Why it is not one sans-I/O machine: nearly every command asks the mailbox, which answers asynchronously and in
//! batches, and a FETCH of a large mailbox must wait for the client to read before it asks for more. A pure machine would
//! need an event and a state for each such question. So the pure parts stand apart and are tested without a socket
//! — the codec; `View`, which numbers messages and decides what a client is told; LIST matching; what a
//! command may do in which state — and the handlers between them are short asynchronous functions over three things: the
//! mailbox's handle, the session's view, and `Wire`, which holds input, output and the back-pressure between them.
//!
//! A session's state is an enum consumed by value: a handler that logs out, deselects or begins TLS returns the
//! next one.

mod account;
mod append;
mod arrival;
mod auth;
mod capability;
mod carry;
mod catenate;
mod connection;
mod context;
mod deflate;
mod enable;
mod fetch;
mod flags;
mod folders;
mod fuzzy;
mod idle;
mod keys;
mod large;
mod list;
mod message;
mod metadata;
mod multi;
mod names;
mod news;
mod notify;
mod outcome;
mod rank;
mod refresh;
mod requires;
mod resync;
mod search;
mod select;
mod serve;
mod session;
mod sort;
mod store;
mod view;
mod watch;
mod wire;

pub use serve::Imap;
