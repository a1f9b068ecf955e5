//! NOTIFY (RFC 5465): which events a client wants to hear of, and in which mailboxes.

use super::fetch::{self, FetchItem};
use super::multi::scan_names;
use crate::mailbox_name::MailboxName;
use crate::scan::{Scanned, Scanner, syntax};

/// The most groups that one command may have.
const MAX_GROUPS: usize = 256;
/// The most events that one group may name; there are eight different ones.
const MAX_EVENTS: usize = 32;

/// NOTIFY.
#[derive(Debug, Clone, PartialEq)]
pub enum NotifyCommand {
    /// NONE: of nothing.
    None,
    /// SET: of these events, and of no others.
    Set {
        /// STATUS: the figures of each mailbox are told first.
        status: bool,
        /// At least one.
        groups: Vec<EventGroup>,
    },
}

/// Events in some mailboxes.
#[derive(Debug, Clone, PartialEq)]
pub struct EventGroup {
    /// In which mailboxes.
    pub filter: Filter,
    /// Which events; empty for NONE.
    pub events: Vec<NotifyEvent>,
}

/// Mailboxes to be watched (RFC 5465 §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// `selected`: the selected mailbox, whichever that is, at once.
    Selected,
    /// `selected-delayed`: the same, but removals only while numbers may change.
    SelectedDelayed,
    /// `inboxes`: all that mail may be delivered to.
    Inboxes,
    /// `personal`: all of the user's own.
    Personal,
    /// `subscribed`
    Subscribed,
    /// `subtree`: these and all below them.
    Subtree(Vec<MailboxName>),
    /// `mailboxes`: these.
    Mailboxes(Vec<MailboxName>),
}

/// An event (RFC 5465 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyEvent {
    /// MessageNew, and what of each new message is to be told.
    MessageNew(Vec<FetchItem>),
    /// MessageExpunge
    MessageExpunge,
    /// FlagChange
    FlagChange,
    /// MailboxName
    MailboxName,
    /// SubscriptionChange
    SubscriptionChange,
    /// MailboxMetadataChange
    MailboxMetadataChange,
    /// ServerMetadataChange
    ServerMetadataChange,
    /// Any other name, AnnotationChange among them: answer NO `[BADEVENT]`.
    Unknown,
}

impl NotifyEvent {
    /// The names of all events that are known, for BADEVENT; the two about annotations stand last.
    pub const NAMES: [&'static str; 7] = [
        "MessageNew",
        "MessageExpunge",
        "FlagChange",
        "MailboxName",
        "SubscriptionChange",
        "MailboxMetadataChange",
        "ServerMetadataChange",
    ];

    /// The event's name; `None` if it is not known.
    pub fn name(&self) -> Option<&'static str> {
        Some(match self {
            Self::MessageNew(_) => "MessageNew",
            Self::MessageExpunge => "MessageExpunge",
            Self::FlagChange => "FlagChange",
            Self::MailboxName => "MailboxName",
            Self::SubscriptionChange => "SubscriptionChange",
            Self::MailboxMetadataChange => "MailboxMetadataChange",
            Self::ServerMetadataChange => "ServerMetadataChange",
            Self::Unknown => return None,
        })
    }
}

pub(super) fn scan(scanner: &mut Scanner<'_>) -> Scanned<NotifyCommand> {
    match scanner.keyword()?.as_str() {
        "NONE" => return Ok(NotifyCommand::None),
        "SET" => scanner.space()?,
        _ => return syntax("NOTIFY needs SET or NONE"),
    }
    let status = scanner.eat_keyword("STATUS");
    if status {
        scanner.space()?;
    }
    let mut groups = vec![scan_group(scanner)?];
    while scanner.eat(b' ') {
        if groups.len() == MAX_GROUPS {
            return syntax("NOTIFY has too many groups");
        }
        groups.push(scan_group(scanner)?);
    }
    Ok(NotifyCommand::Set { status, groups })
}

fn scan_group(scanner: &mut Scanner<'_>) -> Scanned<EventGroup> {
    scanner.expect(b'(', "a group of events is missing")?;
    let filter = match scanner.keyword()?.as_str() {
        "SELECTED" => Filter::Selected,
        "SELECTED-DELAYED" => Filter::SelectedDelayed,
        "INBOXES" => Filter::Inboxes,
        "PERSONAL" => Filter::Personal,
        "SUBSCRIBED" => Filter::Subscribed,
        "SUBTREE" => Filter::Subtree(scan_names(scanner)?),
        "MAILBOXES" => Filter::Mailboxes(scan_names(scanner)?),
        _ => return syntax("unknown mailbox filter of NOTIFY"),
    };
    scanner.space()?;
    let events = scan_events(scanner)?;
    scanner.expect(b')', "the group of events does not end")?;
    Ok(EventGroup { filter, events })
}

fn scan_events(scanner: &mut Scanner<'_>) -> Scanned<Vec<NotifyEvent>> {
    if scanner.eat_keyword("NONE") {
        return Ok(Vec::new());
    }
    let events = scanner.list(scan_event)?;
    match events.len() {
        1..=MAX_EVENTS => Ok(events),
        _ => syntax("a group needs events, and not too many"),
    }
}

