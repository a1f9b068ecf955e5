//! What an address means.
//!
//! An address of a local domain is looked up in this order: an account or alias of exactly this address; the same
//! without `+detail`; a role address ([`ROLES`]), which every domain has unless an account or alias took its name.
//! What is still nobody's goes to the domain's catch-all, if it has one.
//!
//! Aliases may lead to aliases; loops and chains of more than [`MAX_DEPTH`] steps end without a target.
//!
//! A role address goes to the domain's contact; if that leads nowhere (not named, not there yet, disabled), to the
//! domain's oldest enabled account; if there is none, the mail waits.

use std::collections::HashMap;
use std::sync::Arc;

use letterlock_address::{Domain as DomainName, Mailbox};
use letterlock_vault::AccountId;

use crate::model::{Account, AccountState, Alias, Disabled};
use crate::snapshot::Snapshot;

/// The local parts that every domain of this server accepts (RFC 2142 §4, RFC 5321 §4.5.1; the two others receive
/// the reports that the domain's DNS records ask for).
pub const ROLES: [&str; 4] = ["postmaster", "abuse", "tls-reports", "dmarc-reports"];

/// How many aliases may lead from one to the next.
pub(crate) const MAX_DEPTH: usize = 16;

/// What becomes of mail to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It is for this account, which is enabled.
    Account(AccountId),
    /// An alias or role address leads to these; at least one, each once. Members that are disabled or no more are
    /// left out as long as others remain.
    Aliased(Vec<Target>),
    /// A role address of a domain that has nobody yet: accept it and keep it in the queue.
    Waiting,
    /// The domain is ours, the address is nobody's.
    NoSuchUser,
    /// The domain is not one of ours, or an address literal.
    NotLocal,
    /// It is for an account that is disabled (or for an alias of which nothing else is left).
    Disabled(Disabled),
}

/// Where an alias leads in the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// To an enabled account of this server.
    Account(AccountId),
    /// To an address elsewhere.
    Remote(Mailbox),
}

enum Found {
    Account(Arc<Account>),
    Alias(Arc<Alias>),
    Role(DomainName),
    Nothing,
}

/// What following aliases has brought so far.
#[derive(Default)]
pub(crate) struct Walk {
    targets: Vec<Target>,
    disabled: Option<Disabled>,
    waiting: bool,
    /// Aliases and roles passed: whether a target was reached through them; `None` while they are being followed.
    passed: HashMap<String, Option<bool>>,
    /// An alias led to one that is still being followed.
    pub(crate) looped: bool,
    /// A chain had more than [`MAX_DEPTH`] steps.
    pub(crate) too_deep: bool,
}

impl Snapshot {
    /// What becomes of mail to `mailbox`.
    pub fn resolve(&self, mailbox: &Mailbox) -> Resolution {
        if !self.is_local(&mailbox.domain) {
            return Resolution::NotLocal;
        }
        if let Found::Account(account) = self.find(mailbox) {
            return match account.state {
                AccountState::Enabled => Resolution::Account(account.id),
                AccountState::Disabled(how) => Resolution::Disabled(how),
            };
        }
        let walk = self.walk(mailbox);
        if walk.looped || walk.too_deep {
            tracing::warn!(
                looped = walk.looped,
                too_deep = walk.too_deep,
                "an alias or contact could not be followed to its end"
            );
        }
        match walk {
            Walk { targets, .. } if !targets.is_empty() => Resolution::Aliased(targets),
            Walk { waiting: true, .. } => Resolution::Waiting,
            Walk { disabled: Some(how), .. } => Resolution::Disabled(how),
            _ => Resolution::NoSuchUser,
        }
    }

    /// The bare `postmaster` (RFC 5321 §4.5.1): its full address, at the domain that was added first, and what
    /// becomes of mail to it. `None` while there is no domain.
    pub fn resolve_postmaster(&self) -> Option<(Mailbox, Resolution)> {
        let primary = self.primary_domain()?;
        let address = Mailbox::parse(&format!("postmaster@{}", primary.name)).ok()?;
        let resolution = self.resolve(&address);
        Some((address, resolution))
    }

    /// Where mail to the domain's role addresses goes when nobody took their names: the contact that the operator
    /// named, else the address of the oldest enabled account.
    pub fn default_contact(&self, domain: &DomainName) -> Option<Mailbox> {
        let named = self.domain(domain)?.contact.clone();
        named.or_else(|| self.first_account(domain).map(|account| account.address.clone()))
    }

    /// Whether the account may use `mailbox` as From or reverse-path: its own address, that with a `+detail`, and
    /// every alias or role address through which it receives mail. So each member of a group alias may
    /// write in the group's name; an address that only leads elsewhere belongs to nobody here.
    pub fn may_send_as(&self, account: AccountId, mailbox: &Mailbox) -> bool {
        match self.resolve(mailbox) {
            Resolution::Account(owner) => owner == account,
            Resolution::Aliased(targets) => targets.contains(&Target::Account(account)),
            _ => false,
        }
    }

