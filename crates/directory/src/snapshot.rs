//! The whole directory in memory, as it was at one moment.
//!
//! Maps and rows are behind `Arc`s: a change copies the maps it touches (pointers only) and makes the rows it
//! changes anew; all others are shared with the snapshot before. With 10,000 accounts that is
//! well under a millisecond or two.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use letterlock_address::{Domain as DomainName, Mailbox};
use letterlock_vault::AccountId;

use crate::model::{Account, AccountState, Alias, Domain, catch_all_key};

/// The accounts of one domain, in the order in which they were made.
type Members = BTreeMap<i64, AccountId>;

/// Who exists. Cheap to clone, never changes, never waits.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    domains: Arc<BTreeMap<DomainName, Arc<Domain>>>,
    accounts: Arc<BTreeMap<AccountId, Arc<Account>>>,
    members: Arc<HashMap<DomainName, Arc<Members>>>,
    /// Accounts by canonical address.
    addresses: Arc<HashMap<String, AccountId>>,
    /// Aliases by canonical source address.
    aliases: Arc<BTreeMap<String, Arc<Alias>>>,
    marks: Arc<HashMap<AccountId, u64>>,
    last_seq: i64,
}

impl Snapshot {
    /// Whether mail to this domain is for this server. Address literals never are.
    pub fn is_local(&self, domain: &DomainName) -> bool {
        self.domains.contains_key(domain)
    }

    /// A domain of this server.
    pub fn domain(&self, name: &DomainName) -> Option<Arc<Domain>> {
        self.domains.get(name).cloned()
    }

    /// All domains, by name.
    pub fn domains(&self) -> impl ExactSizeIterator<Item = &Arc<Domain>> {
        self.domains.values()
    }

    /// The domain that was added first of those that are left: where the bare `postmaster` belongs.
    pub fn primary_domain(&self) -> Option<Arc<Domain>> {
        self.domains.values().min_by_key(|domain| domain.seq).cloned()
    }

    /// The account of this id.
    pub fn account(&self, id: AccountId) -> Option<Arc<Account>> {
        self.accounts.get(&id).cloned()
    }

    /// The account whose own address this is: exactly, without subaddress or alias.
    pub fn account_by_address(&self, address: &Mailbox) -> Option<Arc<Account>> {
        self.account_by_key(&address.canonical())
    }

    /// All accounts, by id, which is by age.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    /// The alias of exactly this address.
    pub fn alias(&self, source: &Mailbox) -> Option<Arc<Alias>> {
        self.alias_by_key(&source.canonical()).cloned()
    }

    /// The catch-all of a domain.
    pub fn catch_all(&self, domain: &DomainName) -> Option<&Arc<Alias>> {
        self.alias_by_key(&catch_all_key(domain))
    }

    /// All aliases, catch-alls among them, by canonical source.
    pub fn aliases(&self) -> impl ExactSizeIterator<Item = &Arc<Alias>> {
        self.aliases.values()
    }

    /// The mark of an account: the highest count of durable points its mailbox is known to have had; 0 before
    /// the first. A mailbox that counts less was rolled back.
    pub fn mark(&self, account: AccountId) -> u64 {
        self.marks.get(&account).copied().unwrap_or(0)
    }

    pub(crate) fn account_by_key(&self, canonical: &str) -> Option<Arc<Account>> {
        self.accounts.get(self.addresses.get(canonical)?).cloned()
    }

    pub(crate) fn alias_by_key(&self, canonical: &str) -> Option<&Arc<Alias>> {
        self.aliases.get(canonical)
    }

    /// The oldest account of a domain that is enabled.
    pub(crate) fn first_account(&self, domain: &DomainName) -> Option<&Arc<Account>> {
        let members = self.members.get(domain)?;
        members
            .values()
            .filter_map(|id| self.accounts.get(id))
            .find(|account| account.state == AccountState::Enabled)
    }

    /// How many accounts and aliases (its catch-all among them) the domain has.
    pub(crate) fn population(&self, domain: &DomainName) -> (usize, usize) {
        let accounts = self.members.get(domain).map_or(0, |members| members.len());
        let aliases = self.aliases.values().filter(|alias| alias.source.domain() == domain).count();
        (accounts, aliases)
    }

    /// A number higher than any given before, for the order of domains and accounts.
    pub(crate) fn take_seq(&mut self) -> i64 {
        self.last_seq += 1;
        self.last_seq
    }

    pub(crate) fn put_domain(&mut self, domain: Domain) {
        self.last_seq = self.last_seq.max(domain.seq);
        Arc::make_mut(&mut self.domains).insert(domain.name.clone(), Arc::new(domain));
    }

    pub(crate) fn drop_domain(&mut self, name: &DomainName) {
        Arc::make_mut(&mut self.domains).remove(name);
        Arc::make_mut(&mut self.members).remove(name);
    }

    /// Adds an account, or replaces it by a changed one with the same address.
    pub(crate) fn put_account(&mut self, account: Account) {
        self.last_seq = self.last_seq.max(account.seq);
        if !self.accounts.contains_key(&account.id) {
            Arc::make_mut(&mut self.addresses).insert(account.address.canonical(), account.id);
            let members =
                Arc::make_mut(&mut self.members).entry(account.address.domain.clone()).or_default();
            Arc::make_mut(members).insert(account.seq, account.id);
        }
        Arc::make_mut(&mut self.accounts).insert(account.id, Arc::new(account));
    }

    pub(crate) fn drop_account(&mut self, id: AccountId) {
        let Some(account) = Arc::make_mut(&mut self.accounts).remove(&id) else { return };
        Arc::make_mut(&mut self.addresses).remove(&account.address.canonical());
        Arc::make_mut(&mut self.marks).remove(&id);
        if let Some(members) = Arc::make_mut(&mut self.members).get_mut(&account.address.domain) {
            Arc::make_mut(members).remove(&account.seq);
        }
    }

    pub(crate) fn put_alias(&mut self, alias: Alias) {
        Arc::make_mut(&mut self.aliases).insert(alias.source.canonical(), Arc::new(alias));
    }

    pub(crate) fn drop_alias(&mut self, canonical: &str) {
        Arc::make_mut(&mut self.aliases).remove(canonical);
    }

    pub(crate) fn put_mark(&mut self, account: AccountId, count: u64) {
        Arc::make_mut(&mut self.marks).insert(account, count);
    }
}
