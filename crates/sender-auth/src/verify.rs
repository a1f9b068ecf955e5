//! Fetches the facts: SPF at MAIL; DKIM, DMARC and ARC at the end of the message.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc as Shared;
use std::time::Duration;

use letterlock_address::{Domain, ReversePath};
use letterlock_dns::Resolver;
use mail_auth::common::to_a_label;
use mail_auth::common::verify::VerifySignature as _;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::hickory_resolver::TokioResolver;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DmarcResult, MessageAuthenticator, SpfOutput, SpfResult,
};
use tokio::runtime::RuntimeFlavor;

use crate::arc;
use crate::dkim;
use crate::names::{Memory, Names};
use crate::report::{
    Arc, ArcOutcome, Dkim, Dmarc, DmarcOutcome, Policy, Published, Report, Spf, SpfCheck,
    SpfOutcome,
};
use crate::spf::check::{Identity, check_host};
use crate::txt::{Kind, Texts, walk};

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
    Server(Shared<Resolver>),
    /// Any resolver of the library.
    Fixed(Box<TokioResolver>),
}

/// Checks where messages come from. One for a server, shared by all sessions.
pub struct Verifier {
    source: Source,
    memory: Shared<Memory>,
    /// ARC sealers because of whom a DMARC failure may have no consequences.
    trusted: Vec<Domain>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("trusted", &self.trusted).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier over the server's resolver.
    pub fn new(resolver: Shared<Resolver>) -> Self {
        Self { source: Source::Server(resolver), memory: Shared::default(), trusted: Vec::new() }
    }

    /// A verifier over any resolver, for suites that bring their own DNS.
    pub fn with_resolver(resolver: TokioResolver) -> Self {
        Self {
            source: Source::Fixed(Box::new(resolver)),
            memory: Shared::default(),
            trusted: Vec::new(),
        }
    }

    /// Lets ARC chains of these sealers override DMARC (RFC 8617 §7.2.1).
    pub fn trusting(self, sealers: Vec<Domain>) -> Self {
        Self { trusted: sealers, ..self }
    }

    fn resolver(&self) -> TokioResolver {
        match &self.source {
            Source::Server(resolver) => resolver.hickory(),
            Source::Fixed(resolver) => (**resolver).clone(),
        }
    }

    fn names(&self) -> Names {
        Names::new(self.resolver(), self.memory.clone())
    }

    /// SPF of a client (RFC 7208): `helo` as it was given, then the reverse-path's domain, side by side.
    pub async fn spf(&self, client: IpAddr, helo: &str, reverse_path: &ReversePath) -> Spf {
        let client = client.to_canonical();
        let helo_name = Domain::parse(helo).ok().filter(|name| !name.is_literal());
        let mailbox = reverse_path.mailbox().filter(|mailbox| !mailbox.domain.is_literal());
        let (helo, mail_from) = tokio::join!(
            async {
                let name = helo_name.as_ref()?;
                let identity = Identity {
                    client,
                    helo,
                    sender_local: "postmaster",
                    sender_domain: name.as_str(),
                };
                Some(self.check(&identity).await)
            },
            async {
                let mailbox = mailbox?;
                let identity = Identity {
                    client,
                    helo,
                    sender_local: mailbox.local.as_str(),
                    sender_domain: mailbox.domain.as_str(),
                };
                Some(self.check(&identity).await)
            }
        );
        Spf { helo, mail_from }
    }

    async fn check(&self, identity: &Identity<'_>) -> SpfCheck {
        let names = self.names();
        let check = check_host(&names, identity);
        let outcome = tokio::time::timeout(SPF_TIME, check).await.unwrap_or(SpfOutcome::TempError);
        SpfCheck { domain: identity.sender_domain.to_owned(), outcome }
    }

    /// DKIM, DMARC and ARC of a message (all of its octets, CRLF line ends), with the SPF results of its transaction.
    pub async fn verify(&self, message: &[u8], spf: Spf) -> Report {
        let authenticator = MessageAuthenticator(self.resolver());
        let Some(mut parsed) = parse(message) else {
            let dmarc = Dmarc::none(None);
            return Report { spf, dkim: Vec::new(), dmarc, arc: Arc::default(), from_domain: None };
        };
        parsed.dkim_headers.truncate(MAX_SIGNATURES);
        parsed.errors.truncate(MAX_SIGNATURES);
        for held in &mut parsed.dkim_headers {
            // Failure reports (RFC 6651) and third-party signers (RFC 6541) only add lookups.
            held.header.r = false;
            held.header.atps = None;
        }
        let authors = authors(&parsed);
        let (names, texts) = (self.names(), Texts::default());
        let fetching = texts.fetch(&names, wanted(&parsed, &authors, &spf));
        // What did not come in time is looked up by the checks, which then fail for now.
        let _ = tokio::time::timeout(MESSAGE_TIME, fetching).await;
        texts.forgive_tops(&authors);
        let facts = Facts { authenticator, names, texts };
        let (outputs, dkim) = facts.signatures(&parsed).await;
        let from_domain = authors.first().cloned();
        let mut dmarc = facts.dmarc(&parsed, authors, &outputs, &spf).await;
        let mut arc = facts.arc(&parsed).await;
        let last = parsed.as_headers.last().map(|held| held.header.d.as_str());
        arc.undecided = arc.outcome == ArcOutcome::TempError
            && last.is_some_and(|last| {
                self.trusted.iter().any(|domain| domain.as_str().eq_ignore_ascii_case(last))
            });
        // A field that was put above a sealed message's own From is not what its sealer vouches for.
        if dmarc.outcome == DmarcOutcome::Fail
            && from_fields(&parsed) == 1
            && let Some(author) = dmarc.domain.as_deref()
            && let Some(sealer) = arc.vouching(author, &self.trusted)
        {
            dmarc.overridden_by = Some(sealer.domain.clone());
        }
        Report { spf, dkim, dmarc, arc, from_domain }
    }
}

