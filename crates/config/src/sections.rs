//! Each section and key of the settings: the only place where a key's meaning, unit, default and range are written.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::hosts::{
    Addresses, Capabilities, Credentials, DomainName, Domains, Exchangers, Hostname, Networks,
    NotYet, Routes, Servers,
};
use crate::kinds::{Count, Durations, File, Flag, Folder, Level, Period, Size};
use crate::schema::{choice, section};
use crate::units::{days, gib, hours, kib, mib, millis, mins, secs};

/// `[::]` with this port: every address of the machine, IPv6 and IPv4.
fn everywhere(port: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)]
}

section! {
    /// The settings of a server.
    Settings = "" {
        /// Name of this server, as it greets with and as its certificate says: a fully qualified domain name in
        /// lower-case ASCII, whose address points here and back.
        hostname: String as Hostname = "localhost".to_owned(), such as "\"mx.example.org\"";
        /// Folder of everything that the server keeps. It must not be shared with another server.
        data_dir: PathBuf as Folder = PathBuf::from("/var/lib/letterlock");
    } with {
        listen: Listen,
        tls: Tls,
        dns: Dns,
        inbound: Inbound,
        outbound: Outbound,
        limits: Limits,
        proxy: Proxy,
        auth: Auth,
        imap: Imap,
        mta_sts: MtaSts,
        retention: Retention,
        log: Log,
    }
}

section! {
    /// Where the server listens. Each key is a list of addresses with port; an empty list switches the protocol off.
    /// `[::]` means every address of the machine, IPv4 included unless the list names an IPv4 address with the same
    /// port.
    Listen = "listen" {
        /// Mail from other servers (RFC 5321). No login is offered here. STARTTLS is.
        smtp: Vec<SocketAddr> as Addresses = everywhere(25);
        /// Mail from people's programs, with login and STARTTLS (RFC 6409).
        submission: Vec<SocketAddr> as Addresses = everywhere(587);
        /// The same with TLS from the first octet (RFC 8314).
        submissions: Vec<SocketAddr> as Addresses = everywhere(465);
        /// IMAP with STARTTLS (RFC 9051).
        imap: Vec<SocketAddr> as Addresses = everywhere(143);
        /// IMAP with TLS from the first octet.
        imaps: Vec<SocketAddr> as Addresses = everywhere(993);
        /// POP3 with STLS (RFC 1939).
        pop3: Vec<SocketAddr> as Addresses = everywhere(110);
        /// POP3 with TLS from the first octet.
        pop3s: Vec<SocketAddr> as Addresses = everywhere(995);
        /// HTTP. Not available in this version: only the empty list is accepted.
        http: Vec<SocketAddr> as NotYet = Vec::new();
        /// HTTPS: serves the MTA-STS policy of `[mta_sts]` as `https://mta-sts.DOMAIN/.well-known/mta-sts.txt`, and
        /// nothing else. The certificate must name `mta-sts.DOMAIN` for each domain. Off unless an address is given;
        /// `["[::]:443"]` is the usual one.
        https: Vec<SocketAddr> as Addresses = Vec::new();
        /// ManageSieve (RFC 5804). Not available in this version: only the empty list is accepted.
        managesieve: Vec<SocketAddr> as NotYet = Vec::new();
    }
}

section! {
    /// The server's certificate. Without one the server makes a self-signed certificate at each start and warns: good
    /// for trying, but mail programs will refuse it. After a renewal send SIGHUP; no session is dropped. `[tls.acme]`
    /// is reserved and not available in this version.
    Tls = "tls" {
        /// File with the certificate chain in PEM, the server's own certificate first.
        certificate: Option<PathBuf> as File = None, such as "\"/etc/letterlock/tls/fullchain.pem\"";
        /// File with the private key in PEM.
        key: Option<PathBuf> as File = None, such as "\"/etc/letterlock/tls/privkey.pem\"";
    }
}

choice! {
    /// What DNSSEC is used for.
    Dnssec as "`auto`, `require` or `off`" {
        /// Validated where the upstream servers pass signatures on.
        #[default]
        Auto = "auto",
        /// Validated always: where the upstream servers drop signatures, no name is found and no mail sent.
        Require = "require",
        /// Answers are taken as they come.
        Off = "off",
    }
}

