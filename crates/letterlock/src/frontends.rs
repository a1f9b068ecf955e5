//! The listeners' names, and what serves each of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use letterlock_config::Settings;
use letterlock_guard::Guard;
use letterlock_imap::Imap;
use letterlock_net::{Admission, Audience, Permit, Refused, Shutdown, Stream, Tls, accept_loop};
use letterlock_pop3::Pop3;
use letterlock_sender_auth::Verifier;
use letterlock_smtp::session::{Access, Rules};
use letterlock_smtp::{Connection, Inbound, SpoolRules, Submission};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::serve::Reach;
use crate::stores::Stores;

/// One of each protocol.
pub(crate) struct Frontends {
    admission: Arc<dyn Admission>,
    inbound: Arc<Inbound>,
    submission: Arc<Submission>,
    imap: Arc<Imap>,
    pop3: Arc<Pop3>,
    handshake: Handshake,
}

impl Frontends {
    /// Gives each frontend its handles.
    pub(crate) fn new(
        settings: &Settings,
        stores: &Stores,
        tls: Arc<Tls>,
        reach: Reach,
    ) -> Frontends {
        let verifier = (reach == Reach::World)
            .then(|| Arc::new(Verifier::new(stores.resolver.clone(), &settings.hostname)));
        let cleartext = settings.auth.allow_cleartext;
        let inbound = Inbound {
            connection: smtp_connection(settings, &tls, Access::Anybody, Audience::Servers),
            directory: stores.directory.clone(),
            verifier,
            intake: stores.intake.clone(),
            received_hops: settings.limits.received_hops,
        };
        let submission = Submission {
            connection: smtp_connection(
                settings,
                &tls,
                Access::LoggedIn { cleartext },
                Audience::Clients,
            ),
            directory: stores.directory.clone(),
            login: stores.login.clone(),
            intake: stores.intake.clone(),
            received_hops: settings.limits.received_hops,
        };
        let pop3 = Pop3 {
            login: stores.login.clone(),
            tls: tls.clone(),
            allow_cleartext: cleartext,
            handshake_timeout: settings.limits.tls_handshake,
            login_timeout: settings.limits.login_timeout,
            idle_timeout: settings.limits.pop3_idle,
            locks: letterlock_pop3::Locks::default(),
        };
        Frontends {
            admission: Arc::new(Door {
                guard: stores.guard.clone(),
                hostname: settings.hostname.clone(),
            }),
            inbound: Arc::new(inbound),
            submission: Arc::new(submission),
            imap: Arc::new(Imap::new(stores.login.clone(), tls.clone(), settings)),
            handshake: Handshake { tls, timeout: settings.limits.tls_handshake },
            pop3: Arc::new(pop3),
        }
    }

    /// Begins to accept connections for the listener of this name.
    pub(crate) fn listen(
        &self,
        name: &'static str,
        listener: TcpListener,
        shutdown: &Shutdown,
        tasks: &mut JoinSet<()>,
    ) {
        macro_rules! accept {
            ($frontend:expr, $handshake:expr) => {{
                let (frontend, stop, handshake) = ($frontend.clone(), shutdown.clone(), $handshake);
                let handler = move |stream, peer| {
                    let (frontend, stop, handshake) =
                        (frontend.clone(), stop.clone(), handshake.clone());
                    async move {
                        if let Some(stream) = Handshake::of(handshake, stream, name).await {
                            frontend.serve(stream, peer, stop).await;
                        }
                    }
                };
                tasks.spawn(accept_loop(
                    listener,
                    name,
                    self.admission.clone(),
                    shutdown.clone(),
                    handler,
                ));
            }};
        }
        match name {
            "smtp" => accept!(self.inbound, None),
            "submission" => accept!(self.submission, None),
            "submissions" => accept!(self.submission, Some(self.handshake.clone())),
            "imap" => accept!(self.imap, None),
            "imaps" => accept!(self.imap, Some(self.handshake.clone())),
            "pop3" => accept!(self.pop3, None),
            "pop3s" => accept!(self.pop3, Some(self.handshake.clone())),
            // The configuration refuses addresses for listeners that are not there yet.
            other => tracing::error!(listener = other, "nothing serves this listener"),
        }
    }
}

/// TLS from the first octet (RFC 8314 §3): for people's programs only.
#[derive(Clone)]
struct Handshake {
    tls: Arc<Tls>,
    timeout: Duration,
}

impl Handshake {
    /// The stream with TLS, where the listener wants it so.
    async fn of(this: Option<Handshake>, stream: Stream, listener: &'static str) -> Option<Stream> {
        let Some(Handshake { tls, timeout }) = this else { return Some(stream) };
        match stream.start_tls(&tls, Audience::Clients, timeout).await {
            Ok(stream) => Some(stream),
            Err(error) => {
                tracing::debug!(listener, %error, "TLS handshake");
                None
            }
        }
    }
}

fn smtp_connection(
    settings: &Settings,
    tls: &Arc<Tls>,
    access: Access,
    audience: Audience,
) -> Connection {
    let limits = &settings.limits;
    Connection {
        rules: Rules {
            hostname: settings.hostname.clone(),
            access,
            message_size: limits.message_size,
            recipients: limits.recipients,
            errors: limits.smtp_errors,
        },
        tls: tls.clone(),
        audience,
        spool: SpoolRules {
            folder: settings.data_dir.join("spool").into(),
            memory: usize::try_from(limits.memory_per_message).unwrap_or(usize::MAX),
        },
        handshake_timeout: limits.tls_handshake,
        command_timeout: limits.smtp_command,
        data_timeout: limits.smtp_data,
    }
}

/// Asks the guard, and words its refusals in the protocol at hand.
struct Door {
    guard: Arc<Guard>,
    hostname: String,
}

impl Admission for Door {
    fn admit(&self, peer: IpAddr, listener: &'static str) -> Result<Permit, Refused> {
        match self.guard.admit(peer, listener, Instant::now()) {
            Ok(permit) => Ok(Box::new(permit)),
            Err(_) => Err(Refused { farewell: self.farewell(listener).map(Into::into) }),
        }
    }
}

impl Door {
    /// Where TLS begins at once, nothing can be said.
    fn farewell(&self, listener: &str) -> Option<String> {
        match listener {
            "smtp" | "submission" => Some(format!(
                "421 4.7.0 {} too many connections, please try again later\r\n",
                self.hostname
            )),
            "imap" => {
                Some("* BYE [UNAVAILABLE] Too many connections, please try again later\r\n".into())
            }
            "pop3" => {
                Some("-ERR [SYS/TEMP] Too many connections, please try again later\r\n".into())
            }
            _ => None,
        }
    }
}
