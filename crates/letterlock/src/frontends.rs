//! The listeners' names, and what serves each of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use letterlock_config::Settings;
use letterlock_delivery::Rooms;
use letterlock_directory::QuotaVerdict;
use letterlock_guard::Guard;
use letterlock_imap::Imap;
use letterlock_net::{
    Admission, Audience, Permit, Refused, Shutdown, Stream, Tls, TrustedProxies, accept_loop_behind,
};
use letterlock_pop3::Pop3;
use letterlock_sender_auth::Verifier;
use letterlock_smtp::session::{Access, Rules, Tarpit};
use letterlock_smtp::{Connection, Inbound, LostReplies, Retries, Room, SpoolRules, Submission};
use letterlock_state::State;
use letterlock_transport_policy::OwnPolicy;
use letterlock_vault::AccountId;
use letterlock_web::Web;
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
    web: Arc<Web>,
    handshake: Handshake,
    proxies: letterlock_config::Proxy,
    proxy_patience: Duration,
}

/// The domains whose ARC seals are believed. The settings hold names only.
fn trusted_sealers(settings: &Settings) -> Vec<letterlock_address::Domain> {
    settings.inbound.trusted_sealers.iter().filter_map(|name| name.parse().ok()).collect()
}

impl Frontends {
    /// Gives each frontend its handles.
    pub(crate) fn new(
        settings: &Settings,
        stores: &Stores,
        tls: Arc<Tls>,
        reach: Reach,
    ) -> Frontends {
        let verifier = (reach == Reach::World).then(|| {
            let verifier = Verifier::new(stores.resolver.clone());
            Arc::new(verifier.trusting(trusted_sealers(settings)))
        });
        let cleartext = settings.auth.allow_cleartext;
        let inbound = Inbound {
            connection: smtp_connection(settings, stores, &tls, Access::Anybody),
            directory: stores.directory.clone(),
            verifier,
            intake: stores.intake.clone(),
            received_hops: settings.limits.received_hops,
        };
        let submission = Submission {
            connection: smtp_connection(settings, stores, &tls, Access::LoggedIn { cleartext }),
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
        let web = Web {
            directory: stores.directory.clone(),
            policy: OwnPolicy::new(&settings.mta_sts, &settings.hostname),
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
            proxies: settings.proxy.clone(),
            proxy_patience: settings.limits.proxy_header,
            pop3: Arc::new(pop3),
            web: Arc::new(web),
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
                let proxies = TrustedProxies {
                    networks: self.proxies.of(name).to_vec(),
                    patience: self.proxy_patience,
                };
                tasks.spawn(accept_loop_behind(
                    Arc::new(proxies),
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
            "https" => accept!(self.web, Some(self.handshake.clone())),
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
    stores: &Stores,
    tls: &Arc<Tls>,
    access: Access,
) -> Connection {
    let limits = &settings.limits;
    // Only our own people may have a message wait: other servers have queues of their own.
    let (audience, future_release) = match access {
        Access::Anybody => (Audience::Servers, None),
        Access::LoggedIn { .. } => {
            (Audience::Clients, Some(limits.future_release).filter(|most| !most.is_zero()))
        }
    };
    Connection {
        rules: Rules {
            hostname: settings.hostname.clone(),
            access,
            message_size: limits.message_size,
            recipients: limits.recipients,
            messages: limits.smtp_messages,
            errors: limits.smtp_errors,
            tarpit: Tarpit {
                after: limits.tarpit_after,
                step: limits.tarpit,
                most: limits.tarpit_max,
            },
            future_release,
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
        guard: stores.guard.clone(),
        retries: Some(retries(stores)),
        room: Some(Arc::new(Quotas(stores.rooms.clone()))),
    }
}

/// Recognises messages whose 250 was lost, also across a restart.
fn retries(stores: &Stores) -> Retries {
    let key = stores.server_key.derive("lost replies", b"");
    Retries::new(key, Arc::new(Replies(stores.state.clone())))
}

/// The memory of lost replies.
struct Replies(Arc<State>);

impl LostReplies for Replies {
    fn remember(&self, hash: [u8; 32], at: Timestamp) {
        self.0.remember_unconfirmed(hash, at);
    }

    fn take(&self, hash: &[u8; 32], now: Timestamp) -> bool {
        self.0.take_unconfirmed(hash, now)
    }
}

/// Who has room for mail.
struct Quotas(Arc<Rooms>);

impl Room for Quotas {
    fn verdict(&self, account: AccountId, octets: u64, now: Timestamp) -> QuotaVerdict {
        self.0.verdict(account, octets, now)
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
