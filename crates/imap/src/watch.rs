//! What a client that uses NOTIFY knows of the mailboxes that are not selected, and how it hears that this is no longer so.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use letterlock_imap_wire::StatusItem;
use letterlock_imap_wire::response::{self, ListKind, ListResponse};
use letterlock_mailbox::{FolderId, Incident, ModSeq, Status};
use tokio::sync::watch;

use crate::folders::values;
use crate::names::{Affected, List, Own, affected};
use crate::notify::{Interest, Messages, Wishes};
use crate::outcome::Stop;
use crate::select::Selected;
use crate::session::{Resync, User};
use crate::wire::Wire;

/// How many mailboxes can be watched for their messages; more is an overflow (RFC 5465 §3.1, §5.8).
const MOST: usize = 5_000;
/// Figures asked for at once.
const BATCH: usize = 500;

/// What the client knows of a mailbox, or could know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Figures {
    messages: u32,
    uid_next: u32,
    uid_validity: u32,
    /// `None` if that was not counted.
    unseen: Option<u32>,
    modseq: ModSeq,
}

impl From<&Status> for Figures {
    fn from(status: &Status) -> Self {
        Self {
            messages: status.messages,
            uid_next: status.uid_next,
            uid_validity: status.uid_validity,
            unseen: Some(status.unseen),
            modseq: status.highest_modseq,
        }
    }
}

/// How a look around went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// The client was told everything.
    Told,
    /// It was too much to be told (RFC 5465 §5.8).
    Overflow,
}

/// See the module's text.
pub(crate) struct Watch {
    pub(crate) wishes: Wishes,
    /// Moves whenever something happens in the account.
    pub(crate) pulse: watch::Receiver<u64>,
    /// Up to which count of the pulse the client was told.
    at: u64,
    list: List,
    /// The mailboxes that are to be watched for their messages when they are not selected: what the wishes say of the list.
    wanted: BTreeMap<FolderId, Messages>,
    /// Of each mailbox that is watched for its messages.
    known: HashMap<FolderId, Figures>,
    /// Mailboxes that were selected until now.
    left: Vec<FolderId>,
}

impl Watch {
    /// Begins to watch.
    pub(crate) async fn begin(user: &User, wishes: Wishes) -> Result<Self, Stop> {
        let pulse = user.mailbox().pulse();
        // What happens from here on is told; what the list shows of it already is not told twice.
        let at = *pulse.borrow();
        let list = List::read(user).await?;
        let (wanted, known) = (BTreeMap::new(), HashMap::new());
        let mut watch = Self { wishes, pulse, at, list, wanted, known, left: Vec::new() };
        watch.survey();
        Ok(watch)
    }

    /// Goes on with other wishes; answers what was wished until now.
    pub(crate) fn wish(&mut self, wishes: Wishes) -> Wishes {
        let before = std::mem::replace(&mut self.wishes, wishes);
        self.survey();
        before
    }

    /// Wishes and list are compared when one of them changes, not whenever anything happens.
    fn survey(&mut self) {
        let folders = self.list.folders.iter().filter_map(|folder| Some((folder.id?, folder)));
        let wished = folders.map(|(id, folder)| (id, self.interest(&folder.name).messages));
        self.wanted = wished.filter(|(_, messages)| *messages > Messages::None).collect();
    }

    /// Gets to know the mailboxes that are watched for their messages and are not known yet; with `status`, tells how all
    /// of them stand (RFC 5465 §3.1).
    pub(crate) async fn get_to_know(
        &mut self,
        user: &User,
        selected: Option<FolderId>,
        status: bool,
        wire: &mut Wire,
    ) -> Result<Looked, Stop> {
        let watched = self.watched(selected);
        if watched.len() > MOST {
            return Ok(Looked::Overflow);
        }
        let wanted: Vec<FolderId> =
            watched.keys().filter(|id| status || !self.known.contains_key(id)).copied().collect();
        for batch in wanted.chunks(BATCH) {
            for (name, figures) in user.mailbox().statuses(batch.to_vec()).await? {
                let messages = watched.get(&figures.folder).copied().unwrap_or_default();
                self.known.insert(figures.folder, Figures::from(&figures));
                if status {
                    let condstore = user.capabilities().offers("CONDSTORE");
                    tell(user, &name, &figures, &all_items(messages, condstore), wire).await?;
                }
            }
        }
        // Not before: if one cannot be read, all stays as it was.
        self.known.retain(|folder, _| watched.contains_key(folder));
        Ok(Looked::Told)
    }

    /// The mailboxes that are watched for their messages: not the selected one.
    fn watched(&self, selected: Option<FolderId>) -> BTreeMap<FolderId, Messages> {
        let others = self.wanted.iter().filter(|(id, _)| Some(**id) != selected);
        others.map(|(id, messages)| (*id, *messages)).collect()
    }

    fn interest(&self, name: &str) -> Interest {
        self.wishes.interest(name, self.list.is_subscribed(name))
    }

