//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) up to the client's proof. Checking it is `Login`'s.
//!
//! Nothing here knows whether an account exists: the salt of a name is asked for by a function that has one for every
//! name.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use letterlock_net::ChannelBindings;
use subtle::ConstantTimeEq;

use super::{Proof, SaslError};

/// What the client said of channel binding, and of whom it is (RFC 5802 §7, gs2-header).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Binding {
    /// `n`: it does not know how.
    None,
    /// `y`: it knows how, and thinks that we do not.
    ThoughtMissing,
    /// `p`: it binds to this.
    To(Vec<u8>),
}

/// An exchange that waits for the client's proof.
#[derive(Clone)]
pub(super) struct Waiting {
    identity: String,
    authzid: Option<String>,
    /// What `c=` must hold: the header, and what it binds to.
    bound: Vec<u8>,
    /// Client's and server's part.
    nonce: String,
    client_first_bare: String,
    server_first: String,
}

/// How the client's name is salted.
pub(super) struct Salted {
    pub(super) salt: [u8; 16],
    pub(super) iterations: u32,
}

/// Reads the client's first message. `plus` tells which of the two mechanisms was named, `bindings` what can be bound to.
/// Answers the exchange and the server's first message.
pub(super) fn first(
    message: &str,
    plus: bool,
    bindings: &ChannelBindings,
    server_nonce: &str,
    salted: impl FnOnce(&str) -> Salted,
) -> Result<(Waiting, String), SaslError> {
    let (flag, rest) = message.split_once(',').ok_or(SaslError::Syntax)?;
    let (authzid, bare) = rest.split_once(',').ok_or(SaslError::Syntax)?;
    let header = &message[..message.len() - bare.len()];
    let binding = binding(flag, bindings)?;
    check_downgrade(&binding, plus, bindings)?;
    let authzid = match authzid {
        "" => None,
        named => Some(name(named.strip_prefix("a=").ok_or(SaslError::Syntax)?)?),
    };
    let mut attributes = bare.split(',');
    // A mandatory extension (`m=`) would stand here; we know none (RFC 5802 §5.1).
    let identity = attributes.next().and_then(|part| part.strip_prefix("n="));
    let identity = name(identity.ok_or(SaslError::Syntax)?)?;
    let nonce = attributes.next().and_then(|part| part.strip_prefix("r="));
    let client_nonce = nonce.filter(|nonce| is_nonce(nonce)).ok_or(SaslError::Syntax)?;
    if identity.is_empty() {
        return Err(SaslError::Syntax);
    }
    let mut bound = header.as_bytes().to_vec();
    if let Binding::To(data) = binding {
        bound.extend_from_slice(&data);
    }
    let Salted { salt, iterations } = salted(&identity);
    let nonce = format!("{client_nonce}{server_nonce}");
    let server_first = format!("r={nonce},s={},i={iterations}", STANDARD.encode(salt));
    let waiting = Waiting {
        identity,
        authzid,
        bound,
        nonce,
        client_first_bare: bare.to_owned(),
        server_first: server_first.clone(),
    };
    Ok((waiting, server_first))
}

impl Waiting {
    /// Reads the client's last message: what it is bound to and the nonce must be right, the proof is `Login`'s to try.
    pub(super) fn last(self, message: &str) -> Result<Proof, SaslError> {
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(SaslError::Syntax)?;
        let proof = STANDARD.decode(proof).map_err(|_| SaslError::Syntax)?;
        let proof: [u8; 32] = proof.try_into().map_err(|_| SaslError::Syntax)?;
        let mut attributes = without_proof.split(',');
        let bound = attributes.next().and_then(|part| part.strip_prefix("c="));
        let bound = STANDARD.decode(bound.ok_or(SaslError::Syntax)?);
        let bound = bound.map_err(|_| SaslError::Syntax)?;
        let nonce = attributes.next().and_then(|part| part.strip_prefix("r="));
        // Somebody in between has another connection to us than to the client.
        if !bool::from(bound.ct_eq(&self.bound)) {
            return Err(SaslError::Binding);
        }
        if nonce != Some(self.nonce.as_str()) {
            return Err(SaslError::Syntax);
        }
        let auth_message =
            format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        Ok(Proof {
            identity: self.identity,
            authzid: self.authzid,
            auth_message: auth_message.into_bytes(),
            proof,
        })
    }
}

/// The server's last message (RFC 5802 §7).
pub(super) fn server_final(signature: &[u8; 32]) -> String {
    format!("v={}", STANDARD.encode(signature))
}

fn binding(flag: &str, bindings: &ChannelBindings) -> Result<Binding, SaslError> {
    match flag {
        "n" => Ok(Binding::None),
        "y" => Ok(Binding::ThoughtMissing),
        _ => {
            let kind = flag.strip_prefix("p=").ok_or(SaslError::Syntax)?;
            let data = match kind {
                "tls-exporter" => bindings.exporter.map(|octets| octets.to_vec()),
                "tls-server-end-point" => bindings.end_point.as_deref().map(<[u8]>::to_vec),
                _ => None,
            };
            data.map(Binding::To).ok_or(SaslError::Binding)
        }
    }
}

/// RFC 5802 §6: a client that could have bound, and was told that we cannot, was lied to if we can.
fn check_downgrade(
    binding: &Binding,
    plus: bool,
    bindings: &ChannelBindings,
) -> Result<(), SaslError> {
    match binding {
        Binding::To(_) if plus => Ok(()),
        Binding::To(_) => Err(SaslError::Binding),
        _ if plus => Err(SaslError::Binding),
        Binding::ThoughtMissing if can_bind(bindings) => Err(SaslError::Binding),
        Binding::ThoughtMissing | Binding::None => Ok(()),
    }
}

