//! Domains: their keys, and the DNS records that they need.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use letterlock_address::{Domain as DomainName, Mailbox};
use letterlock_directory::{DkimAlgorithm, DkimKey, DkimPrivate, DkimState, Domain};
use letterlock_dns::MxAnswer;
use letterlock_sender_auth::{KeyAlgorithm, generate_key};
use letterlock_transport_policy::OwnPolicy;

use crate::{
    Admin, AdminError, Check, DnsRecord, DomainDetails, DomainRequest, DomainRow, Response,
};

/// Longest string within a TXT record (RFC 1035 §3.3).
const TXT_STRING: usize = 255;

impl Admin {
    /// Carries out `domain …`.
    pub(crate) async fn domain(&self, request: DomainRequest) -> Result<Response, AdminError> {
        match request {
            DomainRequest::Add { domain, contact } => {
                self.add_domain(&domain, contact.as_deref()).await
            }
            DomainRequest::List => {
                let snapshot = self.directory.snapshot();
                let mut rows: Vec<DomainRow> =
                    snapshot.domains().map(|domain| self.domain_row(domain)).collect();
                rows.sort_by(|a, b| a.domain.cmp(&b.domain));
                Ok(Response::Domains(rows))
            }
            DomainRequest::Show { domain } => {
                let domain = self.find_domain(&domain)?;
                Ok(Response::Domain(DomainDetails {
                    row: self.domain_row(&domain),
                    unicode: domain.name.to_unicode(),
                    dkim: domain
                        .dkim
                        .iter()
                        .map(|key| {
                            format!(
                                "{} {} {}",
                                key.selector,
                                key.algorithm.as_str(),
                                key.state.as_str()
                            )
                        })
                        .collect(),
                }))
            }
            DomainRequest::Remove { domain } => {
                let name = parse_domain(&domain)?;
                self.directory.remove_domain(&name).await?;
                Ok(Response::Done(format!("domain {name} removed")))
            }
            DomainRequest::Dns { domain } => {
                let domain = self.find_domain(&domain)?;
                Ok(Response::Records(self.records(&domain)))
            }
            DomainRequest::Check { domain } => {
                let domain = self.find_domain(&domain)?;
                let mut checks = Vec::new();
                for record in self.records(&domain) {
                    checks.push(self.check(&domain, &record).await);
                }
                Ok(Response::Checks(checks))
            }
        }
    }

    async fn add_domain(
        &self,
        domain: &str,
        contact: Option<&str>,
    ) -> Result<Response, AdminError> {
        let name = parse_domain(domain)?;
        let contact = contact.map(parse_address).transpose()?;
        if self.directory.snapshot().is_local(&name) {
            return Err(letterlock_directory::DirectoryError::DomainExists(name).into());
        }
        let now = Timestamp::now();
        // RSA takes a moment to generate: not on an async worker.
        let pair = tokio::task::spawn_blocking(|| generate_key(KeyAlgorithm::Rsa2048))
            .await
            .map_err(|_| AdminError::Failed("the server is shutting down".into()))?
            .map_err(|error| AdminError::Failed(format!("cannot make a DKIM key: {error}")))?;
        let key = DkimKey {
            selector: format!("ll{}", now.to_zoned(TimeZone::UTC).strftime("%Y%m%d")),
            algorithm: DkimAlgorithm::RsaSha256,
            private: DkimPrivate::new(pair.private),
            public_dns: pair.public_dns,
            state: DkimState::Active,
            created_at: now,
        };
        self.directory.add_domain(name.clone(), contact, vec![key], now).await?;
        Ok(Response::Done(format!(
            "domain {name} added; `letterlock domain dns {name}` prints the records to publish"
        )))
    }

    fn domain_row(&self, domain: &Domain) -> DomainRow {
        let snapshot = self.directory.snapshot();
        DomainRow {
            domain: domain.name.to_string(),
            accounts: snapshot
                .accounts()
                .filter(|account| account.address.domain == domain.name)
                .count(),
            contact: domain.contact.as_ref().map(ToString::to_string),
        }
    }

    fn find_domain(&self, domain: &str) -> Result<Arc<Domain>, AdminError> {
        let name = parse_domain(domain)?;
        let missing = || {
            AdminError::NotFound(format!(
                "{name} is not a domain of this server: `letterlock domain add {name}`"
            ))
        };
        self.directory.snapshot().domain(&name).ok_or_else(missing)
    }

    /// What to publish. SPF lets the MX send, which is us; DMARC asks to quarantine what fails
    /// and sends reports to an address that every domain here accepts.
    fn records(&self, domain: &Domain) -> Vec<DnsRecord> {
        let name = &domain.name;
        let mut records = vec![
            DnsRecord {
                name: format!("{name}."),
                kind: "MX".into(),
                value: format!("10 {}.", self.hostname),
                text: None,
            },
            txt(format!("{name}."), "v=spf1 mx -all".into()),
            txt(
                format!("_dmarc.{name}."),
                format!("v=DMARC1; p=quarantine; rua=mailto:dmarc-reports@{name}"),
            ),
        ];
        let published = domain.dkim.iter().filter(|key| key.state != DkimState::Retired);
        records.extend(published.map(|key| {
            txt(format!("{}._domainkey.{name}.", key.selector), key.public_dns.clone())
        }));
        if self.mta_sts.is_published() {
            records.push(txt(format!("_mta-sts.{name}."), self.mta_sts.record()));
            records.push(DnsRecord {
                name: format!("{}.", OwnPolicy::host_of(name.as_str())),
                kind: "CNAME".into(),
                value: format!("{}.", self.hostname),
                text: None,
            });
        }
        records
    }