    /// Follows `mailbox` through all aliases and roles.
    pub(crate) fn walk(&self, mailbox: &Mailbox) -> Walk {
        let mut walk = Walk::default();
        self.follow(mailbox, 0, &mut walk);
        walk
    }

    /// Follows an alias, which need not be in the snapshot.
    pub(crate) fn walk_alias(&self, alias: &Alias) -> Walk {
        let mut walk = Walk::default();
        self.take(Step::Alias(Arc::new(alias.clone())), 0, &mut walk);
        walk
    }

    /// Follows the role addresses of a domain, whoever took their names.
    pub(crate) fn walk_roles(&self, domain: &DomainName) -> Walk {
        let mut walk = Walk::default();
        walk.passed.insert(Step::Role(domain.clone()).name(), None);
        self.follow_role(domain, 0, &mut walk);
        walk
    }

    fn find(&self, mailbox: &Mailbox) -> Found {
        let canonical = mailbox.canonical();
        if let Some(found) = self.find_exactly(&canonical) {
            return found;
        }
        let local = mailbox.local.canonical();
        let base = match local.split_once('+') {
            Some((base, _)) if !base.is_empty() => base,
            _ => local.as_str(),
        };
        if base.len() < local.len()
            && let Some(found) = self.find_exactly(&format!("{base}@{}", mailbox.domain))
        {
            return found;
        }
        if ROLES.contains(&base) && self.is_local(&mailbox.domain) {
            return Found::Role(mailbox.domain.clone());
        }
        self.catch_all(&mailbox.domain).map_or(Found::Nothing, |all| Found::Alias(all.clone()))
    }

    fn find_exactly(&self, canonical: &str) -> Option<Found> {
        if let Some(account) = self.account_by_key(canonical) {
            return Some(Found::Account(account));
        }
        self.alias_by_key(canonical).cloned().map(Found::Alias)
    }

    /// Adds what `mailbox` leads to; whether it leads to anything.
    fn follow(&self, mailbox: &Mailbox, depth: usize, walk: &mut Walk) -> bool {
        if !self.is_local(&mailbox.domain) {
            walk.reach(Target::Remote(mailbox.clone()));
            return true;
        }
        let step = match self.find(mailbox) {
            Found::Account(account) => {
                return match account.state {
                    AccountState::Enabled => {
                        walk.reach(Target::Account(account.id));
                        true
                    }
                    AccountState::Disabled(how) => {
                        walk.disabled.get_or_insert(how);
                        false
                    }
                };
            }
            Found::Nothing => return false,
            Found::Alias(alias) => Step::Alias(alias),
            Found::Role(domain) => Step::Role(domain),
        };
        self.take(step, depth, walk)
    }

    /// Goes on from an alias or role, unless it was passed before; whether it leads to anything.
    fn take(&self, step: Step, depth: usize, walk: &mut Walk) -> bool {
        let name = step.name();
        match walk.passed.get(&name) {
            Some(Some(reached)) => return *reached,
            Some(None) => {
                walk.looped = true;
                return false;
            }
            None if depth >= MAX_DEPTH => {
                walk.too_deep = true;
                return false;
            }
            None => {}
        }
        walk.passed.insert(name.clone(), None);
        let reached = match step {
            Step::Alias(alias) => {
                // Each target is followed: no short circuit.
                alias
                    .targets
                    .iter()
                    .fold(false, |reached, target| self.follow(target, depth + 1, walk) | reached)
            }
            Step::Role(domain) => self.follow_role(&domain, depth, walk),
        };
        walk.passed.insert(name, Some(reached));
        reached
    }

    fn follow_role(&self, domain: &DomainName, depth: usize, walk: &mut Walk) -> bool {
        let contact = self.domain(domain).and_then(|domain| domain.contact.clone());
        if contact.is_some_and(|contact| self.follow(&contact, depth + 1, walk)) {
            return true;
        }
        match self.first_account(domain) {
            Some(account) => {
                walk.reach(Target::Account(account.id));
                true
            }
            None => {
                walk.waiting = true;
                false
            }
        }
    }
}

enum Step {
    Alias(Arc<Alias>),
    Role(DomainName),
}

impl Step {
    /// A name no other alias or role has. All roles of a domain are one step: they lead to the same place.
    fn name(&self) -> String {
        match self {
            Self::Alias(alias) => alias.source.canonical(),
            // A blank stands in no address without quotes, and at the front in none at all.
            Self::Role(domain) => format!(" roles@{domain}"),
        }
    }
}

impl Walk {
    fn reach(&mut self, target: Target) {
        if !self.targets.contains(&target) {
            self.targets.push(target);
        }
    }
}