/// Whether there is anything to bind to.
pub(super) fn can_bind(bindings: &ChannelBindings) -> bool {
    bindings.exporter.is_some() || bindings.end_point.is_some()
}

/// A name with its escapes taken back (RFC 5802 §5.1, `n`).
fn name(text: &str) -> Result<String, SaslError> {
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(SaslError::Syntax),
        };
        name.push(character);
        name.push_str(rest);
    }
    Ok(name)
}

/// RFC 5802 §7, printable: ASCII that is neither blank nor comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of RFC 7677 §3.
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn none() -> ChannelBindings {
        ChannelBindings::default()
    }

    fn some() -> ChannelBindings {
        ChannelBindings { exporter: Some([1; 32]), end_point: Some([2; 32].into()) }
    }

    fn salted(_: &str) -> Salted {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        Salted { salt, iterations: 4096 }
    }

    fn start(
        message: &str,
        plus: bool,
        bindings: &ChannelBindings,
    ) -> Result<(Waiting, String), SaslError> {
        first(message, plus, bindings, SERVER_NONCE, salted)
    }

    fn refused(message: &str, plus: bool, bindings: &ChannelBindings) -> SaslError {
        match start(message, plus, bindings) {
            Ok(_) => panic!("{message} was taken"),
            Err(error) => error,
        }
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let (waiting, server_first) = start(FIRST, false, &none()).unwrap();
        assert_eq!(
            server_first,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let proof = waiting.last(LAST).unwrap();
        assert_eq!((proof.identity.as_str(), proof.authzid), ("user", None));
        assert_eq!(
            String::from_utf8(proof.auth_message).unwrap(),
            format!("{},{server_first},{}", &FIRST[3..], LAST.rsplit_once(",p=").unwrap().0)
        );
        let signature = STANDARD.decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert_eq!(
            server_final(&signature.try_into().unwrap()),
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }

    #[test]
    fn a_client_that_was_told_a_lie_is_turned_away() {
        let thought_missing = FIRST.replacen('n', "y", 1);
        assert!(start(&thought_missing, false, &none()).is_ok(), "we cannot, it is right");
        assert_eq!(refused(&thought_missing, false, &some()), SaslError::Binding);
        assert_eq!(refused(&thought_missing, true, &some()), SaslError::Binding);
        assert!(start(FIRST, false, &some()).is_ok(), "it cannot");
        assert_eq!(refused(FIRST, true, &some()), SaslError::Binding, "PLUS binds");
        let bound = FIRST.replacen('n', "p=tls-exporter", 1);
        assert_eq!(refused(&bound, false, &some()), SaslError::Binding, "only PLUS binds");
        assert_eq!(refused(&bound, true, &none()), SaslError::Binding);
        let unknown = FIRST.replacen('n', "p=tls-unique", 1);
        assert_eq!(refused(&unknown, true, &some()), SaslError::Binding);
    }

    #[test]
    fn what_is_bound_to_must_be_this_connection() {
        for (kind, data) in [("tls-exporter", [1; 32]), ("tls-server-end-point", [2; 32])] {
            let message = FIRST.replacen('n', &format!("p={kind}"), 1);
            let last = |data: [u8; 32]| {
                let bound = [format!("p={kind},,").as_bytes(), &data].concat();
                LAST.replacen("biws", &STANDARD.encode(bound), 1)
            };
            let (waiting, _) = start(&message, true, &some()).unwrap();
            assert!(waiting.clone().last(&last(data)).is_ok(), "{kind}");
            assert_eq!(waiting.clone().last(&last([9; 32])).err(), Some(SaslError::Binding));
            assert_eq!(waiting.last(LAST).err(), Some(SaslError::Binding), "not bound at all");
        }
    }

    #[test]
    fn names_are_read_and_others_may_be_asked_for() {
        let (waiting, _) = start("n,a=b=2Cob,n=an=3Dn=2C,r=x,ext=1", false, &none()).unwrap();
        let last = format!(
            "c={},r=x{SERVER_NONCE},e=1,p={}",
            STANDARD.encode("n,a=b=2Cob,"),
            &LAST[LAST.len() - 44..]
        );
        let proof = waiting.last(&last).unwrap();
        assert_eq!((proof.identity.as_str(), proof.authzid.as_deref()), ("an=n,", Some("b,ob")));
    }

    #[test]
    fn malformed_messages_end_the_exchange() {
        for message in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=user",
            "n,,n=,r=x",
            "n,,n=user,r=",
            "n,,n=us=er,r=x",
            "x,,n=user,r=x",
            "n,b,n=user,r=x",
            "n,,m=ext,n=user,r=x",
            "n,,r=x,n=user",
            "n,,n=user,r=a b",
            "p=,,n=user,r=x",
        ] {
            assert!(start(message, false, &none()).is_err(), "{message}");
        }
        let (waiting, _) = start(FIRST, false, &none()).unwrap();
        for message in [
            "",
            "c=biws",
            &LAST.replace("p=", "q="),
            &LAST.replace("dHzb", "dH"),
            &LAST.replace("rOpr", "xxxx"),
            &LAST.replace("$k0", ""),
            &LAST.replace("biws", "!"),
            &LAST.replacen("c=biws,", "", 1),
        ] {
            assert!(waiting.clone().last(message).is_err(), "{message}");
        }
    }
}