    /// Compares one record with what DNS answers. A policy that differs from ours is right
    /// as long as there is one: operators choose their own.
    async fn check(&self, domain: &Domain, record: &DnsRecord) -> Check {
        let owner = record.name.trim_end_matches('.');
        let (ok, finding) = match record.text.as_deref() {
            None if record.kind == "CNAME" => self.check_host(owner).await,
            None => self.check_mx(domain).await,
            Some(wanted) => match self.resolver.txt(owner).await {
                Err(error) => (
                    false,
                    format!("{error}; publish it, see `letterlock domain dns {}`", domain.name),
                ),
                Ok(found) if found.is_empty() => (false, "no TXT record at this name".into()),
                Ok(found) => judge_txt(wanted, &found),
            },
        };
        Check { name: record.name.clone(), kind: record.kind.clone(), ok, finding }
    }

    /// Whether the host of the MTA-STS policy can be found; by an alias or not makes no difference.
    async fn check_host(&self, name: &str) -> (bool, String) {
        match self.resolver.host(name).await {
            Ok(found) if !found.addresses.is_empty() => {
                let list: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
                (true, list.join(", "))
            }
            Ok(_) => (false, format!("{name} has no address")),
            Err(error) => (false, format!("{error}; no server will find the MTA-STS policy")),
        }
    }

    async fn check_mx(&self, domain: &Domain) -> (bool, String) {
        match self.resolver.mx(domain.name.as_str()).await {
            Err(error) => {
                (false, format!("{error}; mail for {} will not find this server", domain.name))
            }
            Ok(answer) => {
                let hosts = match answer {
                    MxAnswer::Hosts(hosts) => hosts.into_iter().map(|(_, host)| host).collect(),
                    MxAnswer::Implicit => vec![domain.name.to_string()],
                    MxAnswer::Null => {
                        return (
                            false,
                            "found a null MX: the domain says that it takes no mail".into(),
                        );
                    }
                };
                let found = hosts.iter().any(|host| host.eq_ignore_ascii_case(&self.hostname));
                let list = hosts.join(", ");
                if found {
                    (true, list)
                } else {
                    (false, format!("found {list}, which is not {}", self.hostname))
                }
            }
        }
    }
}

/// Whether the record is there: for DKIM the same key, for the others one of its kind.
fn judge_txt(wanted: &str, found: &[String]) -> (bool, String) {
    let squeezed = |text: &str| text.split_ascii_whitespace().collect::<String>();
    if found.iter().any(|text| squeezed(text) == squeezed(wanted)) {
        return (true, "as it should be".into());
    }
    let version = wanted.split([';', ' ']).next().unwrap_or(wanted);
    let same_kind: Vec<&String> = found.iter().filter(|text| text.starts_with(version)).collect();
    match (same_kind.as_slice(), version) {
        ([], _) => (false, format!("no record that begins with {version}")),
        ([_], "v=STSv1") => (
            false,
            "another id is published: senders will not notice that the policy changed".into(),
        ),
        ([_], "v=DKIM1") => (false, "another key is published: signatures will not verify".into()),
        ([text], _) => (true, format!("{text} (another policy than the suggested one)")),
        (several, _) => (false, format!("{} records, but only one may be there", several.len())),
    }
}

/// A TXT record, its text split into strings as zone files need it.
fn txt(name: String, text: String) -> DnsRecord {
    let strings: Vec<String> = text
        .as_bytes()
        .chunks(TXT_STRING)
        .map(|chunk| {
            format!(
                "\"{}\"",
                String::from_utf8_lossy(chunk).replace('\\', "\\\\").replace('"', "\\\"")
            )
        })
        .collect();
    let value =
        if strings.len() == 1 { strings.concat() } else { format!("( {} )", strings.join(" ")) };
    DnsRecord { name, kind: "TXT".into(), value, text: Some(text) }
}

/// Parses a domain that an operator typed.
pub(crate) fn parse_domain(text: &str) -> Result<DomainName, AdminError> {
    DomainName::parse(text)
        .map_err(|error| AdminError::Invalid(format!("{text:?} is not a domain: {error}")))
}

/// Parses an address that an operator typed.
pub(crate) fn parse_address(text: &str) -> Result<Mailbox, AdminError> {
    Mailbox::parse(text)
        .map_err(|error| AdminError::Invalid(format!("{text:?} is not an address: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_split_for_the_zone_and_whole_for_web_forms() {
        let record = txt("a.".into(), "x".repeat(300));
        assert_eq!(record.value, format!("( \"{}\" \"{}\" )", "x".repeat(255), "x".repeat(45)));
        assert_eq!(record.text.unwrap().len(), 300);
        assert_eq!(txt("a.".into(), "v=spf1 -all".into()).value, "\"v=spf1 -all\"");
    }

    #[test]
    fn a_check_accepts_the_operators_own_policy_but_not_another_key() {
        let found = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(
            judge_txt("v=spf1 mx -all", &found(&["v=spf1 ip4:192.0.2.1 ~all", "something else"])).0
        );
        assert!(!judge_txt("v=spf1 mx -all", &found(&["something else"])).0);
        assert!(!judge_txt("v=spf1 mx -all", &found(&["v=spf1 a -all", "v=spf1 -all"])).0);
        assert!(judge_txt("v=DKIM1; k=rsa; p=AAAA", &found(&["v=DKIM1; k=rsa; p=AA AA"])).0);
        assert!(!judge_txt("v=DKIM1; k=rsa; p=AAAA", &found(&["v=DKIM1; k=rsa; p=BBBB"])).0);
    }
}
