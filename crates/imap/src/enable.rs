//! ENABLE (RFC 9051 §6.3.1): what a client switches on for the rest of the session.

use letterlock_imap_wire::response::enabled;

use crate::capability::Capabilities;
use crate::resync;
use crate::session::{Resync, State, User};

/// What is not known, or not offered, is passed over in silence.
pub(crate) fn enable(
    state: &mut State,
    names: &[String],
    capabilities: &Capabilities,
    out: &mut Vec<u8>,
) {
    let (mut done, mut wanted) = (Vec::new(), Resync::Off);
    for name in names.iter().filter(|name| capabilities.offers(name)) {
        let known = match name.as_str() {
            "IMAP4REV2" => {
                state.user_mut().into_iter().for_each(User::enable_rev2);
                "IMAP4rev2"
            }
            "UTF8=ACCEPT" => {
                state.user_mut().into_iter().for_each(User::accept_utf8);
                "UTF8=ACCEPT"
            }
            "UIDONLY" => {
                state.user_mut().into_iter().for_each(User::name_by_uid);
                "UIDONLY"
            }
            "CONDSTORE" => {
                wanted = wanted.max(Resync::Condstore);
                "CONDSTORE"
            }
            // RFC 7162 §3.2.3: CONDSTORE comes with it.
            "QRESYNC" => {
                wanted = Resync::Qresync;
                "QRESYNC"
            }
            _ => continue,
        };
        if !done.contains(&known) {
            done.push(known);
        }
    }
    enabled(out, &done);
    resync::enable(state, wanted, out);
}