section! {
    /// How names are resolved.
    Dns = "dns" {
        /// Resolvers to ask; without a port, port 53. Empty: those of the system.
        servers: Vec<SocketAddr> as Servers = Vec::new(), such as "[\"127.0.0.1\", \"[::1]:5353\"]";
        /// Whether answers are validated in process, and those refused that fail: `auto` does so while the upstream
        /// passes signatures on, `require` always, so that no mail goes out or is verified if it does not, `off` never.
        /// DANE (RFC 7672) needs validation.
        dnssec: Dnssec as Dnssec = Dnssec::Auto;
        /// File with the trust anchors in zone-file form. Empty: the root's keys.
        trust_anchors: Option<PathBuf> as File = None;
    }
}

choice! {
    /// What happens to mail for a domain that had TLS before and has offered none for a day.
    Downgrade as "`hold` or `deliver`" {
        /// It waits for an operator.
        #[default]
        Hold = "hold",
        /// It goes out in plain text.
        Deliver = "deliver",
    }
}

section! {
    /// Mail from other servers.
    Inbound = "inbound" {
        /// Domains whose ARC seals are believed (RFC 8617): mailing lists and forwarders that verify what comes to them.
        /// Where DMARC fails because one of them changed a message, and its seal says that DMARC had passed before, the
        /// failure has no consequences. Every later sealer of the message must be in the list too.
        trusted_sealers: Vec<String> as Domains = Vec::new(), such as "[\"lists.example.org\"]";
    }
}

section! {
    /// Mail to other servers.
    Outbound = "outbound" {
        /// Port of the MX hosts.
        port: u16 as Count<u16> = 25, from 1, to u16::MAX;
        /// Port of the hosts that serve MTA-STS policies (RFC 8461 §3.3).
        policy_port: u16 as Count<u16> = 443, from 1, to u16::MAX;
        /// File with the certificates (PEM) of the authorities that are trusted for MX hosts and for the hosts of
        /// MTA-STS policies. Empty: the public ones.
        trusted_roots: Option<PathBuf> as File = None;
        /// Pauses between attempts; after the last one it repeats until `expire`.
        retry: Vec<Duration> as Durations = vec![mins(5), mins(15), mins(30), hours(1), hours(2), hours(4)], from millis(100), to days(7);
        /// Age at which an undelivered message goes back to its sender (RFC 5321 §4.5.4.1 asks for 4 to 5 days).
        expire: Duration as Period = days(5), from millis(100), to days(30);
        /// Age at which the sender of an undelivered message is told that it is late, once, unless it did not want to
        /// hear of that; `0s` tells nobody.
        delay_notice: Duration as Period = hours(4), from secs(0), to days(30);
        /// Connections to other servers at once.
        connections: usize as Count<usize> = 200, from 1, to 100_000;
        /// Connections at once to one destination: a domain, or a smarthost. One that says that it has enough to do gets
        /// half as many, and slowly more again.
        connections_per_destination: usize as Count<usize> = 5, from 1, to 1000;
        /// Messages that go over one connection while more are waiting for the same destination.
        messages_per_connection: u32 as Count<u32> = 100, from 1, to 100_000;
        /// Messages that one destination gets in a minute; 0 sets no limit.
        messages_per_minute: u32 as Count<u32> = 0, from 0, to 1_000_000;
        /// What messages on their way out may take in memory, all together; one that is larger goes alone.
        memory: u64 as Size = mib(64), from mib(1), to gib(64);
        /// A domain that had TLS within the last 30 days gets no mail in plain text. When it has offered no TLS for a
        /// day, somebody may be in between, or it gave TLS up: `hold` keeps the mail until an operator looks, `deliver`
        /// sends it in plain text. Domains with DANE or an enforced MTA-STS policy never get plain text.
        tls_downgrade: Downgrade as Downgrade = Downgrade::Hold;
        /// Domain of the return addresses that messages get when an alias passes them on to another server (SRS). It
        /// must be a domain of this server, and its SPF record must name this server. Empty: the alias's own domain.
        srs_domain: Option<String> as DomainName = None, such as "\"example.org\"";
        /// Smarthosts: `"domain" = "host:port"`; `"*"` stands for every domain that has no route of its own. A domain
        /// with a route is never looked up.
        routes: BTreeMap<String, String> as Routes = BTreeMap::new(), such as "\"*\" = \"smtp.example.net:587\"";
        /// Logins at smarthosts: `"host:port" = "FILE"`, as the route names the host. The file has the user in its first
        /// line and the password in its second, and nobody but its owner may be able to read it. Such a host must have a
        /// certificate that is valid for its name; port 465 means TLS from the first octet.
        credentials: BTreeMap<String, PathBuf> as Credentials = BTreeMap::new(), such as "\"smtp.example.net:587\" = \"/etc/letterlock/smarthost\"";
    }
}

