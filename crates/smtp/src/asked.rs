//! What a message's sender asked for, in the envelope and in the header, in the words of the queue.

use letterlock_address::Mailbox;
use letterlock_delivery::{Asked, Recipient};
use letterlock_queue::{BodyType, Notify, RequireTls, Ret};
use letterlock_smtp_wire::{command, header};

use crate::service::Received;
use crate::session;

/// All of it, from MAIL and from the field TLS-Required.
pub(crate) fn asked(message: &Received) -> Asked {
    let params = &message.envelope.params;
    Asked {
        ret: params.ret.map(|ret| match ret {
            command::Ret::Full => Ret::Full,
            command::Ret::Hdrs => Ret::Headers,
        }),
        envid: params.envid.clone(),
        binary: message.body_type == BodyType::Binary,
        require_tls: if params.requiretls {
            // RFC 8689 §3: then the field is ignored.
            RequireTls::Required
        } else if lifts_tls(&message.body) {
            RequireTls::Lifted
        } else {
            RequireTls::Unspecified
        },
        hold_until: message.envelope.hold_until,
    }
}

/// The recipients' addresses.
pub(crate) fn addresses(accepted: &[session::Recipient]) -> Vec<Mailbox> {
    accepted.iter().map(|recipient| recipient.address.clone()).collect()
}

/// The recipients as they were accepted, with what RCPT asked for each.
pub(crate) fn recipients(accepted: Vec<session::Recipient>) -> Vec<Recipient> {
    accepted
        .into_iter()
        .map(|session::Recipient { address, params }| Recipient {
            address,
            notify: params.notify.map_or_else(Notify::default, notify),
            orcpt: params.orcpt.map(|orcpt| orcpt.to_string()),
        })
        .collect()
}

fn notify(notify: command::Notify) -> Notify {
    let command::Notify { never, success, failure, delay } = notify;
    if never { Notify::Never } else { Notify::On { success, failure, delay } }
}

/// Whether there is one field `TLS-Required: No` (RFC 8689 §5). Any other value, or several fields, ask for nothing.
fn lifts_tls(message: &[u8]) -> bool {
    let mut fields = header::fields(message).filter(|field| field.is("TLS-Required"));
    let first = fields.next().is_some_and(|field| field.value().eq_ignore_ascii_case(b"No"));
    first && fields.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_lifts_tls() {
        assert!(lifts_tls(b"TLS-Required: No\r\n\r\n"));
        assert!(lifts_tls(b"Subject: x\r\ntls-required:\r\n nO \r\n\r\n"));
        for other in [
            &b"TLS-Required: Yes\r\n\r\n"[..],
            b"TLS-Required: No\r\nTLS-Required: No\r\n\r\n",
            b"Subject: x\r\n\r\nTLS-Required: No\r\n",
        ] {
            assert!(!lifts_tls(other));
        }
    }

    #[test]
    fn notify_keeps_its_meaning() {
        let none = command::Notify::default();
        assert_eq!(notify(command::Notify { never: true, ..none }), Notify::Never);
        assert_eq!(
            notify(command::Notify { success: true, delay: true, ..none }),
            Notify::On { success: true, failure: false, delay: true }
        );
    }
}
