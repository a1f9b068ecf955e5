//! What a request is answered with.

use letterlock_address::Domain;

/// The path of the policy (RFC 8461 §3.3).
const POLICY: &str = "/.well-known/mta-sts.txt";
/// What its hosts' names begin with.
const PREFIX: &str = "mta-sts.";

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The MTA-STS policy.
    Policy,
    /// Nothing here (404).
    NotFound,
    /// The policy can only be read (405).
    NotAllowed,
}

/// Routes a request. `host` is the Host field or the authority of the target, with or without a port; `is_local` tells
/// whether a domain is one of ours.
pub fn route(
    method: &str,
    host: Option<&str>,
    path: &str,
    is_local: impl Fn(&Domain) -> bool,
) -> Route {
    let domain = host.and_then(policy_domain);
    if path != POLICY || !domain.is_some_and(|domain| is_local(&domain)) {
        return Route::NotFound;
    }
    match method {
        "GET" | "HEAD" => Route::Policy,
        _ => Route::NotAllowed,
    }
}

/// The domain that `mta-sts.<domain>` is for.
fn policy_domain(host: &str) -> Option<Domain> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
        Some(_) => return None,
        None => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    Domain::parse(name.strip_prefix(PREFIX)?).ok().filter(|domain| !domain.is_literal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_policy_of_a_local_domain() {
        let local = |domain: &Domain| domain.as_str() == "example.org";
        let get = |host: &str, path: &str| route("GET", Some(host), path, local);
        for host in [
            "mta-sts.example.org",
            "MTA-STS.Example.ORG",
            "mta-sts.example.org:8443",
            "mta-sts.example.org.",
        ] {
            assert_eq!(get(host, POLICY), Route::Policy, "{host}");
        }
        for host in [
            "example.org",
            "mta-sts.example.net",
            "mta-sts.",
            "mta-sts.mta-sts.example.org",
            "mta-sts.[192.0.2.1]",
            "",
            "a:b",
            "mta-sts.example.org:x",
            "mta-sts.exa mple.org",
        ] {
            assert_eq!(get(host, POLICY), Route::NotFound, "{host}");
        }
        for path in [
            "/",
            "/.well-known/mta-sts.txt/",
            "/.well-known/MTA-STS.txt",
            "/.well-known/acme-challenge/x",
        ] {
            assert_eq!(get("mta-sts.example.org", path), Route::NotFound, "{path}");
        }
        assert_eq!(route("GET", None, POLICY, local), Route::NotFound);
        let host = Some("mta-sts.example.org");
        assert_eq!(route("HEAD", host, POLICY, local), Route::Policy);
        assert_eq!(route("POST", host, POLICY, local), Route::NotAllowed);
        assert_eq!(route("POST", host, "/", local), Route::NotFound);
    }
}