    /// The mailbox is no longer the selected one: from now on it is watched like others, from where the client is.
    pub(crate) fn left(&mut self, selected: &Selected) {
        let view = &selected.view;
        // A client that was not told of removals does not know what the sequence says.
        let modseq = if view.has_gone() { ModSeq(0) } else { view.modseq() };
        self.known.insert(
            selected.folder,
            Figures {
                messages: view.count(),
                uid_next: view.last_uid().saturating_add(1),
                uid_validity: selected.uid_validity,
                unseen: None,
                modseq,
            },
        );
        self.left.push(selected.folder);
    }

    /// Tells what happened since the last look, but not what the client did itself.
    pub(crate) async fn look(
        &mut self,
        user: &User,
        selected: Option<FolderId>,
        own: &mut Own,
        wire: &mut Wire,
    ) -> Result<Looked, Stop> {
        // Before it is asked for: what happens from here on is there at the next look.
        self.pulse.mark_unchanged();
        let happened = user.mailbox().happened(self.at);
        let Some(incidents) = happened.incidents else { return Ok(Looked::Overflow) };
        if happened.to == self.at && self.left.is_empty() {
            return Ok(Looked::Told);
        }
        let mut moved = happened.moved;
        moved.extend(&self.left);
        if happened.listed {
            let before = std::mem::replace(&mut self.list, List::read(user).await?);
            self.survey();
            let inbox_to = incidents.iter().filter_map(|incident| match incident {
                Incident::InboxRenamed { to } => Some(to.clone()),
                Incident::Annotated { .. } => None,
            });
            self.tell_names(user, &before, &inbox_to.collect::<Vec<_>>(), own, wire).await?;
        }
        if self.tell_messages(user, selected, &moved, own, wire).await? == Looked::Overflow {
            return Ok(Looked::Overflow);
        }
        self.tell_annotations(user, incidents, own, wire).await?;
        self.left.clear();
        self.at = happened.to;
        Ok(Looked::Told)
    }

    /// MailboxName and SubscriptionChange (RFC 5465 §5.4, §5.5): one LIST response for a name.
    async fn tell_names(
        &self,
        user: &User,
        before: &List,
        inbox_to: &[String],
        own: &Own,
        wire: &mut Wire,
    ) -> Result<(), Stop> {
        let mut all = affected(before, &self.list, inbox_to);
        own.settle(&mut all, &self.list);
        for (name, affected) in &all {
            if self.is_wished(before, name, affected) {
                let response = ListResponse {
                    kind: ListKind::List,
                    attributes: &self.list.attributes(name),
                    name,
                    child_info: &[],
                    old_name: affected.old.as_deref(),
                };
                response::list(&mut wire.out, user.form(), &response);
                wire.relieve().await?;
            }
        }
        Ok(())
    }

    /// Whether somebody who watches the name, as it was or as it is, wants to hear what became of it.
    fn is_wished(&self, before: &List, name: &str, affected: &Affected) -> bool {
        let now = self.interest(name);
        let then = self.wishes.interest(name, before.is_subscribed(name));
        let old =
            affected.old.as_deref().map(|old| self.wishes.interest(old, before.is_subscribed(old)));
        let names = now.names || then.names || old.is_some_and(|old| old.names);
        affected.named && names
            || affected.subscription && (now.subscriptions || then.subscriptions)
    }

    /// MessageNew, MessageExpunge and FlagChange in mailboxes that are not selected: STATUS.
    async fn tell_messages(
        &mut self,
        user: &User,
        selected: Option<FolderId>,
        moved: &[FolderId],
        own: &Own,
        wire: &mut Wire,
    ) -> Result<Looked, Stop> {
        let watched = self.watched(selected);
        if watched.len() > MOST {
            return Ok(Looked::Overflow);
        }
        self.known.retain(|folder, _| watched.contains_key(folder));
        let moved: BTreeSet<FolderId> = moved.iter().copied().collect();
        let concerned = |id: &FolderId| moved.contains(id) || !self.known.contains_key(id);
        let wanted: Vec<FolderId> = watched.keys().copied().filter(concerned).collect();
        let condstore = user.resync() >= Resync::Condstore;
        for batch in wanted.chunks(BATCH) {
            for (name, now) in user.mailbox().statuses(batch.to_vec()).await? {
                let messages = watched.get(&now.folder).copied().unwrap_or_default();
                let known = self.known.insert(now.folder, Figures::from(&now));
                let items = match known {
                    Some(known) if is_own(user, &known, &now, own).await? => Vec::new(),
                    Some(known) => changed_items(&known, &Figures::from(&now), messages, condstore),
                    None if own.knows(&name) => Vec::new(),
                    // A name that has another UIDVALIDITY is news to those who wish for flags (RFC 5465 §5.1).
                    None if now.messages == 0 && messages < Messages::Flags => Vec::new(),
                    None => all_items(messages, condstore),
                };
                tell(user, &name, &now, &items, wire).await?;
            }
        }
        Ok(Looked::Told)
    }