section! {
    /// What a client may use up. Each limit is there so that no stranger can take the server from its people.
    Limits = "limits" {
        /// Networks that no cap, rate or ban touches, as CIDR or single addresses.
        exempt: Vec<IpNet> as Networks = Vec::new(), such as "[\"192.0.2.0/24\", \"2001:db8::/32\"]";
        /// Largest message that is accepted, as announced in SIZE (RFC 1870).
        message_size: u64 as Size = mib(50), from kib(1), to gib(2);
        /// Recipients of one message (RFC 5321 §4.5.3.1.8 asks for at least 100).
        recipients: usize as Count<usize> = 100, from 1, to 100_000;
        /// How long a mailbox may be full until mail for it is refused for good (552). Before that its senders are told
        /// to try again later (452).
        quota_patience: Duration as Period = days(7), from secs(0), to days(365);
        /// Received fields that a message may have; with more it is taken to be in a loop (RFC 5321 §6.3).
        received_hops: usize as Count<usize> = 100, from 10, to 1000;
        /// Refused commands in an SMTP session after which it is closed.
        smtp_errors: u32 as Count<u32> = 10, from 1, to 10_000;
        /// Messages in an SMTP session, as announced in LIMITS (RFC 9422); a client with more of them connects again.
        smtp_messages: u32 as Count<u32> = 1000, from 1, to 1_000_000;
        /// Refused commands in an SMTP session after which answers to refused commands come late: by `tarpit`, and by as
        /// much more with each one that follows, up to `tarpit_max`.
        tarpit_after: u32 as Count<u32> = 3, from 0, to 10_000;
        /// By how much the first late answer is late; `0s` switches that off.
        tarpit: Duration as Period = secs(1), from secs(0), to mins(1);
        /// Longest that an answer is held back.
        tarpit_max: Duration as Period = secs(10), from secs(0), to mins(4);
        /// Recipients that do not exist, asked for by one address (IPv6: one /64) in `unknown_window`, after which each
        /// recipient it names is put off (450) for the time of a `ban`.
        unknown_recipients_per_ip: u32 as Count<u32> = 100, from 1, to 1_000_000;
        /// Time over which recipients that do not exist are counted.
        unknown_window: Duration as Period = mins(10), from millis(100), to days(1);
        /// Messages that one account may submit in an hour. Counted in memory: a restart begins anew.
        messages_per_account_hour: u32 as Count<u32> = 300, from 1, to 100_000_000;
        /// Messages that one account may submit in a day.
        messages_per_account_day: u32 as Count<u32> = 2000, from 1, to 100_000_000;
        /// Recipients of all messages that one account may submit in an hour.
        recipients_per_account_hour: u32 as Count<u32> = 1000, from 1, to 100_000_000;
        /// Recipients of all messages that one account may submit in a day.
        recipients_per_account_day: u32 as Count<u32> = 5000, from 1, to 100_000_000;
        /// How far ahead people may put the sending of a message (FUTURERELEASE, RFC 4865); `0s` does not offer it.
        future_release: Duration as Period = days(30), from secs(0), to days(366);
        /// What one message may take in memory while it comes in; what is larger goes to an encrypted temporary file.
        memory_per_message: u64 as Size = mib(1), from kib(1), to gib(1);
        /// Open connections of all listeners together.
        connections: usize as Count<usize> = 10_000, from 1, to 1_000_000;
        /// Open connections of one address (IPv6: of one /64).
        connections_per_ip: usize as Count<usize> = 50, from 1, to 1_000_000;
        /// New connections of one address (IPv6: of one /64) in a minute.
        connections_per_ip_rate: u32 as Count<u32> = 300, from 1, to 1_000_000;
        /// Failed logins of one address (IPv6: of one /64) in `login_window` after which it is banned.
        logins_failed_per_ip: u32 as Count<u32> = 20, from 1, to 1_000_000;
        /// Failed logins to one account from one network (IPv4 /24, IPv6 /56) in `login_window` after which that network
        /// is kept from that account. The owner elsewhere is not touched.
        logins_failed_per_account: u32 as Count<u32> = 10, from 1, to 1_000_000;
        /// Time over which failed logins are counted.
        login_window: Duration as Period = mins(10), from millis(100), to days(1);
        /// Length of a first ban; each one that follows is twice as long.
        ban: Duration as Period = mins(15), from millis(100), to days(30);
        /// Longest ban.
        ban_max: Duration as Period = hours(24), from millis(100), to days(30);
        /// Largest IMAP literal before login.
        imap_literal_before_login: u64 as Size = kib(4), from 256, to mib(1);
        /// Longest IMAP command line, literals not counted.
        imap_line: u64 as Size = kib(64), from kib(1), to mib(16);
        /// Open sessions of one account, all protocols together.
        sessions_per_account: usize as Count<usize> = 50, from 1, to 100_000;
        /// Time for a TLS handshake.
        tls_handshake: Duration as Period = secs(30), from millis(100), to mins(10);
        /// Time for the header of the PROXY protocol.
        proxy_header: Duration as Period = secs(5), from millis(100), to mins(1);
        /// Time an SMTP client may take until its next command is complete (RFC 5321 §4.5.3.2.7).
        smtp_command: Duration as Period = mins(5), from millis(100), to hours(1);
        /// Time without any data inside a message after which the transfer is given up (RFC 5321 §4.5.3.2.5).
        smtp_data: Duration as Period = mins(10), from millis(100), to hours(1);
        /// Time to log in to IMAP and POP3.
        login_timeout: Duration as Period = mins(1), from millis(100), to hours(1);
        /// Time without a command after which an IMAP session ends (RFC 9051 §5.4 asks for at least 30 minutes).
        imap_idle: Duration as Period = mins(30), from millis(100), to days(1);
        /// Time without a command after which a POP3 session ends (RFC 1939 §3 asks for at least 10 minutes).
        pop3_idle: Duration as Period = mins(10), from millis(100), to days(1);
        /// Time that open sessions have to end when the server stops.
        drain: Duration as Period = secs(30), from secs(0), to hours(1);
    }
}

