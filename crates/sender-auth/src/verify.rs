//! Fetches the facts: SPF at MAIL, DKIM and DMARC at the end of the message.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use letterlock_address::{Domain, ReversePath};
use letterlock_dns::Resolver;
use mail_auth::common::to_a_label;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::hickory_resolver::TokioResolver;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DmarcResult, MessageAuthenticator, SpfOutput, SpfResult,
};
use tokio::runtime::RuntimeFlavor;

use crate::dkim;
use crate::report::{Dkim, Dmarc, DmarcOutcome, Policy, Report, Spf, SpfCheck, SpfOutcome};

/// How long SPF of one identity may take (RFC 7208 §4.6.4 asks for at least 20 seconds).
const SPF_TIME: Duration = Duration::from_secs(20);
/// How long all signatures of a message may take together, and DMARC after them.
const MESSAGE_TIME: Duration = Duration::from_secs(30);
/// More signatures than this are not looked at; each costs a lookup and a verification.
const MAX_SIGNATURES: usize = 10;
/// Octets from which on reading a message takes longer than an async worker may be kept.
const LONG: usize = 256 * 1024;
/// More Author Domains than this are not looked at.
const MAX_AUTHORS: usize = 5;

/// Where names are looked up.
enum Source {
    /// The server's resolver, asked for its present mode each time.
    Server(Arc<Resolver>),
    /// Any resolver of the library.
    Fixed(Box<TokioResolver>),
}

/// Checks where messages come from. One for a server, shared by all sessions.
pub struct Verifier {
    source: Source,
    hostname: String,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier over the server's resolver. `hostname` is the server's own name, which SPF macros may ask for.
    pub fn new(resolver: Arc<Resolver>, hostname: &str) -> Self {
        Self { source: Source::Server(resolver), hostname: hostname.to_owned() }
    }

    /// A verifier over any resolver, for suites that bring their own DNS.
    pub fn with_resolver(resolver: TokioResolver, hostname: &str) -> Self {
        Self { source: Source::Fixed(Box::new(resolver)), hostname: hostname.to_owned() }
    }

    fn resolver(&self) -> TokioResolver {
        match &self.source {
            Source::Server(resolver) => resolver.hickory(),
            Source::Fixed(resolver) => (**resolver).clone(),
        }
    }

    /// SPF of a client (RFC 7208): `helo` as it was given, then the reverse-path's domain, side by side.
    pub async fn spf(&self, client: IpAddr, helo: &str, reverse_path: &ReversePath) -> Spf {
        let client = client.to_canonical();
        let helo_name = Domain::parse(helo).ok().filter(|name| !name.is_literal());
        let mailbox = reverse_path.mailbox().filter(|mailbox| !mailbox.domain.is_literal());
        let (helo, mail_from) = tokio::join!(
            async {
                let name = helo_name.as_ref()?;
                let parameters = SpfParameters::verify_ehlo(client, name.as_str(), &self.hostname);
                Some(self.check(parameters, name.as_str()).await)
            },
            async {
                let mailbox = mailbox?;
                let sender = format!("{}@{}", mailbox.local.as_str(), mailbox.domain);
                let parameters =
                    SpfParameters::verify_mail_from(client, helo, &self.hostname, &sender);
                Some(self.check(parameters, mailbox.domain.as_str()).await)
            }
        );
        Spf { helo, mail_from }
    }

    async fn check(&self, parameters: SpfParameters<'_>, domain: &str) -> SpfCheck {
        let authenticator = MessageAuthenticator(self.resolver());
        let check = authenticator.verify_spf(parameters);
        let outcome = match tokio::time::timeout(SPF_TIME, check).await {
            Ok(output) => match output.result() {
                SpfResult::Pass => SpfOutcome::Pass,
                SpfResult::Fail => SpfOutcome::Fail,
                SpfResult::SoftFail => SpfOutcome::SoftFail,
                SpfResult::Neutral => SpfOutcome::Neutral,
                SpfResult::TempError => SpfOutcome::TempError,
                SpfResult::PermError => SpfOutcome::PermError,
                SpfResult::None => SpfOutcome::None,
            },
            Err(_) => SpfOutcome::TempError,
        };
        SpfCheck { domain: domain.to_owned(), outcome }
    }

    /// DKIM and DMARC of a message (all of its octets, CRLF line ends), with the SPF results of its transaction.
    pub async fn verify(&self, message: &[u8], spf: Spf) -> Report {
        let authenticator = MessageAuthenticator(self.resolver());
        let Some(mut parsed) = parse(message) else {
            return Report { spf, dkim: Vec::new(), dmarc: Dmarc::none(None), from_domain: None };
        };
        parsed.dkim_headers.truncate(MAX_SIGNATURES);
        parsed.errors.truncate(MAX_SIGNATURES);
        for held in &mut parsed.dkim_headers {
            // Failure reports (RFC 6651) and third-party signers (RFC 6541) only add lookups.
            held.header.r = false;
            held.header.atps = None;
        }
        let (outputs, dkim) = signatures(&authenticator, &parsed).await;
        let authors = authors(&parsed);
        let from_domain = authors.first().cloned();
        let dmarc = self.dmarc(&authenticator, &parsed, authors, &outputs, &spf).await;
        Report { spf, dkim, dmarc, from_domain }
    }

