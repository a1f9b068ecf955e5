//! The frontend's handle: what a listener needs to serve IMAP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use letterlock_config::Settings;
use letterlock_login::Login;
use letterlock_net::{Shutdown, Stream, Tls};

use crate::capability::Capabilities;
use crate::connection::Connection;
use crate::wire::Wire;

/// What of the configuration IMAP goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Largest literal before login, in octets.
    pub(crate) literal_before_login: u64,
    /// Longest command line, in octets without literals.
    pub(crate) imap_line: u64,
    /// Largest message of APPEND, in octets.
    pub(crate) message_size: u64,
    /// Time to log in, STARTTLS included.
    pub(crate) login_timeout: Duration,
    /// Time without a command; also how long a client may take nothing of an answer.
    pub(crate) imap_idle: Duration,
    /// Time for the handshake after STARTTLS.
    pub(crate) tls_handshake: Duration,
}

/// IMAP for the listeners `imap` and `imaps`.
pub struct Imap {
    pub(crate) login: Arc<Login>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) limits: Limits,
    pub(crate) allow_cleartext: bool,
    /// This server's name, in lower case.
    pub(crate) host: String,
    /// What everybody is offered.
    pub(crate) capabilities: Arc<Capabilities>,
}

impl Imap {
    /// Puts the handles together. Of the settings, `limits`, `imap`, `hostname` and `auth.allow_cleartext` count.
    pub fn new(login: Arc<Login>, tls: Arc<Tls>, settings: &Settings) -> Imap {
        let limits = &settings.limits;
        Imap {
            login,
            tls,
            limits: Limits {
                literal_before_login: limits.imap_literal_before_login,
                imap_line: limits.imap_line,
                message_size: limits.message_size,
                login_timeout: limits.login_timeout,
                imap_idle: limits.imap_idle,
                tls_handshake: limits.tls_handshake,
            },
            allow_cleartext: settings.auth.allow_cleartext,
            host: settings.hostname.to_lowercase(),
            capabilities: Arc::new(Capabilities::new(
                &settings.imap.disabled_capabilities,
                limits.message_size,
            )),
        }
    }

    /// Serves one connection until it ends; whether TLS is in use already is the stream's to say. Returns soon after
    /// `shutdown` begins, when the command under way is done.
    pub async fn serve(self: Arc<Self>, stream: Stream, peer: SocketAddr, shutdown: Shutdown) {
        let wire = Wire::new(stream, self.first_limits(), self.limits.imap_idle);
        Connection::new(&self, peer.ip(), wire, shutdown).run().await;
    }

    /// What the sessions of an account are offered for which these are switched off.
    pub(crate) fn capabilities_without(&self, disabled: &[String]) -> Arc<Capabilities> {
        match disabled {
            [] => Arc::clone(&self.capabilities),
            disabled => Arc::new(self.capabilities.without(disabled)),
        }
    }

    /// The reader's limits before login.
    pub(crate) fn first_limits(&self) -> letterlock_imap_wire::Limits {
        letterlock_imap_wire::Limits::before_login(self.limits.literal_before_login)
    }

    /// The reader's limits once somebody is logged in.
    pub(crate) fn later_limits(&self) -> letterlock_imap_wire::Limits {
        let line = usize::try_from(self.limits.imap_line).unwrap_or(usize::MAX);
        letterlock_imap_wire::Limits::after_login(line, self.limits.message_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten thousand idle sessions have to fit into memory: what a session needs now and then is boxed.
    #[test]
    fn a_session_is_small() {
        fn size<F>(_: impl FnOnce(Arc<Imap>, Stream, SocketAddr, Shutdown) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(|imap, stream, peer, shutdown| imap.serve(stream, peer, shutdown));
        assert!(size < 4096, "{size} octets");
    }
}
