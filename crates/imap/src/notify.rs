//! NOTIFY (RFC 5465): what a client wants to hear of, and what each mailbox is thereby watched for.
//!
//! Here are the rules, without I/O. [`crate::watch`] keeps what the client knows of the mailboxes that are not selected and
//! tells what changes in them; [`crate::news`] has the command, and the times at which news are told.
//!
//! Mailboxes belong to their owner, who has all rights: `\NoAccess` is never told, and nothing is ever withdrawn.
//!
//! Several groups may name one mailbox, and their events unite (§6). A group with NONE ends that for its mailboxes: what
//! groups after it say of them does not count.

use std::collections::HashSet;

use letterlock_imap_wire::command::notify::{EventGroup, Filter, NotifyEvent};
use letterlock_imap_wire::{Code, FetchItem, MailboxName};
use letterlock_mailbox::name::normalise;

use crate::outcome::Reply;
use crate::select::Selected;
use crate::session::User;
use crate::watch::Watch;

/// How many mailboxes may be named; more is an overflow (RFC 5465 §3.1), as it is for those that can be watched.
const MOST_NAMES: usize = 5_000;

/// How a session hears of events.
pub(crate) enum Notify {
    /// NOTIFY was not used: the selected mailbox's, while a command is under way.
    Usual,
    /// NOTIFY NONE: none.
    Nothing,
    /// NOTIFY SET: certain ones, at any time.
    Set(Box<Watch>),
}

/// What a session hears of the selected mailbox's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hearing<'a> {
    /// Flags that others changed.
    pub(crate) flags: bool,
    /// What of each new message is told without being asked for.
    pub(crate) items: &'a [FetchItem],
    /// With flags goes the UID (RFC 5465 §5.1).
    pub(crate) uid: bool,
}

impl Hearing<'_> {
    /// Without NOTIFY.
    pub(crate) const USUAL: Self = Self { flags: true, items: &[], uid: false };
}

impl Notify {
    /// The mailbox is not the selected one any more.
    pub(crate) fn left(&mut self, selected: &Selected) {
        if let Self::Set(watch) = self {
            watch.left(selected);
        }
    }

    /// What is told of the selected mailbox; `None` for nothing.
    pub(crate) fn hearing(&self) -> Option<Hearing<'_>> {
        match self {
            Self::Usual => Some(Hearing::USUAL),
            Self::Nothing => None,
            Self::Set(watch) => watch.wishes.selected.as_ref().map(SelectedWish::hearing),
        }
    }
}

/// What is wished for the selected mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SelectedWish {
    flags: bool,
    /// `selected-delayed`: numbers keep still between commands.
    pub(crate) delayed: bool,
    items: Vec<FetchItem>,
}

impl SelectedWish {
    pub(crate) fn hearing(&self) -> Hearing<'_> {
        Hearing { flags: self.flags, items: &self.items, uid: true }
    }
}

/// Which events of messages are wished in a mailbox: new ones and removed ones come together only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Messages {
    /// None.
    #[default]
    None,
    /// What comes and goes.
    Coming,
    /// And flags.
    Flags,
}

/// What is wished for one mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    /// MessageNew, MessageExpunge and FlagChange.
    pub(crate) messages: Messages,
    /// MailboxName
    pub(crate) names: bool,
    /// SubscriptionChange
    pub(crate) subscriptions: bool,
    /// MailboxMetadataChange
    pub(crate) metadata: bool,
}

/// Which mailboxes a group is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    /// All: they are all personal, and rules and plus addresses may deliver to any of them (§6.3).
    Personal,
    Subscribed,
    /// These and those below them; normalised.
    Subtree(HashSet<String>),
    /// These; normalised.
    Named(HashSet<String>),
}

impl Scope {
    fn reaches(&self, name: &str, subscribed: bool) -> bool {
        match self {
            Self::Personal => true,
            Self::Subscribed => subscribed,
            Self::Subtree(roots) => {
                roots.contains(name) || above(name).any(|root| roots.contains(root))
            }
            Self::Named(names) => names.contains(name),
        }
    }
}

/// The names above a name, the next one first.
pub(crate) fn above(name: &str) -> impl Iterator<Item = &str> {
    name.rmatch_indices('/').map(|(at, _)| &name[..at])
}

/// Whether a name lies below another one.
pub(crate) fn is_below(name: &str, root: &str) -> bool {
    name.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    scope: Scope,
    /// `None` for NONE.
    interest: Option<Interest>,
}

