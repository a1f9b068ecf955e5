//! The MTA-STS policy that this server publishes for its domains.

use letterlock_config::{MtaSts, StsMode};
use sha2::{Digest, Sha256};

use crate::sts::{Mode, Policy};

/// The policy of this server. It is the same for all domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPolicy {
    policy: Policy,
}

impl OwnPolicy {
    /// The policy that is configured; `hostname` is the only exchanger if none is named.
    pub fn new(settings: &MtaSts, hostname: &str) -> Self {
        let mode = match settings.mode {
            StsMode::None => Mode::None,
            StsMode::Testing => Mode::Testing,
            StsMode::Enforce => Mode::Enforce,
        };
        let mx = match settings.mx.as_slice() {
            [] => vec![hostname.to_owned()],
            named => named.to_vec(),
        };
        Self { policy: Policy { mode, max_age: settings.max_age, mx } }
    }

    /// Whether it asks for anything, so that its records belong into DNS.
    pub fn is_published(&self) -> bool {
        self.policy.mode != Mode::None
    }

    /// The file `mta-sts.txt`.
    pub fn text(&self) -> String {
        self.policy.to_string()
    }

    /// The TXT record at `_mta-sts.<domain>`. Its id is made of the policy, so that it changes when that does and only
    /// then.
    pub fn record(&self) -> String {
        let digest = Sha256::digest(self.text());
        let id: String = digest.iter().take(16).map(|octet| format!("{octet:02x}")).collect();
        format!("v=STSv1; id={id};")
    }

    /// The name that serves the file for a domain.
    pub fn host_of(domain: &str) -> String {
        format!("mta-sts.{domain}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sts::Record;

    #[test]
    fn what_is_published_can_be_read() {
        let mut settings = MtaSts { mode: StsMode::Enforce, ..MtaSts::default() };
        let own = OwnPolicy::new(&settings, "mx.example.org");
        assert_eq!(
            own.text(),
            "version: STSv1\r\nmode: enforce\r\nmx: mx.example.org\r\nmax_age: 604800\r\n"
        );
        assert_eq!(Policy::parse(own.text().as_bytes()).unwrap(), own.policy);
        let id = Record::parse(&own.record()).unwrap().id;
        assert_eq!(id, Record::parse(&own.clone().record()).unwrap().id);
        settings.mx = vec!["*.example.net".into()];
        let other = OwnPolicy::new(&settings, "mx.example.org");
        assert_ne!(id, Record::parse(&other.record()).unwrap().id);
        assert!(other.text().contains("mx: *.example.net\r\n") && other.is_published());
        assert!(!OwnPolicy::new(&MtaSts::default(), "mx.example.org").is_published());
        assert_eq!(OwnPolicy::host_of("example.org"), "mta-sts.example.org");
    }
}
