//! What changed between two looks at the list of mailboxes (RFC 5465 §5.4, §5.5), and what of it the client did itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use letterlock_imap_wire::response::ListAttribute;
use letterlock_imap_wire::sequence::NumberSet;
use letterlock_imap_wire::{Code, Command, MailboxName};
use letterlock_mailbox::name::{INBOX, normalise};
use letterlock_mailbox::{Changes, Folder, FolderId, MailboxError};

use crate::notify::{above, is_below};
use crate::session::User;

/// The mailboxes and the subscriptions at one moment.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub(crate) folders: Vec<Folder>,
    subscriptions: BTreeSet<String>,
}

impl List {
    /// As they are now.
    pub(crate) async fn read(user: &User) -> Result<Self, MailboxError> {
        let folders = user.mailbox().folders().await?;
        let subscriptions = user.mailbox().subscriptions().await?.into_iter().collect();
        Ok(Self { folders, subscriptions })
    }

    /// The name's entry, if it is a mailbox or stands above one.
    fn entry(&self, name: &str) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.name == name)
    }

    /// The mailbox of that id.
    pub(crate) fn by_id(&self, id: FolderId) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.id == Some(id))
    }

    fn exists(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|folder| folder.id.is_some())
    }

    /// Whether the name is subscribed, mailbox or not.
    pub(crate) fn is_subscribed(&self, name: &str) -> bool {
        self.subscriptions.contains(name)
    }

    /// All attributes of a name, as they are.
    pub(crate) fn attributes(&self, name: &str) -> Vec<ListAttribute> {
        let entry = self.entry(name);
        let mut attributes = Vec::new();
        if entry.is_none_or(|folder| folder.id.is_none()) {
            attributes.push(ListAttribute::NonExistent);
        }
        if self.is_subscribed(name) {
            attributes.push(ListAttribute::Subscribed);
        }
        attributes.push(match entry.is_some_and(|folder| folder.has_children) {
            true => ListAttribute::HasChildren,
            false => ListAttribute::HasNoChildren,
        });
        attributes.extend(entry.and_then(|folder| folder.special_use).map(ListAttribute::Use));
        attributes
    }
}

/// What became of a name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Affected {
    /// What the mailbox was called before, if it was renamed.
    pub(crate) old: Option<String>,
    /// A mailbox was made, deleted or renamed.
    pub(crate) named: bool,
    /// It was subscribed, or that ended.
    pub(crate) subscription: bool,
}

/// The names that are affected. `inbox_to` are mailboxes that INBOX was renamed to: INBOX itself stays, and nothing is
/// told of it.
pub(crate) fn affected(
    before: &List,
    after: &List,
    inbox_to: &[String],
) -> BTreeMap<String, Affected> {
    let mut all: BTreeMap<String, Affected> = BTreeMap::new();
    let ids = |list: &List| -> HashMap<FolderId, String> {
        let id = |folder: &Folder| Some((folder.id?, folder.name.clone()));
        list.folders.iter().filter_map(id).collect()
    };
    let (old, new) = (ids(before), ids(after));
    let renamed: HashMap<&str, &str> = new
        .iter()
        .filter_map(|(id, name)| Some((old.get(id)?.as_str(), name.as_str())))
        .filter(|(from, to)| from != to)
        .collect();
    for (from, to) in &renamed {
        // With a mailbox go those below it, without a word (§5.4).
        let carried = above(from).any(|above| {
            renamed.get(above).is_some_and(|new| to.strip_prefix(new) == from.strip_prefix(above))
        });
        if !carried {
            let entry = all.entry((*to).to_owned()).or_default();
            (entry.named, entry.old) = (true, Some((*from).to_owned()));
        }
    }
    let made = new.iter().filter(|(id, _)| !old.contains_key(id));
    let gone = old.iter().filter(|(id, _)| !new.contains_key(id));
    for (_, name) in made.chain(gone) {
        all.entry(name.clone()).or_default().named = true;
        // Its direct parent is affected, whether it is a mailbox or not.
        if let Some((parent, _)) = name.rsplit_once('/') {
            all.entry(parent.to_owned()).or_default().named = true;
        }
    }
    for name in inbox_to {
        if let Some(entry) = all.get_mut(name).filter(|entry| entry.old.is_none()) {
            entry.old = Some(INBOX.to_owned());
        }
    }
    for name in before.subscriptions.symmetric_difference(&after.subscriptions) {
        all.entry(name.clone()).or_default().subscription = true;
    }
    all
}