/// All that NOTIFY SET asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// `None` if nothing is to be heard of the selected mailbox's messages.
    pub(crate) selected: Option<SelectedWish>,
    /// ServerMetadataChange, which is about no mailbox.
    pub(crate) server_metadata: bool,
    groups: Vec<Group>,
}

impl Wishes {
    /// What the groups ask for.
    ///
    /// # Errors
    /// The answer to groups that the RFC does not allow: NO where an event is not known, whatever else is wrong (§3.1),
    /// and BAD otherwise.
    pub(crate) fn of(user: &User, groups: &[EventGroup]) -> Result<Self, Reply> {
        let known = known_events(user.capabilities().offers("METADATA"));
        let is_known = |event: &NotifyEvent| event.name().is_some_and(|name| known.contains(&name));
        if !groups.iter().flat_map(|group| &group.events).all(is_known) {
            return Err(Reply::no("There is no such event here").with(Code::BadEvent(known)));
        }
        if names(groups) > MOST_NAMES {
            return Err(Reply::no("Those are too many names").with(Code::NotificationOverflow));
        }
        let mut wishes = Self { selected: None, server_metadata: false, groups: Vec::new() };
        let mut has_selected = false;
        for group in groups {
            let messages = messages_of(group).map_err(Reply::bad)?;
            match scope_of(user, &group.filter) {
                Some(scope) => {
                    wishes.server_metadata |=
                        group.events.contains(&NotifyEvent::ServerMetadataChange);
                    let has = |event| group.events.contains(&event);
                    let interest = Interest {
                        messages,
                        names: has(NotifyEvent::MailboxName),
                        subscriptions: has(NotifyEvent::SubscriptionChange),
                        metadata: has(NotifyEvent::MailboxMetadataChange),
                    };
                    let interest = (!group.events.is_empty()).then_some(interest);
                    wishes.groups.push(Group { scope, interest });
                }
                None if has_selected => {
                    return Err(Reply::bad("The selected mailbox is named twice"));
                }
                None => {
                    has_selected = true;
                    wishes.selected = selected_wish(group, messages);
                }
            }
        }
        Ok(wishes)
    }

    /// What is wished for the mailbox of that name.
    pub(crate) fn interest(&self, name: &str, subscribed: bool) -> Interest {
        let mut all = Interest::default();
        for group in self.groups.iter().filter(|group| group.scope.reaches(name, subscribed)) {
            let Some(one) = group.interest else { break };
            all.messages = all.messages.max(one.messages);
            all.names |= one.names;
            all.subscriptions |= one.subscriptions;
            all.metadata |= one.metadata;
        }
        all
    }
}

/// How many names stand in the groups.
fn names(groups: &[EventGroup]) -> usize {
    let names = groups.iter().map(|group| match &group.filter {
        Filter::Subtree(names) | Filter::Mailboxes(names) => names.len(),
        _ => 0,
    });
    names.sum()
}

/// The names of the events that can be wished for: without METADATA there are no annotations that could change.
fn known_events(metadata: bool) -> &'static [&'static str] {
    const ALL: &[&str] = &NotifyEvent::NAMES;
    const WITHOUT_METADATA: &[&str] = ALL.split_at(ALL.len() - 2).0;
    if metadata { ALL } else { WITHOUT_METADATA }
}

fn selected_wish(group: &EventGroup, messages: Messages) -> Option<SelectedWish> {
    let items = group.events.iter().find_map(|event| match event {
        NotifyEvent::MessageNew(items) => Some(items.clone()),
        _ => None,
    });
    (messages > Messages::None).then(|| SelectedWish {
        flags: messages == Messages::Flags,
        delayed: group.filter == Filter::SelectedDelayed,
        items: items.unwrap_or_default(),
    })
}

/// Which events of messages a group has, if they may stand there like that (§5, §6.1, §8).
fn messages_of(group: &EventGroup) -> Result<Messages, &'static str> {
    let selected = matches!(group.filter, Filter::Selected | Filter::SelectedDelayed);
    let (mut new, mut expunge, mut flags) = (false, false, false);
    for event in &group.events {
        match event {
            NotifyEvent::MessageNew(items) if !selected && !items.is_empty() => {
                return Err("Only messages of the selected mailbox can be fetched");
            }
            NotifyEvent::MessageNew(_) => new = true,
            NotifyEvent::MessageExpunge => expunge = true,
            NotifyEvent::FlagChange => flags = true,
            _ if selected => return Err("The selected mailbox has events of messages only"),
            _ => {}
        }
    }
    match (new, expunge, flags) {
        (false, false, false) => Ok(Messages::None),
        (true, true, false) => Ok(Messages::Coming),
        (true, true, true) => Ok(Messages::Flags),
        _ => Err("MessageNew and MessageExpunge go together, and FlagChange needs both"),
    }
}