    /// DMARC of the From field. Several addresses of different domains in one field exempt the message
    /// (RFC 9989 §5). Several *fields* are no such message but a malformed one (RFC 5322 §3.6), of which readers show
    /// one: each domain is judged alone and the least favourable result counts.
    async fn dmarc(
        &self,
        authenticator: &MessageAuthenticator,
        message: &AuthenticatedMessage<'_>,
        authors: Vec<String>,
        dkim: &[DkimOutput<'_>],
        spf: &Spf,
    ) -> Dmarc {
        let Some(first) = authors.first() else {
            return Dmarc::none(None);
        };
        let fields =
            message.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"from")).count();
        if authors.len() > 1 && fields <= 1 {
            return Dmarc::none(Some(first.clone()));
        }
        let mut worst = Dmarc::none(Some(first.clone()));
        for author in authors.into_iter().take(MAX_AUTHORS) {
            let mut single = message.clone();
            single.from = vec![format!("author@{author}")];
            let result = evaluate(authenticator, &single, &author, dkim, spf).await;
            if severity(&result) > severity(&worst) {
                worst = result;
            }
        }
        worst
    }
}

/// Reads a message, which hashes its body for each signature. The other connections of this thread do not wait for a
/// long one.
fn parse(message: &[u8]) -> Option<AuthenticatedMessage<'_>> {
    let threads = tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor());
    if message.len() > LONG && matches!(threads, Ok(RuntimeFlavor::MultiThread)) {
        return tokio::task::block_in_place(|| AuthenticatedMessage::parse(message));
    }
    AuthenticatedMessage::parse(message)
}

/// Every domain of the From fields once, in A-labels.
fn authors(message: &AuthenticatedMessage<'_>) -> Vec<String> {
    let mut domains: Vec<String> = Vec::new();
    for address in &message.from {
        if let Some((_, domain)) = address.rsplit_once('@') {
            let domain = to_a_label(domain.trim_end_matches('.')).into_owned();
            if !domain.is_empty() && !domains.contains(&domain) {
                domains.push(domain);
            }
        }
    }
    domains
}

async fn signatures<'x>(
    authenticator: &MessageAuthenticator,
    message: &'x AuthenticatedMessage<'x>,
) -> (Vec<DkimOutput<'x>>, Vec<Dkim>) {
    let verified = tokio::time::timeout(MESSAGE_TIME, authenticator.verify_dkim(message)).await;
    let Ok(verified) = verified else {
        let late = || mail_auth::Error::Dns(mail_auth::DnsError::Resolver(String::new()));
        let outputs: Vec<DkimOutput<'x>> = message
            .dkim_headers
            .iter()
            .map(|held| DkimOutput::temp_err(late()).with_signature(&held.header))
            .collect();
        return split(authenticator, outputs, message).await;
    };
    split(authenticator, verified, message).await
}

async fn split<'x>(
    authenticator: &MessageAuthenticator,
    outputs: Vec<DkimOutput<'x>>,
    message: &'x AuthenticatedMessage<'x>,
) -> (Vec<DkimOutput<'x>>, Vec<Dkim>) {
    let mut kept = Vec::with_capacity(outputs.len());
    let mut described = Vec::with_capacity(outputs.len());
    for output in outputs {
        let (output, signature) =
            dkim::judge(authenticator.resolver(), output, &message.dkim_headers).await;
        kept.push(output);
        described.push(signature);
    }
    (kept, described)
}

async fn evaluate(
    authenticator: &MessageAuthenticator,
    message: &AuthenticatedMessage<'_>,
    author: &str,
    dkim: &[DkimOutput<'_>],
    spf: &Spf,
) -> Dmarc {
    let (spf_domain, spf_result) = match spf.identity() {
        Some(check) => (check.domain.as_str(), library_outcome(check.outcome)),
        None => ("", SpfResult::None),
    };
    let spf_output = SpfOutput::new(spf_domain.to_owned()).with_result(spf_result);
    let parameters = DmarcParameters {
        message,
        dkim_output: dkim,
        dkim2_output: None,
        rfc5321_mail_from_domain: spf_domain,
        spf_output: &spf_output,
    };
    let evaluation = authenticator.verify_dmarc(parameters);
    let domain = Some(author.to_owned());
    let Ok(output) = tokio::time::timeout(MESSAGE_TIME, evaluation).await else {
        return Dmarc { outcome: DmarcOutcome::TempError, domain, policy: None };
    };
    let policy = output.dmarc_record().map(|_| Policy::from(output.policy()));
    let outcome = match output.result() {
        DmarcResult::Pass => DmarcOutcome::Pass,
        DmarcResult::Fail(_) => DmarcOutcome::Fail,
        DmarcResult::TempError(_) => DmarcOutcome::TempError,
        DmarcResult::PermError(_) => DmarcOutcome::PermError,
        DmarcResult::None => DmarcOutcome::None,
    };
    Dmarc { outcome, domain, policy }
}

fn library_outcome(outcome: SpfOutcome) -> SpfResult {
    match outcome {
        SpfOutcome::None => SpfResult::None,
        SpfOutcome::Neutral => SpfResult::Neutral,
        SpfOutcome::Pass => SpfResult::Pass,
        SpfOutcome::Fail => SpfResult::Fail,
        SpfOutcome::SoftFail => SpfResult::SoftFail,
        SpfOutcome::TempError => SpfResult::TempError,
        SpfOutcome::PermError => SpfResult::PermError,
    }
}

/// Orders results of several Author Domains by what follows from them.
fn severity(dmarc: &Dmarc) -> u8 {
    match (dmarc.outcome, dmarc.policy) {
        (DmarcOutcome::Fail, Some(Policy::Reject)) => 6,
        (DmarcOutcome::TempError, None | Some(Policy::Reject | Policy::Quarantine)) => 5,
        (DmarcOutcome::Fail, Some(Policy::Quarantine)) => 4,
        (DmarcOutcome::TempError | DmarcOutcome::Fail, _) => 3,
        (DmarcOutcome::PermError, _) => 2,
        (DmarcOutcome::Pass, _) => 1,
        (DmarcOutcome::None, _) => 0,
    }
}