/// What a command of this client did to a name, as far as the client knows.
#[derive(Debug, PartialEq, Eq)]
enum Deed {
    Made,
    /// With what lies below it.
    RenamedTo,
    Deleted,
    Subscribed,
    Unsubscribed,
}

/// What a command did to the messages of a mailbox that is not selected, or not any more: its UIDVALIDITY, and UIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Did {
    /// They were put there.
    Filed(u32, NumberSet),
    /// They were removed.
    Removed(u32, NumberSet),
}

impl Did {
    /// What a response code says of messages that were put somewhere.
    pub(crate) fn filed(code: &Code) -> Option<Box<Self>> {
        code.filed().map(|(uid_validity, uids)| Box::new(Self::Filed(uid_validity, uids)))
    }

    /// Of which mailbox.
    pub(crate) fn uid_validity(&self) -> u32 {
        match self {
            Self::Filed(uid_validity, _) | Self::Removed(uid_validity, _) => *uid_validity,
        }
    }

    /// Whether all that happened there was done by it.
    pub(crate) fn explains(&self, changes: &Changes) -> bool {
        let arrived: NumberSet = changes.arrived.iter().map(|row| row.uid).collect();
        let (filed, removed) = match self {
            Self::Filed(_, uids) => (uids.clone(), NumberSet::new()),
            Self::Removed(_, uids) => (NumberSet::new(), uids.clone()),
        };
        !changes.full
            && changes.changed.is_empty()
            && changes.vanished.without(&removed).is_empty()
            && arrived.without(&filed).is_empty()
    }
}

/// What the client's own command brought about: of that, it is not told again (RFC 5465 §5).
#[derive(Debug, Default)]
pub(crate) struct Own {
    deeds: Vec<(Deed, String)>,
    /// What it did to the messages of a mailbox.
    pub(crate) did: Option<Box<Did>>,
    /// The mailbox, or `None` for the account, and the entries that the client set.
    annotated: Option<(Option<String>, Vec<String>)>,
}

impl Own {
    /// What the command is going to do if it succeeds.
    pub(crate) fn of(user: &User, command: &Command) -> Box<Self> {
        Box::new(Self::named(user, command))
    }

    fn named(user: &User, command: &Command) -> Self {
        let name = |name: &MailboxName| normalise(&name.decode(user.form())?).ok();
        let deed = |deed, mailbox| Self {
            deeds: name(mailbox).map(|name| (deed, name)).into_iter().collect(),
            ..Self::default()
        };
        match command {
            Command::Create { mailbox, .. } => deed(Deed::Made, mailbox),
            Command::Rename { to, .. } => deed(Deed::RenamedTo, to),
            Command::Delete(mailbox) => deed(Deed::Deleted, mailbox),
            Command::Subscribe(mailbox) => deed(Deed::Subscribed, mailbox),
            Command::Unsubscribe(mailbox) => deed(Deed::Unsubscribed, mailbox),
            Command::SetMetadata(command) => {
                let entries = command.values.iter().map(|(entry, _)| entry.clone()).collect();
                Self { annotated: Some((name(&command.mailbox), entries)), ..Self::default() }
            }
            _ => Self::default(),
        }
    }