/// `None` for the selected mailbox.
fn scope_of(user: &User, filter: &Filter) -> Option<Scope> {
    Some(match filter {
        Filter::Selected | Filter::SelectedDelayed => return None,
        Filter::Inboxes | Filter::Personal => Scope::Personal,
        Filter::Subscribed => Scope::Subscribed,
        Filter::Subtree(names) => Scope::Subtree(normal(user, names)),
        Filter::Mailboxes(names) => Scope::Named(normal(user, names)),
    })
}

/// What no mailbox can be called is passed over, like what no mailbox is called (§3.1).
fn normal(user: &User, names: &[MailboxName]) -> HashSet<String> {
    let name = |name: &MailboxName| normalise(&name.decode(user.form())?).ok();
    names.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use letterlock_imap_wire::Command;
    use letterlock_imap_wire::command::notify::NotifyCommand;
    use letterlock_imap_wire::command::parse;

    fn groups(text: &str) -> Vec<EventGroup> {
        match parse(format!("a NOTIFY SET {text}").as_bytes(), 20).unwrap().command {
            Command::Notify(NotifyCommand::Set { groups, .. }) => groups,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn events_need_each_other() {
        let messages = |text: &str| messages_of(&groups(text)[0]);
        assert_eq!(messages("(selected NONE)"), Ok(Messages::None));
        assert_eq!(messages("(personal (MessageNew MessageExpunge))"), Ok(Messages::Coming));
        assert_eq!(
            messages("(selected (FlagChange MessageExpunge MessageNew (UID)))"),
            Ok(Messages::Flags)
        );
        assert_eq!(messages("(personal (MailboxName ServerMetadataChange))"), Ok(Messages::None));
        for bad in [
            "(selected (MessageNew))",
            "(personal (MessageExpunge))",
            "(selected (FlagChange))",
            "(selected (FlagChange MessageNew))",
            "(selected (MailboxName))",
            "(selected-delayed (MessageNew MessageExpunge ServerMetadataChange))",
            "(personal (MessageNew (UID) MessageExpunge))",
        ] {
            assert!(messages(bad).is_err(), "{bad}");
        }
    }

    fn wishes(groups: Vec<(Scope, Option<Interest>)>) -> Wishes {
        let groups =
            groups.into_iter().map(|(scope, interest)| Group { scope, interest }).collect();
        Wishes { selected: None, server_metadata: false, groups }
    }

    #[test]
    fn groups_unite_up_to_none() {
        let coming = Interest { messages: Messages::Coming, ..Interest::default() };
        let subscriptions = Interest { subscriptions: true, ..Interest::default() };
        let named = |name: &str| Scope::Named(HashSet::from([name.to_owned()]));
        // The example of §6.
        let both =
            wishes(vec![(named("INBOX"), Some(coming)), (Scope::Personal, Some(subscriptions))]);
        let all = Interest { subscriptions: true, ..coming };
        assert_eq!(both.interest("INBOX", false), all);
        assert_eq!(both.interest("Sent", false), subscriptions);
        let without = wishes(vec![(named("Junk"), None), (Scope::Personal, Some(coming))]);
        assert_eq!(without.interest("Junk", true), Interest::default());
        assert_eq!(without.interest("INBOX", true), coming);
    }

    #[test]
    fn scopes_reach_what_they_name() {
        let subtree = Scope::Subtree(HashSet::from(["a".to_owned(), "b/c".to_owned()]));
        for (name, reached) in
            [("a", true), ("a/x/y", true), ("ab", false), ("b", false), ("b/c/d", true)]
        {
            assert_eq!(subtree.reaches(name, false), reached, "{name}");
        }
        // No wildcards (§6.6).
        assert!(!Scope::Named(HashSet::from(["*".to_owned()])).reaches("a", true));
        assert!(Scope::Subscribed.reaches("a", true) && !Scope::Subscribed.reaches("a", false));
    }
}
