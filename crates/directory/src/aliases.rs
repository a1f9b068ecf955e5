//! Changes to aliases.

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_address::Mailbox;
use rusqlite::{Transaction, params};

use crate::directory::{Directory, Durability, Store};
use crate::error::DirectoryError;
use crate::model::{Alias, AliasSource};
use crate::snapshot::Snapshot;

impl Directory {
    /// Makes an alias or a domain's catch-all, or adds targets to the one there is. Targets need not exist (yet): mail
    /// to an alias of which no target does is refused.
    ///
    /// # Errors
    /// `NoSuchDomain` if the source is not in a domain of this server, `AddressTaken` if it is an account's,
    /// `AliasUnchanged` if no target is new, `AliasLoop`, `AliasTooDeep`, `Vault`.
    pub async fn add_alias(
        self: &Arc<Self>,
        source: impl Into<AliasSource>,
        targets: Vec<Mailbox>,
        now: Timestamp,
    ) -> Result<(), DirectoryError> {
        let source = source.into();
        self.change(Durability::Synced, move |next| {
            if !next.is_local(source.domain()) {
                return Err(DirectoryError::NoSuchDomain(source.domain().clone()));
            }
            match &source {
                AliasSource::Address(address) if next.account_by_address(address).is_some() => {
                    return Err(DirectoryError::AddressTaken(address.clone()));
                }
                _ => {}
            }
            let mut alias = match next.alias_by_key(&source.canonical()) {
                Some(alias) => Alias::clone(alias),
                None => Alias { source, targets: Vec::new(), created_at: now },
            };
            let before = alias.targets.len();
            for target in targets {
                if !alias.targets.iter().any(|known| same(next, known, &target)) {
                    alias.targets.push(target);
                }
            }
            if alias.targets.len() == before {
                return Err(DirectoryError::AliasUnchanged(alias.source));
            }
            next.put_alias(alias.clone());
            check_chains(next, &alias)?;
            Ok(store(alias))
        })
        .await
    }

    /// Removes one target of an alias, and the alias with its last; or with `None` the whole alias.
    ///
    /// # Errors
    /// `NoSuchAlias`, `NoSuchTarget`, `Vault`.
    pub async fn remove_alias(
        self: &Arc<Self>,
        source: impl Into<AliasSource>,
        target: Option<&Mailbox>,
    ) -> Result<(), DirectoryError> {
        let (source, target) = (source.into(), target.cloned());
        self.change(Durability::Synced, move |next| {
            let mut alias = match next.alias_by_key(&source.canonical()) {
                Some(alias) => Alias::clone(alias),
                None => return Err(DirectoryError::NoSuchAlias(source)),
            };
            match target {
                None => alias.targets.clear(),
                Some(target) => {
                    let before = alias.targets.len();
                    alias.targets.retain(|known| !same(next, known, &target));
                    if alias.targets.len() == before {
                        return Err(DirectoryError::NoSuchTarget { alias: source, target });
                    }
                }
            }
            if alias.targets.is_empty() {
                next.drop_alias(&alias.source.canonical());
            } else {
                next.put_alias(alias.clone());
            }
            Ok(store(alias))
        })
        .await
    }
}

/// Whether two targets are the same place: local addresses by their canonical form, others octet by octet, since
/// their case is the other server's affair.
fn same(snapshot: &Snapshot, one: &Mailbox, two: &Mailbox) -> bool {
    one == two || (snapshot.is_local(&one.domain) && one.canonical() == two.canonical())
}

/// Refuses what would make a loop, or a chain that resolving would cut off: from this alias, or from another that
/// leads to it. All aliases are followed once, which is a few milliseconds for thousands of them.
fn check_chains(snapshot: &Snapshot, alias: &Alias) -> Result<(), DirectoryError> {
    if snapshot.walk_alias(alias).looped {
        return Err(DirectoryError::AliasLoop(alias.source.clone()));
    }
    if snapshot.aliases().any(|other| snapshot.walk_alias(other).too_deep) {
        return Err(DirectoryError::AliasTooDeep(alias.source.clone()));
    }
    Ok(())
}

/// Writes the alias as it now is; one without targets is deleted.
fn store(alias: Alias) -> Store {
    Box::new(move |transaction: &Transaction<'_>| {
        let canonical = alias.source.canonical();
        transaction.execute("DELETE FROM alias_targets WHERE alias = ?", [&canonical])?;
        transaction.execute("DELETE FROM aliases WHERE canonical = ?", [&canonical])?;
        if alias.targets.is_empty() {
            return Ok(());
        }
        transaction.execute(
            "INSERT INTO aliases (canonical, source, created_at) VALUES (?, ?, ?)",
            params![canonical, alias.source.to_string(), alias.created_at.as_microsecond()],
        )?;
        for (position, target) in (0i64..).zip(&alias.targets) {
            transaction.execute(
                "INSERT INTO alias_targets (alias, position, target) VALUES (?, ?, ?)",
                params![canonical, position, target.to_string()],
            )?;
        }
        Ok(())
    })
}