/// The names that the checks of a message will ask for.
fn wanted(
    message: &AuthenticatedMessage<'_>,
    authors: &[String],
    spf: &Spf,
) -> HashSet<(String, Kind)> {
    let dkim = message.dkim_headers.iter().map(|held| held.header.domain_key());
    let seals = message.as_headers.iter().map(|held| held.header.domain_key());
    let sealed = message.ams_headers.last().map(|held| held.header.domain_key());
    // A chain is verified from its end; the keys of a long one are asked for one by one, until one fails.
    let keys = dkim.chain(seals.rev().take(MAX_SIGNATURES)).chain(sealed);
    let mut wanted: HashSet<_> = keys.map(|name| (name.to_ascii_lowercase(), Kind::Key)).collect();
    let identities = message.dkim_headers.iter().map(|held| held.header.d.to_ascii_lowercase());
    let identities: Vec<String> =
        identities.chain(spf.identity().map(|check| check.domain.clone())).collect();
    for author in authors.iter().take(MAX_AUTHORS) {
        wanted.extend(walk(author));
        // Only what shares its end with the author can be aligned, so only there the library walks.
        let end = author.rsplitn(3, '.').take(2).collect::<Vec<_>>();
        let related = identities.iter().filter(|name| {
            *name != author && name.rsplitn(3, '.').take(2).collect::<Vec<_>>() == end
        });
        wanted.extend(related.flat_map(|name| walk(name)));
    }
    wanted
}

/// What the checks of one message work with.
struct Facts {
    authenticator: MessageAuthenticator,
    names: Names,
    texts: Texts,
}

impl Facts {
    /// DMARC of the From field. Several addresses of different domains in one field exempt the message
    /// (RFC 9989 §5). Several *fields* are no such message but a malformed one (RFC 5322 §3.6), of which readers show
    /// one: each domain is judged alone and the least favourable result counts.
    async fn dmarc(
        &self,
        message: &AuthenticatedMessage<'_>,
        authors: Vec<String>,
        dkim: &[DkimOutput<'_>],
        spf: &Spf,
    ) -> Dmarc {
        let Some(first) = authors.first() else {
            return Dmarc::none(None);
        };
        if authors.len() > 1 && from_fields(message) <= 1 {
            return Dmarc::none(Some(first.clone()));
        }
        let mut worst = Dmarc::none(Some(first.clone()));
        for author in authors.into_iter().take(MAX_AUTHORS) {
            let mut single = message.clone();
            single.from = vec![format!("author@{author}")];
            let result = self.evaluate(&single, &author, dkim, spf).await;
            if severity(&result) > severity(&worst) {
                worst = result;
            }
        }
        worst
    }
    async fn evaluate(
        &self,
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
        let evaluation = self.authenticator.verify_dmarc(self.texts.parameters(parameters));
        let domain = Some(author.to_owned());
        let Ok(output) = tokio::time::timeout(MESSAGE_TIME, evaluation).await else {
            return Dmarc { outcome: DmarcOutcome::TempError, ..Dmarc::none(domain) };
        };
        let policy = output.dmarc_record().map(|_| Policy::from(output.policy()));
        let published = output.dmarc_record().map(|record| {
            let found =
                self.texts.found_policy(author, record).unwrap_or_else(|| author.to_owned());
            Published::new(found, record)
        });
        let outcome = match output.result() {
            DmarcResult::Pass => DmarcOutcome::Pass,
            DmarcResult::Fail(_) => DmarcOutcome::Fail,
            DmarcResult::TempError(_) => DmarcOutcome::TempError,
            DmarcResult::PermError(_) => DmarcOutcome::PermError,
            DmarcResult::None => DmarcOutcome::None,
        };
        Dmarc {
            outcome,
            policy,
            published,
            spf_aligned: *output.spf_result() == DmarcResult::Pass,
            dkim_aligned: *output.dkim_result() == DmarcResult::Pass,
            ..Dmarc::none(domain)
        }
    }

    async fn signatures<'x>(
        &'x self,
        message: &'x AuthenticatedMessage<'x>,
    ) -> (Vec<DkimOutput<'x>>, Vec<Dkim>) {
        let check = self.authenticator.verify_dkim(self.texts.parameters(message));
        let outputs = match tokio::time::timeout(MESSAGE_TIME, check).await {
            Ok(outputs) => outputs,
            Err(_) => {
                let late = || mail_auth::Error::Dns(mail_auth::DnsError::Resolver(String::new()));
                let held = message.dkim_headers.iter();
                held.map(|held| DkimOutput::temp_err(late()).with_signature(&held.header)).collect()
            }
        };
        let mut kept = Vec::with_capacity(outputs.len());
        let mut described = Vec::with_capacity(outputs.len());
        for output in outputs {
            let (output, signature) = dkim::judge(&self.names, output, &message.dkim_headers).await;
            kept.push(output);
            described.push(signature);
        }
        (kept, described)
    }

    async fn arc(&self, message: &AuthenticatedMessage<'_>) -> Arc {
        let check = arc::verify(&self.authenticator, &self.names, &self.texts, message);
        tokio::time::timeout(MESSAGE_TIME, check).await.unwrap_or_else(|_| Arc {
            outcome: ArcOutcome::TempError,
            reason: Some("key lookup failed for now"),
            ..Arc::default()
        })
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

fn from_fields(message: &AuthenticatedMessage<'_>) -> usize {
    let is_from = |name: &[u8]| name.trim_ascii().eq_ignore_ascii_case(b"from");
    message.headers.iter().filter(|(name, _)| is_from(name)).count()
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
