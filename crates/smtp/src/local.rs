//! Whether an address of ours takes mail: the decision of RCPT, from facts in memory.

use jiff::Timestamp;
use letterlock_address::{ForwardPath, Mailbox};
use letterlock_delivery::{Intake, RecipientDecision};
use letterlock_directory::{Disabled, QuotaVerdict, Resolution, Snapshot, Target};
use letterlock_smtp_wire::{Reply, standard};
use letterlock_vault::AccountId;

use crate::service::Room;

/// What a recipient leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// What the directory says of the address.
    Direct(Resolution),
    /// The address is a return address that was made here; this is what the directory says of the one behind it, which
    /// may be anywhere.
    Return(Resolution),
    /// It looks like such an address, and was not made here or has expired.
    BadReturn,
}

/// The recipient's address, and what it leads to.
///
/// # Errors
/// The bare postmaster, on a server without a domain.
pub(crate) fn find(
    intake: &Intake,
    snapshot: &Snapshot,
    path: &ForwardPath,
) -> Result<(Mailbox, Lead), Reply> {
    let mailbox = match path {
        ForwardPath::Mailbox(mailbox) => mailbox,
        // RFC 5321 §4.5.1: without a domain it is ours.
        ForwardPath::Postmaster => {
            let postmaster = snapshot.resolve_postmaster();
            let found = postmaster.map(|(mailbox, found)| (mailbox, Lead::Direct(found)));
            return found.ok_or_else(standard::no_such_user);
        }
    };
    let lead = match intake.recipient(snapshot, mailbox) {
        RecipientDecision::Resolved(resolution) => Lead::Direct(resolution),
        RecipientDecision::Returns(back) => Lead::Return(snapshot.resolve(&back)),
        RecipientDecision::BadReturn(_) => Lead::BadReturn,
    };
    Ok((mailbox.clone(), lead))
}

/// Whether a local address takes a message of `octets` (0 if that is not known). What is not local is somebody else's
/// to refuse.
pub(crate) fn takes(
    resolution: &Resolution,
    room: Option<&dyn Room>,
    octets: u64,
) -> Result<(), Reply> {
    match resolution {
        Resolution::NoSuchUser => Err(standard::no_such_user()),
        Resolution::Disabled(Disabled::Defer) => Err(standard::mailbox_unavailable()),
        Resolution::Disabled(Disabled::Refuse) => Err(standard::mailbox_disabled()),
        Resolution::Disabled(Disabled::Discard) | Resolution::Waiting | Resolution::NotLocal => {
            Ok(())
        }
        Resolution::Account(account) => fits(room, std::slice::from_ref(account), octets),
        Resolution::Aliased(targets) => {
            let here = targets.iter().map(|target| match target {
                Target::Account(account) => Some(*account),
                Target::Remote(_) => None,
            });
            // A copy that goes elsewhere needs no room here.
            here.collect::<Option<Vec<_>>>().map_or(Ok(()), |all| fits(room, &all, octets))
        }
    }
}

/// Refused only if nobody has room, and then in the words of who may have room soonest.
fn fits(room: Option<&dyn Room>, accounts: &[AccountId], octets: u64) -> Result<(), Reply> {
    let Some(room) = room else { return Ok(()) };
    let now = Timestamp::now();
    let mut refusal = Ok(());
    for account in accounts {
        match room.verdict(*account, octets, now) {
            QuotaVerdict::Room => return Ok(()),
            QuotaVerdict::Full => refusal = Err(standard::mailbox_full()),
            QuotaVerdict::FullForLong if refusal.is_ok() => {
                refusal = Err(standard::mailbox_full_for_long());
            }
            QuotaVerdict::FullForLong => {}
        }
    }
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verdicts in the order of the accounts.
    struct Rooms(Vec<(AccountId, QuotaVerdict)>);

    impl Room for Rooms {
        fn verdict(&self, account: AccountId, _: u64, _: Timestamp) -> QuotaVerdict {
            self.0.iter().find(|(id, _)| *id == account).unwrap().1
        }
    }

    fn answer(verdicts: &[QuotaVerdict], remote: bool) -> String {
        let rooms = Rooms(verdicts.iter().map(|v| (AccountId::generate(), *v)).collect());
        let mut targets: Vec<Target> =
            rooms.0.iter().map(|(account, _)| Target::Account(*account)).collect();
        if remote {
            targets.push(Target::Remote("far@b.test".parse().unwrap()));
        }
        match takes(&Resolution::Aliased(targets), Some(&rooms), 0) {
            Ok(()) => "taken".into(),
            Err(reply) => reply.to_string(),
        }
    }

    #[test]
    fn refused_only_if_nobody_has_room() {
        use QuotaVerdict::{Full, FullForLong, Room};
        assert_eq!(answer(&[Full, Room], false), "taken");
        assert_eq!(answer(&[Full], true), "taken");
        assert!(answer(&[Full], false).starts_with("452 4.2.2"));
        assert!(answer(&[FullForLong, Full], false).starts_with("452 4.2.2"));
        assert!(answer(&[Full, FullForLong], false).starts_with("452 4.2.2"));
        assert!(answer(&[FullForLong], false).starts_with("552 5.2.2"));
    }
}
