//! From text to settings: the walk over the TOML tree, the overrides of the environment, and writing it back.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::Path;

use crate::check;
use crate::error::{ConfigError, Place, Problem};
use crate::kinds::Fault;
use crate::nearest::nearest;
use crate::node::{Data, Entry, Node, quoted};
use crate::schema::{KeyInfo, PREFIX, Section, all_keys, join};
use crate::sections::{Dnssec, Listen, Settings};

/// The section that is reserved for certificates by ACME.
const ACME: &str = "tls.acme";

/// Where the value of each key that is set was written, for the checks that look at several keys.
pub(crate) type Places = BTreeMap<String, Place>;

/// A text with the name of its file, and the mistakes found so far.
struct Reader<'a> {
    source: &'a str,
    text: &'a str,
    places: Places,
    problems: Vec<Problem>,
}

impl Settings {
    /// Reads a file and the `LETTERLOCK_…` variables of `env`, which override it.
    ///
    /// Relative paths in the file start at the folder of the file, those in variables at the working directory.
    ///
    /// # Errors
    /// The file cannot be read, or what it or a variable says is wrong; all mistakes are told at once.
    pub fn load(
        path: &Path,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Settings, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        read(&text, &path.display().to_string(), path.parent().unwrap_or(Path::new("")), env)
    }

    /// As [`Settings::load`], from text; `source` is the name to show in errors. Relative paths stay as they are.
    ///
    /// # Errors
    /// See [`Settings::load`].
    pub fn parse(
        toml: &str,
        source: &str,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Settings, ConfigError> {
        read(toml, source, Path::new(""), env)
    }

    /// These settings with the `LETTERLOCK_…` variables of `env` on top.
    ///
    /// # Errors
    /// A variable is wrong, or does not fit the rest.
    pub fn with_env(
        self,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Settings, ConfigError> {
        let reader = Reader { source: "", text: "", places: Places::new(), problems: Vec::new() };
        finish(self, reader, env)
    }

    /// Settings to try the server on this machine: loopback only, standard ports + 2000, `mail.example.test`, no caps
    /// for loopback, and no name server but one on this machine, so that none needs to be configured. `[::1]` is left
    /// out where the machine has no IPv6.
    pub fn local(data_dir: impl AsRef<Path>) -> Settings {
        const SHIFT: u16 = 2000;
        let mut hosts = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        if std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            hosts.push(IpAddr::V6(Ipv6Addr::LOCALHOST));
        }
        let moved = |standard: Vec<SocketAddr>| -> Vec<SocketAddr> {
            let ports = standard.iter().map(|address| address.port() + SHIFT);
            ports
                .flat_map(|port| hosts.iter().map(move |host| SocketAddr::new(*host, port)))
                .collect()
        };
        let standard = Listen::default();
        let mut settings = Settings {
            hostname: "mail.example.test".to_owned(),
            data_dir: data_dir.as_ref().to_owned(),
            listen: Listen {
                smtp: moved(standard.smtp),
                submission: moved(standard.submission),
                submissions: moved(standard.submissions),
                imap: moved(standard.imap),
                imaps: moved(standard.imaps),
                pop3: moved(standard.pop3),
                pop3s: moved(standard.pop3s),
                http: moved(standard.http),
                https: moved(standard.https),
                managesieve: moved(standard.managesieve),
            },
            ..Settings::default()
        };
        settings.dns.servers = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 53))];
        settings.dns.dnssec = Dnssec::Off;
        settings.limits.exempt = hosts
            .into_iter()
            .map(|host| {
                if host.is_ipv4() {
                    ipnet::IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8)
                } else {
                    host.into()
                }
            })
            .collect();
        settings
    }

    /// The settings as they are in effect, as TOML that reads back to the same (for `config show`).
    pub fn to_toml(&self) -> String {
        self.to_table().to_string()
    }

    /// The settings as they are in effect, as a table that serde can write in any format.
    pub fn to_table(&self) -> toml::Table {
        table(self)
    }

    /// What is allowed but probably not meant, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        check::warnings(self)
    }
}

fn table(section: &dyn Section) -> toml::Table {
    let mut table: toml::Table =
        section.values().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    for part in section.parts() {
        table.insert(part.name().to_owned(), toml::Value::Table(self::table(part)));
    }
    table
}