fn scan_event(scanner: &mut Scanner<'_>) -> Scanned<NotifyEvent> {
    Ok(match scanner.keyword()?.as_str() {
        "MESSAGENEW" => NotifyEvent::MessageNew(fetch::scan_attached(scanner)?),
        "MESSAGEEXPUNGE" => NotifyEvent::MessageExpunge,
        "FLAGCHANGE" => NotifyEvent::FlagChange,
        "MAILBOXNAME" => NotifyEvent::MailboxName,
        "SUBSCRIPTIONCHANGE" => NotifyEvent::SubscriptionChange,
        "MAILBOXMETADATACHANGE" => NotifyEvent::MailboxMetadataChange,
        "SERVERMETADATACHANGE" => NotifyEvent::ServerMetadataChange,
        _ => NotifyEvent::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, parse};
    use proptest::prelude::*;

    fn notify(text: &str) -> Option<NotifyCommand> {
        match parse(format!("a NOTIFY {text}").as_bytes(), 20).ok()?.command {
            Command::Notify(command) => Some(command),
            other => panic!("{other:?}"),
        }
    }

    fn name(text: &str) -> MailboxName {
        MailboxName::from_wire(text.as_bytes().to_vec())
    }

    #[test]
    fn the_commands_of_the_rfc() {
        assert_eq!(notify("none"), Some(NotifyCommand::None));
        let asked = "set status (selected (MessageNew (uid body.peek[header.fields (from to subject)]) \
                     MessageExpunge)) (subtree Lists (messagenew MESSAGEEXPUNGE)) (mailboxes (a \"b c\") NONE)";
        let Some(NotifyCommand::Set { status: true, groups }) = notify(asked) else { panic!() };
        assert_eq!(groups.len(), 3);
        assert_eq!(groups[0].filter, Filter::Selected);
        let NotifyEvent::MessageNew(items) = &groups[0].events[0] else { panic!() };
        assert!(items.len() == 2 && items[0] == FetchItem::Uid);
        assert_eq!(groups[1].filter, Filter::Subtree(vec![name("Lists")]));
        let both = [NotifyEvent::MessageNew(Vec::new()), NotifyEvent::MessageExpunge];
        assert_eq!(groups[1].events, both);
        let named = Filter::Mailboxes(vec![name("a"), name("b c")]);
        assert_eq!(groups[2], EventGroup { filter: named, events: Vec::new() });
        let unknown = notify("SET (personal (AnnotationChange Thunder))");
        let events = vec![NotifyEvent::Unknown, NotifyEvent::Unknown];
        let groups = vec![EventGroup { filter: Filter::Personal, events }];
        assert_eq!(unknown, Some(NotifyCommand::Set { status: false, groups }));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for bad in [
            "SET",
            "SET STATUS",
            "SET ()",
            "SET (personal)",
            "SET (personal ())",
            "SET (personal MessageNew)",
            "SET (personal (MessageNew ()))",
            "SET (personal (MessageNew (NONSENSE)))",
            "SET (personal NONE)(inboxes NONE)",
            "SET (subtree () NONE)",
            "SET (subtree-one x NONE)",
            "SET (mailboxes (MessageNew))",
            "NONE x",
            "MAYBE",
        ] {
            assert_eq!(notify(bad), None, "{bad}");
        }
    }

    fn filters() -> impl Strategy<Value = (Filter, String)> {
        let names = proptest::collection::vec("[a-z]{1,4}", 1..4);
        let named = |list: &[String]| list.iter().map(|text| name(text)).collect::<Vec<_>>();
        prop_oneof![
            Just((Filter::Selected, "selected".to_owned())),
            Just((Filter::SelectedDelayed, "Selected-Delayed".to_owned())),
            Just((Filter::Inboxes, "INBOXES".to_owned())),
            Just((Filter::Personal, "personal".to_owned())),
            Just((Filter::Subscribed, "subscribed".to_owned())),
            names.clone().prop_map(move |list| {
                (Filter::Subtree(named(&list)), format!("subtree ({})", list.join(" ")))
            }),
            names.prop_map(move |list| {
                (Filter::Mailboxes(named(&list)), format!("mailboxes ({})", list.join(" ")))
            }),
        ]
    }

    fn events() -> impl Strategy<Value = (NotifyEvent, &'static str)> {
        prop_oneof![
            Just((NotifyEvent::MessageNew(Vec::new()), "MessageNew")),
            Just((
                NotifyEvent::MessageNew(vec![FetchItem::Uid, FetchItem::Preview { lazy: true }]),
                "MessageNew (UID PREVIEW (LAZY))"
            )),
            Just((NotifyEvent::MessageExpunge, "MessageExpunge")),
            Just((NotifyEvent::FlagChange, "FlagChange")),
            Just((NotifyEvent::MailboxName, "MailboxName")),
            Just((NotifyEvent::SubscriptionChange, "SubscriptionChange")),
            Just((NotifyEvent::MailboxMetadataChange, "MailboxMetadataChange")),
            Just((NotifyEvent::ServerMetadataChange, "ServerMetadataChange")),
            Just((NotifyEvent::Unknown, "AnnotationChange")),
        ]
    }

    proptest! {
        #[test]
        fn commands_round_trip(
            status: bool,
            groups in proptest::collection::vec((filters(), proptest::collection::vec(events(), 0..5)), 1..5),
        ) {
            let mut text = format!("SET{}", if status { " STATUS" } else { "" });
            let mut expected = Vec::new();
            for ((filter, written), events) in groups {
                let words: Vec<&str> = events.iter().map(|(_, word)| *word).collect();
                let list = match words.is_empty() {
                    true => "NONE".to_owned(),
                    false => format!("({})", words.join(" ")),
                };
                text.push_str(&format!(" ({written} {list})"));
                let events = events.into_iter().map(|(event, _)| event).collect();
                expected.push(EventGroup { filter, events });
            }
            prop_assert_eq!(notify(&text), Some(NotifyCommand::Set { status, groups: expected }));
        }
    }
}