    /// Takes out what the client did itself, and adds what it believes and somebody else undid.
    pub(crate) fn settle(&self, all: &mut BTreeMap<String, Affected>, after: &List) {
        for (deed, own) in &self.deeds {
            let is_so = match deed {
                Deed::Made | Deed::RenamedTo => after.exists(own),
                Deed::Deleted => !after.exists(own),
                Deed::Subscribed => after.is_subscribed(own),
                Deed::Unsubscribed => !after.is_subscribed(own),
            };
            let subscription = matches!(deed, Deed::Subscribed | Deed::Unsubscribed);
            if !is_so {
                let entry = all.entry(own.clone()).or_default();
                entry.subscription |= subscription;
                entry.named |= !subscription;
                continue;
            }
            for (name, entry) in all.iter_mut() {
                let below = *deed == Deed::RenamedTo && is_below(name, own);
                if subscription {
                    entry.subscription &= name != own;
                } else if name == own || is_below(own, name) || below {
                    entry.named = false;
                }
            }
        }
    }

    /// Whether the client made or renamed the mailbox itself.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.deeds.iter().any(|(_, own)| own == name || is_below(name, own))
    }

    /// Whether it was the client itself that set these entries; counts once.
    pub(crate) fn annotated(&mut self, mailbox: Option<&str>, entries: &[String]) -> bool {
        let own = self
            .annotated
            .as_ref()
            .is_some_and(|(name, own)| name.as_deref() == mailbox && own == entries);
        if own {
            self.annotated = None;
        }
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names without ids: what stands above mailboxes, and subscriptions.
    fn list(above: &[&str], subscriptions: &[&str]) -> List {
        let folder = |name: &&str| Folder {
            id: None,
            name: (*name).to_owned(),
            uid_validity: 0,
            special_use: None,
            subscribed: subscriptions.contains(name),
            has_children: true,
        };
        List {
            folders: above.iter().map(folder).collect(),
            subscriptions: subscriptions.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn subscriptions_that_differ_are_affected() {
        let (before, after) = (list(&[], &["a", "b"]), list(&[], &["b", "c/d"]));
        let names: Vec<String> = affected(&before, &after, &[]).into_keys().collect();
        assert_eq!(names, ["a", "c/d"]);
        assert_eq!(
            list(&["c"], &["c"]).attributes("c"),
            [ListAttribute::NonExistent, ListAttribute::Subscribed, ListAttribute::HasChildren]
        );
        assert_eq!(
            after.attributes("x"),
            [ListAttribute::NonExistent, ListAttribute::HasNoChildren]
        );
    }

    #[test]
    fn own_deeds_are_known_unless_undone() {
        let own = |deed, name: &str| Own { deeds: vec![(deed, name.to_owned())], ..Own::default() };
        let (before, after) = (list(&[], &[]), list(&[], &["a"]));
        let mut all = affected(&before, &after, &[]);
        own(Deed::Subscribed, "a").settle(&mut all, &after);
        assert_eq!(all["a"], Affected::default());
        // Somebody ended it at once.
        let mut all = affected(&before, &before, &[]);
        own(Deed::Subscribed, "a").settle(&mut all, &before);
        assert!(all["a"].subscription);
        let mut all = BTreeMap::new();
        own(Deed::Made, "x/y").settle(&mut all, &before);
        assert!(all["x/y"].named);
        // Of what was deleted nothing is left; its parent is as the client thinks.
        let named = || Affected { named: true, ..Affected::default() };
        let mut all = BTreeMap::from([("x".to_owned(), named()), ("z".to_owned(), named())]);
        own(Deed::Deleted, "x/y").settle(&mut all, &before);
        assert!(!all["x"].named && all["z"].named);
    }

    #[test]
    fn own_annotations_count_once() {
        let entries = vec!["/private/x".to_owned()];
        let mut own =
            Own { annotated: Some((Some("a".to_owned()), entries.clone())), ..Own::default() };
        assert!(!own.annotated(None, &entries) && !own.annotated(Some("a"), &[]));
        assert!(own.annotated(Some("a"), &entries) && !own.annotated(Some("a"), &entries));
    }
}