fn read(
    text: &str,
    source: &str,
    base: &Path,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Settings, ConfigError> {
    let mut reader = Reader { source, text, places: Places::new(), problems: Vec::new() };
    let entries =
        Node::parse(text).map_err(|error| ConfigError::Invalid(vec![reader.syntax(&error)]))?;
    let mut settings = Settings::default();
    reader.walk(&mut settings, &entries);
    for path in [
        &mut settings.tls.certificate,
        &mut settings.tls.key,
        &mut settings.dns.trust_anchors,
        &mut settings.outbound.trusted_roots,
    ]
    .into_iter()
    .flatten()
    .chain([&mut settings.data_dir])
    .chain(settings.outbound.credentials.values_mut())
    {
        *path = base.join(&*path);
    }
    finish(settings, reader, env)
}

fn finish(
    mut settings: Settings,
    mut reader: Reader<'_>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Settings, ConfigError> {
    reader.environment(&mut settings, env);
    // What spans several keys is only worth saying when each of them was understood.
    if reader.problems.is_empty() {
        reader.problems = check::check(&settings, &reader.places);
    }
    if reader.problems.is_empty() {
        Ok(settings)
    } else {
        Err(ConfigError::Invalid(reader.problems))
    }
}

impl Reader<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place::File {
            source: self.source.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn syntax(&self, error: &toml::de::Error) -> Problem {
        let message = error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ");
        Problem {
            place: self.place(&error.span().unwrap_or(0..0)),
            key: String::new(),
            found: format!("not valid TOML: {message}"),
            fix: "mend the line; texts stand in double quotes, lists in square brackets".to_owned(),
        }
    }

    fn walk(&mut self, section: &mut dyn Section, entries: &[Entry]) {
        let known = section.keys();
        for entry in entries {
            let path = join(section.name(), &entry.key);
            if path == ACME {
                self.refuse(self.place(&entry.span), path, Unknown::acme());
            } else if known.iter().any(|info| info.key == entry.key) {
                self.places.insert(path.clone(), self.place(&entry.span));
                if let Err(Fault { span, found, fix }) = section.set(&entry.key, &entry.node) {
                    self.problems.push(Problem { place: self.place(&span), key: path, found, fix });
                }
            } else if let Some(part) =
                section.parts_mut().into_iter().find(|part| part.name() == path)
            {
                match &entry.node.data {
                    Data::Table(inner) => self.walk(part, inner),
                    _ => {
                        let found =
                            format!("{} stands where a section is expected", entry.node.describe());
                        let text =
                            Unknown { found, fix: format!("write [{path}] on a line of its own") };
                        self.refuse(self.place(&entry.node.span), path, text);
                    }
                }
            } else {
                let text = Unknown::key(section, entry);
                self.refuse(self.place(&entry.span), path, text);
            }
        }
    }

    fn refuse(&mut self, place: Place, key: String, Unknown { found, fix }: Unknown) {
        self.problems.push(Problem { place, key, found, fix });
    }

    fn environment(
        &mut self,
        settings: &mut Settings,
        env: impl Iterator<Item = (String, String)>,
    ) {
        let keys = all_keys(settings);
        let mut variables: Vec<(String, String)> = env.filter(|(name, _)| is_ours(name)).collect();
        variables.sort();
        for (name, value) in variables {
            let place = Place::Variable(name.clone());
            let Some(info) = keys.iter().find(|info| info.variable() == name) else {
                self.refuse(place, String::new(), Unknown::variable(&name, &keys));
                continue;
            };
            let node = Node::from_variable(&value, info.shape);
            if let Err(Fault { found, fix, .. }) = set(settings, info, &node) {
                let fix = if matches!(node.data, Data::List(_)) {
                    format!(
                        "{fix}; in a variable, a list is separated by commas, without brackets and quotes"
                    )
                } else {
                    fix
                };
                self.problems.push(Problem { place: place.clone(), key: info.path(), found, fix });
            }
            self.places.insert(info.path(), place);
        }
    }
}

fn set(section: &mut dyn Section, info: &KeyInfo, node: &Node) -> Result<(), Fault> {
    if section.name() == info.section {
        return section.set(info.key, node);
    }
    let part = section.parts_mut().into_iter().find(|part| info.section.starts_with(part.name()));
    part.map_or(Ok(()), |part| set(part, info, node))
}

/// Whether a variable is meant for the settings: not those of the command line and of tests, nor those that container
/// platforms make up for a service that is named "letterlock".
fn is_ours(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    let others = ["CONFIG", "TESTDATA", "PORT", "SERVICE_HOST", "SERVICE_PORT"];
    !others.contains(&rest)
        && !["TEST_", "PORT_", "SERVICE_PORT_"].iter().any(|prefix| rest.starts_with(prefix))
}

/// The words for a name that is not known.
struct Unknown {
    found: String,
    fix: String,
}

impl Unknown {
    fn acme() -> Unknown {
        Unknown {
            found: "certificates by ACME are not available in this version".to_owned(),
            fix: "remove the section and set certificate and key in [tls]".to_owned(),
        }
    }

    fn key(section: &dyn Section, entry: &Entry) -> Unknown {
        let table = matches!(entry.node.data, Data::Table(_));
        let sections: Vec<&str> = section.parts().into_iter().map(Section::name).collect();
        let keys = section.keys();
        let own: Vec<&str> = keys.iter().map(|info| info.key).collect();
        let found = if table {
            format!("{} is no section", quoted(&entry.key))
        } else {
            format!("{} is no key here", quoted(&entry.key))
        };
        let elsewhere =
            all_keys(&Settings::default()).into_iter().find(|info| info.key == entry.key);
        let fix = if let Some(name) =
            nearest(&entry.key, sections.iter().copied().filter(|_| table))
        {
            format!("did you mean [{name}]?")
        } else if let Some(info) = elsewhere.filter(|_| !table) {
            match info.section {
                "" => {
                    format!("{} stands at the top of the file, before the first section", info.key)
                }
                part => format!("{} belongs to section [{part}]", info.key),
            }
        } else if let Some(name) = nearest(&entry.key, own.iter().copied()) {
            format!("did you mean {name}?")
        } else if table && !sections.is_empty() {
            format!("remove it; sections are {}", sections.join(", "))
        } else {
            format!("remove it; keys here are {}", own.join(", "))
        };
        Unknown { found, fix }
    }

    fn variable(name: &str, keys: &[KeyInfo]) -> Unknown {
        if name.starts_with("LETTERLOCK_TLS_ACME_") {
            return Unknown::acme();
        }
        let names: Vec<String> = keys.iter().map(KeyInfo::variable).collect();
        let fix = match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => "unset it; variables are LETTERLOCK_<SECTION>_<KEY>, see `letterlock config reference`".to_owned(),
        };
        Unknown { found: "sets no key".to_owned(), fix }
    }
}
