//! Changes to domains and their DKIM keys.

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_address::{Domain as DomainName, Mailbox};
use rusqlite::{Transaction, params};

use crate::directory::{Directory, Durability, Store};
use crate::error::DirectoryError;
use crate::model::{DkimKey, DkimState, Domain};
use crate::snapshot::Snapshot;

impl Directory {
    /// Adds a domain with its first DKIM keys.
    ///
    /// # Errors
    /// `DomainExists`, `Literal`, `SelectorExists` for two keys of one selector, `ContactLoop`, `Vault`.
    pub async fn add_domain(
        self: &Arc<Self>,
        name: DomainName,
        contact: Option<Mailbox>,
        dkim: Vec<DkimKey>,
        now: Timestamp,
    ) -> Result<(), DirectoryError> {
        self.change(Durability::Synced, move |next| {
            if name.is_literal() {
                return Err(DirectoryError::Literal(name));
            }
            if next.is_local(&name) {
                return Err(DirectoryError::DomainExists(name));
            }
            let seq = next.take_seq();
            let mut domain = Domain { name, contact, dkim: Vec::new(), created_at: now, seq };
            for key in dkim {
                check_selector(&domain, &key.selector)?;
                domain.dkim.push(key);
            }
            next.put_domain(domain.clone());
            check_contact(next, &domain)?;
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                transaction.execute(
                    "INSERT INTO domains (seq, name, contact, created_at) VALUES (?, ?, ?, ?)",
                    params![seq, domain.name.as_str(), text(&domain.contact), now.as_microsecond()],
                )?;
                domain.dkim.iter().try_for_each(|key| insert_key(transaction, &domain.name, key))
            }) as Store)
        })
        .await
    }

    /// Removes a domain and its DKIM keys.
    ///
    /// # Errors
    /// `NoSuchDomain`; `NotEmpty` while it has accounts or aliases; `Vault`.
    pub async fn remove_domain(self: &Arc<Self>, name: &DomainName) -> Result<(), DirectoryError> {
        let name = name.clone();
        self.change(Durability::Synced, move |next| {
            find(next, &name)?;
            let (accounts, aliases) = next.population(&name);
            if accounts + aliases > 0 {
                return Err(DirectoryError::NotEmpty { domain: name, accounts, aliases });
            }
            next.drop_domain(&name);
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                transaction.execute("DELETE FROM dkim WHERE domain = ?", [name.as_str()])?;
                transaction.execute("DELETE FROM domains WHERE name = ?", [name.as_str()])?;
                Ok(())
            }) as Store)
        })
        .await
    }

    /// Names who gets the mail to the role addresses, or with `None` leaves it to the first account.
    ///
    /// # Errors
    /// `NoSuchDomain`, `ContactLoop`, `Vault`.
    pub async fn set_contact(
        self: &Arc<Self>,
        name: &DomainName,
        contact: Option<Mailbox>,
    ) -> Result<(), DirectoryError> {
        let name = name.clone();
        self.change(Durability::Synced, move |next| {
            let domain = Domain { contact, ..find(next, &name)? };
            next.put_domain(domain.clone());
            check_contact(next, &domain)?;
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                let contact = text(&domain.contact);
                transaction.execute(
                    "UPDATE domains SET contact = ? WHERE name = ?",
                    params![contact, name.as_str()],
                )?;
                Ok(())
            }) as Store)
        })
        .await
    }

    /// Adds a DKIM key to a domain.
    ///
    /// # Errors
    /// `NoSuchDomain`, `SelectorExists`, `Vault`.
    pub async fn add_dkim_key(
        self: &Arc<Self>,
        name: &DomainName,
        key: DkimKey,
    ) -> Result<(), DirectoryError> {
        let name = name.clone();
        self.change(Durability::Synced, move |next| {
            let mut domain = find(next, &name)?;
            check_selector(&domain, &key.selector)?;
            domain.dkim.push(key.clone());
            next.put_domain(domain);
            Ok(Box::new(move |transaction: &Transaction<'_>| insert_key(transaction, &name, &key))
                as Store)
        })
        .await
    }

    /// Makes a DKIM key sign, or not.
    ///
    /// # Errors
    /// `NoSuchDomain`, `NoSuchSelector`, `Vault`.
    pub async fn set_dkim_state(
        self: &Arc<Self>,
        name: &DomainName,
        selector: &str,
        state: DkimState,
    ) -> Result<(), DirectoryError> {
        let (name, selector) = (name.clone(), selector.to_owned());
        self.change(Durability::Synced, move |next| {
            let mut domain = find(next, &name)?;
            let at = key_position(&domain, &selector)?;
            domain.dkim[at].state = state;
            next.put_domain(domain);
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                transaction.execute(
                    "UPDATE dkim SET state = ? WHERE domain = ? AND selector = ?",
                    params![state.as_str(), name.as_str(), selector],
                )?;
                Ok(())
            }) as Store)
        })
        .await
    }

    /// Destroys a DKIM key.
    ///
    /// # Errors
    /// `NoSuchDomain`, `NoSuchSelector`, `Vault`.
    pub async fn remove_dkim_key(
        self: &Arc<Self>,
        name: &DomainName,
        selector: &str,
    ) -> Result<(), DirectoryError> {
        let (name, selector) = (name.clone(), selector.to_owned());
        self.change(Durability::Synced, move |next| {
            let mut domain = find(next, &name)?;
            let at = key_position(&domain, &selector)?;
            domain.dkim.remove(at);
            next.put_domain(domain);
            Ok(Box::new(move |transaction: &Transaction<'_>| {
                transaction.execute(
                    "DELETE FROM dkim WHERE domain = ? AND selector = ?",
                    params![name.as_str(), selector],
                )?;
                Ok(())
            }) as Store)
        })
        .await
    }
}

/// A copy of the domain's row, to change.
fn find(snapshot: &Snapshot, name: &DomainName) -> Result<Domain, DirectoryError> {
    match snapshot.domain(name) {
        Some(domain) => Ok(Domain::clone(&domain)),
        None => Err(DirectoryError::NoSuchDomain(name.clone())),
    }
}

fn check_selector(domain: &Domain, selector: &str) -> Result<(), DirectoryError> {
    match key_position(domain, selector) {
        Ok(_) => Err(DirectoryError::SelectorExists {
            domain: domain.name.clone(),
            selector: selector.to_owned(),
        }),
        Err(_) => Ok(()),
    }
}

fn key_position(domain: &Domain, selector: &str) -> Result<usize, DirectoryError> {
    domain.dkim.iter().position(|key| key.selector == selector).ok_or_else(|| {
        DirectoryError::NoSuchSelector {
            domain: domain.name.clone(),
            selector: selector.to_owned(),
        }
    })
}

fn check_contact(snapshot: &Snapshot, domain: &Domain) -> Result<(), DirectoryError> {
    match &domain.contact {
        Some(contact) if snapshot.walk_roles(&domain.name).looped => {
            Err(DirectoryError::ContactLoop(contact.clone()))
        }
        _ => Ok(()),
    }
}

fn insert_key(
    transaction: &Transaction<'_>,
    domain: &DomainName,
    key: &DkimKey,
) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO dkim (domain, selector, algorithm, private, public_dns, state, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![
            domain.as_str(),
            key.selector,
            key.algorithm.as_str(),
            key.private.pkcs8(),
            key.public_dns,
            key.state.as_str(),
            key.created_at.as_microsecond(),
        ],
    )?;
    Ok(())
}

fn text(mailbox: &Option<Mailbox>) -> Option<String> {
    mailbox.as_ref().map(ToString::to_string)
}
