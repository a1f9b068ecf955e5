//! The HTTPS frontend: serves the MTA-STS policy of each local domain (RFC 8461 §3.3) and nothing else.
//!
//! [`route`] is the whole of its logic and knows no sockets; [`Web::serve`] drives one connection, which carries one
//! request. TLS, admission and limits of connections are `net`'s and `guard`'s, as with every other listener.
//!
//! Not here: plain HTTP, certificates of more than one chain (the server's own has to name `mta-sts.DOMAIN` for each
//! domain), and what people see in a browser.

mod route;
mod serve;

pub use route::{Route, route};
pub use serve::Web;
