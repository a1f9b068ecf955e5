//! What must hold between keys, and between the settings and the machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use crate::error::{Place, Problem};
use crate::load::Places;
use crate::sections::{Settings, StsMode};
use crate::units::format_duration;

/// Every mistake that spans more than one value.
pub(crate) fn check(settings: &Settings, places: &Places) -> Vec<Problem> {
    let mut found = Found { places, problems: Vec::new() };
    found.pair(settings);
    found.files(settings);
    found.cleartext(settings);
    found.listeners(settings);
    if settings.limits.ban > settings.limits.ban_max {
        let (ban, most) =
            (format_duration(settings.limits.ban), format_duration(settings.limits.ban_max));
        found.add(
            "limits.ban",
            format!("{ban} is longer than ban_max ({most})"),
            "make ban shorter or ban_max longer".to_owned(),
        );
    }
    found.problems
}

struct Found<'a> {
    places: &'a Places,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn add(&mut self, key: &str, found: String, fix: String) {
        let place = self.places.get(key).cloned().unwrap_or(Place::Default);
        self.problems.push(Problem { place, key: key.to_owned(), found, fix });
    }

    fn pair(&mut self, settings: &Settings) {
        let (present, missing) = match (&settings.tls.certificate, &settings.tls.key) {
            (Some(_), None) => ("certificate", "key"),
            (None, Some(_)) => ("key", "certificate"),
            _ => return,
        };
        let path = format!("tls.{present}");
        self.add(
            &path,
            format!("{present} is set without {missing}"),
            format!("set tls.{missing} too, or neither for a self-signed certificate"),
        );
    }

    fn files(&mut self, settings: &Settings) {
        let files: [(&str, Option<&Path>); 4] = [
            ("tls.certificate", settings.tls.certificate.as_deref()),
            ("tls.key", settings.tls.key.as_deref()),
            ("dns.trust_anchors", settings.dns.trust_anchors.as_deref()),
            ("outbound.trusted_roots", settings.outbound.trusted_roots.as_deref()),
        ];
        for (key, path) in files.into_iter().filter_map(|(key, path)| Some((key, path?))) {
            let words = match std::fs::metadata(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => "does not exist",
                Ok(meta) if meta.is_dir() => "is a folder",
                // No right to look is the business of who opens the file: another user may run the server.
                _ => continue,
            };
            self.add(
                key,
                format!("the file {} {words}", path.display()),
                "correct the path or put the file there".to_owned(),
            );
        }
    }

    fn cleartext(&mut self, settings: &Settings) {
        if !settings.auth.allow_cleartext {
            return;
        }
        let plain = ["submission", "imap", "pop3", "managesieve"];
        let open = settings.listen.by_name().into_iter().filter(|(name, _)| plain.contains(name));
        let open = open.flat_map(|(name, list)| list.iter().map(move |address| (name, address)));
        if let Some((name, address)) =
            open.into_iter().find(|(_, address)| !address.ip().to_canonical().is_loopback())
        {
            let found = format!(
                "true would let passwords travel in the clear to listen.{name} on {address}"
            );
            let fix = format!(
                "write false, or let {} listen on 127.0.0.1 and [::1] only",
                plain[..3].join(", ")
            );
            self.add("auth.allow_cleartext", found, fix);
        }
    }

    fn listeners(&mut self, settings: &Settings) {
        let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
        for (name, list) in settings.listen.by_name() {
            // Port 0 lets the system choose, a different one each time.
            for address in list.iter().filter(|address| address.port() != 0) {
                if let Some(other) = taken.insert(*address, name) {
                    let fix = "give each listener an address and port of its own".to_owned();
                    self.add(
                        &format!("listen.{name}"),
                        format!("{address} is already used by listen.{other}"),
                        fix,
                    );
                }
            }
        }
    }
}

/// What is allowed but probably not meant.
pub(crate) fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if !settings.hostname.contains('.') {
        let name = &settings.hostname;
        warnings.push(format!("hostname is \"{name}\", which is not fully qualified: other servers will refuse mail from here; set hostname"));
    }
    if settings.tls.certificate.is_none() {
        warnings.push("tls.certificate is not set: a self-signed certificate is used, which mail programs refuse".to_owned());
    }
    if settings.mta_sts.mode != StsMode::None && settings.listen.https.is_empty() {
        warnings.push("mta_sts.mode is set but listen.https is off: another web server has to serve the policy".to_owned());
    }
    if settings.listen.by_name().iter().all(|(_, list)| list.is_empty()) {
        warnings.push("every listener is off: nobody can reach this server".to_owned());
    }
    warnings
}