    /// MailboxMetadataChange and ServerMetadataChange (RFC 5465 §5.6, §5.7).
    async fn tell_annotations(
        &self,
        user: &User,
        incidents: Vec<Incident>,
        own: &mut Own,
        wire: &mut Wire,
    ) -> Result<(), Stop> {
        for incident in incidents {
            let Incident::Annotated { folder, entries } = incident else { continue };
            let name = match folder.map(|id| self.list.by_id(id)) {
                None => None,
                Some(Some(folder)) => Some(folder.name.as_str()),
                // It was deleted since.
                Some(None) => continue,
            };
            let wished = match name {
                Some(name) => self.interest(name).metadata,
                None => self.wishes.server_metadata,
            };
            if own.annotated(name, &entries) || !wished {
                continue;
            }
            let entries = entries.iter().map(String::as_str);
            let name = name.unwrap_or_default();
            response::metadata_changed(&mut wire.out, name, user.form(), entries);
            wire.relieve().await?;
        }
        Ok(())
    }
}

/// A STATUS response; none without items.
async fn tell(
    user: &User,
    name: &str,
    figures: &Status,
    items: &[StatusItem],
    wire: &mut Wire,
) -> Result<(), Stop> {
    if !items.is_empty() {
        let values = values(user, figures, items).await?;
        response::status(&mut wire.out, name, user.form(), &values);
        wire.relieve().await?;
    }
    Ok(())
}

/// Whether nothing happened there but what the client did itself.
async fn is_own(user: &User, known: &Figures, now: &Status, own: &Own) -> Result<bool, Stop> {
    let Some(did) = &own.did else { return Ok(false) };
    if did.uid_validity() != now.uid_validity {
        return Ok(false);
    }
    let changes = user.mailbox().changes(now.folder, known.modseq).await?;
    Ok(did.explains(&changes))
}

/// What is told of a mailbox of which the client knows nothing (RFC 5465 §3.1).
fn all_items(messages: Messages, condstore: bool) -> Vec<StatusItem> {
    let mut items = vec![StatusItem::Messages, StatusItem::UidNext, StatusItem::UidValidity];
    if messages == Messages::Flags {
        items.push(StatusItem::Unseen);
        items.extend(condstore.then_some(StatusItem::HighestModSeq));
    }
    items
}

/// What is told of a mailbox that changed (RFC 5465 §5.1 to §5.3). Without CONDSTORE, flags are news if they change how
/// many messages are unseen.
fn changed_items(
    known: &Figures,
    now: &Figures,
    messages: Messages,
    condstore: bool,
) -> Vec<StatusItem> {
    let mut items = Vec::new();
    if known.modseq == now.modseq {
        return items;
    }
    let coming = known.messages != now.messages || known.uid_next != now.uid_next;
    let flags = messages == Messages::Flags;
    let unseen = flags && known.unseen != now.unseen;
    if coming {
        items.extend([StatusItem::Messages, StatusItem::UidNext]);
    }
    if flags && (condstore || unseen) {
        items.push(StatusItem::UidValidity);
    }
    items.extend(unseen.then_some(StatusItem::Unseen));
    items.extend((condstore && (coming || flags)).then_some(StatusItem::HighestModSeq));
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use StatusItem::{HighestModSeq, Messages as Count, UidNext, UidValidity, Unseen};

    fn figures(messages: u32, uid_next: u32, unseen: u32, modseq: u64) -> Figures {
        let unseen = Some(unseen);
        Figures { messages, uid_next, uid_validity: 1, unseen, modseq: ModSeq(modseq) }
    }

    #[test]
    fn figures_fit_what_is_wished() {
        use super::Messages::{Coming, Flags};
        let before = figures(3, 7, 1, 20);
        let came = figures(4, 8, 2, 21);
        assert_eq!(changed_items(&before, &came, Coming, false), [Count, UidNext]);
        assert_eq!(changed_items(&before, &came, Coming, true), [Count, UidNext, HighestModSeq]);
        let all = [Count, UidNext, UidValidity, Unseen, HighestModSeq];
        assert_eq!(changed_items(&before, &came, Flags, true), all);
        let gone = figures(2, 7, 1, 21);
        assert_eq!(changed_items(&before, &gone, Flags, false), [Count, UidNext]);
        let read = figures(3, 7, 0, 21);
        assert_eq!(changed_items(&before, &read, Flags, false), [UidValidity, Unseen]);
        assert_eq!(changed_items(&before, &read, Coming, true), []);
        let flagged = figures(3, 7, 1, 21);
        assert_eq!(changed_items(&before, &flagged, Flags, false), []);
        assert_eq!(changed_items(&before, &flagged, Flags, true), [UidValidity, HighestModSeq]);
        assert_eq!(changed_items(&before, &before, Flags, true), []);
        // What was not counted may have changed.
        let left = Figures { unseen: None, ..before };
        assert_eq!(changed_items(&left, &flagged, Flags, false), [UidValidity, Unseen]);
    }
}