section! {
    /// Load balancers in front of the server that speak the PROXY protocol, version 1 or 2, so that the server learns who
    /// their clients are. Each key lists the networks of those in front of one listener: a connection from there must begin
    /// with the header, which every limit then goes by; from elsewhere the header is an error. An empty list: nobody's.
    Proxy = "proxy" {
        /// In front of `listen.smtp`.
        smtp: Vec<IpNet> as Networks = Vec::new(), such as "[\"10.0.0.0/8\"]";
        /// In front of `listen.submission`.
        submission: Vec<IpNet> as Networks = Vec::new();
        /// In front of `listen.submissions`. The header comes before TLS.
        submissions: Vec<IpNet> as Networks = Vec::new();
        /// In front of `listen.imap`.
        imap: Vec<IpNet> as Networks = Vec::new();
        /// In front of `listen.imaps`. The header comes before TLS.
        imaps: Vec<IpNet> as Networks = Vec::new();
        /// In front of `listen.pop3`.
        pop3: Vec<IpNet> as Networks = Vec::new();
        /// In front of `listen.pop3s`. The header comes before TLS.
        pop3s: Vec<IpNet> as Networks = Vec::new();
        /// In front of `listen.https`. The header comes before TLS.
        https: Vec<IpNet> as Networks = Vec::new();
    }
}

section! {
    /// Logins, and the keys that they unlock.
    Auth = "auth" {
        /// Whether passwords are taken over connections without TLS. `true` is accepted only when every listener that
        /// starts without TLS and offers login (submission, imap, pop3) is on a loopback address.
        allow_cleartext: bool as Flag = false;
        /// Whether SCRAM-SHA-256 and SCRAM-SHA-256-PLUS are offered. Only app passwords work with them: a verifier of the main
        /// password would spare a thief the cost of guessing it. Programs that take the strongest mechanism on offer and do
        /// not try another one then need an app password.
        scram: bool as Flag = false;
        /// How long a mailbox stays unlocked after its last session ended.
        grace: Duration as Period = mins(5), from secs(0), to days(1);
        /// Memory of one Argon2id evaluation of a password.
        argon2_memory: u64 as Size = mib(19), from mib(8), to gib(4);
        /// File with the public half of the organisation's key, as `letterlock organisation-key` makes it. Whoever keeps
        /// the private half can open every user-held mailbox, from its next unlock on. Empty: nobody can.
        organisation_key: Option<PathBuf> as File = None, such as "\"/etc/letterlock/organisation.key\"";
        /// Argon2id evaluations that may run at once; the others wait.
        argon2_parallel: usize as Count<usize> = 2, from 1, to 256;
    }
}

choice! {
    /// What other servers are to do when they cannot send to this one over verified TLS.
    StsMode as "`none`, `testing` or `enforce`" {
        /// Nothing is asked for.
        #[default]
        None = "none",
        /// They deliver all the same, and report.
        Testing = "testing",
        /// They do not deliver.
        Enforce = "enforce",
    }
}

