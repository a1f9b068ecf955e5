//! A small world for tests: DNS with DNSSEC, a certificate authority, scripted mail exchangers, line based clients
//! for the three mail protocols, transcripts of real clients, and real Letterlock processes wired to all of them.
//!
//! Development only: no crate of the server depends on it except as a dev-dependency. Everything runs on loopback
//! addresses and on ports that the system hands out, and waits for conditions instead of sleeping. Errors are
//! `anyhow`, because a test has nothing better to do with an error than to show it.

mod background;
pub mod ca;
pub mod dns;
pub mod https;
pub mod imap;
pub mod mx;
pub mod pop3;
pub mod scram;
pub mod server;
pub mod smtp;
pub mod transcript;
mod wire;
pub mod world;