section! {
    /// The MTA-STS policy (RFC 8461) that the server publishes for its domains, over `listen.https`. The records to
    /// publish in DNS are printed by `letterlock domain dns` once the mode is not `none`. Begin with `testing`, read
    /// the reports, then write `enforce`. To withdraw a policy, go back to `none` and leave the records in DNS for as
    /// long as `max_age` was.
    MtaSts = "mta_sts" {
        /// What senders do without verified TLS: `none` asks for nothing, `testing` for reports, `enforce` keeps mail
        /// back.
        mode: StsMode as StsMode = StsMode::None;
        /// How long senders remember the policy (RFC 8461 §3.2). Weeks protect best; a mistake lasts as long.
        max_age: Duration as Period = days(7), from hours(1), to days(365);
        /// Names of the mail exchangers; `*.example.org` stands for one label before `.example.org`. Empty: `hostname`.
        mx: Vec<String> as Exchangers = Vec::new(), such as "[\"mx.example.org\", \"*.example.net\"]";
    }
}

section! {
    /// IMAP.
    Imap = "imap" {
        /// Capabilities that are not offered, as IMAP names them; their commands and options are then refused. For a
        /// client that trips over one of them; for one account, use `account set --disable-capability`. What belongs to
        /// IMAP4rev2 withdraws that as well.
        disabled_capabilities: Vec<String> as Capabilities = Vec::new(), such as "[\"COMPRESS=DEFLATE\", \"SORT\"]";
    }
}

section! {
    /// How long the server remembers what it does not need for mail to arrive. What it needs stays as long as that.
    Retention = "retention" {
        /// Traces of messages (`letterlock trace`).
        trace: Duration as Period = days(30), from millis(100), to days(3650);
        /// Results of TLS with other servers, by day, from which TLS reports are made.
        tls_results: Duration as Period = days(14), from millis(100), to days(3650);
        /// Results of DMARC, by day, from which aggregate reports are made.
        dmarc_results: Duration as Period = days(14), from millis(100), to days(3650);
        /// Addresses elsewhere that were found to be gone, and are not tried for that time.
        suppressions: Duration as Period = days(30), from millis(100), to days(3650);
    }
}

choice! {
    /// Form of the log.
    LogFormat as "`auto`, `text` or `json`" {
        /// Text on a terminal, JSON otherwise.
        #[default]
        Auto = "auto",
        /// Lines for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

choice! {
    /// How mail and IP addresses appear in the log at `info` and above.
    LogAddresses as "`pseudonym` or `clear`" {
        /// As pseudonyms.
        #[default]
        Pseudonym = "pseudonym",
        /// As they are.
        Clear = "clear",
    }
}

section! {
    /// The log, on standard error.
    Log = "log" {
        /// What is logged: `error`, `warn`, `info`, `debug`, `trace` or `off`, also by part:
        /// `"info,letterlock_smtp=debug"`.
        level: String as Level = "info".to_owned();
        /// Form of the lines: `auto` writes text on a terminal and JSON otherwise.
        format: LogFormat as LogFormat = LogFormat::Auto;
        /// Mail and IP addresses at `info` and above: as `pseudonym`, or `clear`.
        addresses: LogAddresses as LogAddresses = LogAddresses::Pseudonym;
    }
}

impl Outbound {
    /// The smarthost (`host:port`) that mail to this domain goes through: its own route, else that of `*`.
    pub fn route(&self, domain: &str) -> Option<&str> {
        self.routes
            .get(&domain.to_ascii_lowercase())
            .or_else(|| self.routes.get("*"))
            .map(String::as_str)
    }
}

impl Proxy {
    /// The networks of the load balancers in front of the listener of this name; none if there is no such listener.
    pub fn of(&self, listener: &str) -> &[IpNet] {
        match listener {
            "smtp" => &self.smtp,
            "submission" => &self.submission,
            "submissions" => &self.submissions,
            "imap" => &self.imap,
            "imaps" => &self.imaps,
            "pop3" => &self.pop3,
            "pop3s" => &self.pop3s,
            "https" => &self.https,
            _ => &[],
        }
    }
}

impl Listen {
    /// Each listener with its name, in the order of the file.
    pub fn by_name(&self) -> [(&'static str, &[SocketAddr]); 10] {
        [
            ("smtp", &self.smtp),
            ("submission", &self.submission),
            ("submissions", &self.submissions),
            ("imap", &self.imap),
            ("imaps", &self.imaps),
            ("pop3", &self.pop3),
            ("pop3s", &self.pop3s),
            ("http", &self.http),
            ("https", &self.https),
            ("managesieve", &self.managesieve),
        ]
    }
}
