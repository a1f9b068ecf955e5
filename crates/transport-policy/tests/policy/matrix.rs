//! Each state of DANE × MTA-STS × the certificate × what the sender wishes, over a handshake.

use std::net::Ipv4Addr;
use std::time::Duration;

use letterlock_state::Policy;
use letterlock_testkit::ca::{Issued, TestCa};
use letterlock_testkit::dns::{Fault, Zone};
use letterlock_testkit::https::Answer;
use letterlock_transport_policy::{HostChoice, HostPolicy, Outcome, Verdict, Wish};

use crate::world::{World, at, policy_hosts};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dane {
    /// The zone is signed and has no TLSA record.
    None,
    /// The records would fit, but the zone is not signed.
    Unsigned,
    /// 3 1 1, of the certificate that is shown.
    EndEntity,
    /// 3 1 1, of another one.
    Mismatch,
    /// 2 0 1, of the authority that everybody here trusts.
    Authority,
    /// Records that cannot be used: usage 1, and a digest of the wrong length.
    Unusable,
    /// The question for TLSA records is not answered.
    Silent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sts {
    None,
    Testing,
    Enforce,
    /// Enforced, and the exchanger is not in the policy.
    Elsewhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Valid,
    WrongName,
    Expired,
    /// By an authority that nobody trusts.
    Untrusted,
    /// No STARTTLS.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Verified(Policy),
    Unverified(Policy),
    Plain(Policy),
    /// After the connection; the class of the status code.
    Refused(Policy, u8),
    /// Before the connection.
    Skipped(u8),
}

const DANE: [Dane; 7] = [
    Dane::None,
    Dane::Unsigned,
    Dane::EndEntity,
    Dane::Mismatch,
    Dane::Authority,
    Dane::Unusable,
    Dane::Silent,
];
const STS: [Sts; 4] = [Sts::None, Sts::Testing, Sts::Enforce, Sts::Elsewhere];
const SHOWN: [Shown; 5] =
    [Shown::Valid, Shown::WrongName, Shown::Expired, Shown::Untrusted, Shown::Nothing];

/// What the RFCs say of a cell.
fn expected(dane: Dane, sts: Sts, shown: Shown, wish: Wish) -> Expected {
    use Expected::{Plain, Refused, Skipped, Unverified, Verified};
    let accepted = |policy| match shown {
        Shown::Valid => Verified(policy),
        _ => Unverified(policy),
    };
    if wish == Wish::TlsNotRequired {
        return match shown {
            Shown::Nothing => Plain(Policy::Lifted),
            _ => accepted(Policy::Lifted),
        };
    }
    // A refusal because of REQUIRETLS is for good.
    let class = if wish == Wish::RequireTls { 5 } else { 4 };
    let strict = |policy| match shown {
        Shown::Valid => Verified(policy),
        _ => Refused(policy, class),
    };
    match (dane, sts) {
        (Dane::Silent, _) => Skipped(4),
        (Dane::EndEntity, _) if shown != Shown::Nothing => Verified(Policy::Dane),
        (Dane::EndEntity | Dane::Mismatch, _) => Refused(Policy::Dane, class),
        (Dane::Authority, _) => strict(Policy::Dane),
        (_, Sts::Elsewhere) => Skipped(4),
        (_, Sts::Enforce) => strict(Policy::MtaSts),
        (Dane::Unsigned, _) if wish == Wish::RequireTls => Skipped(5),
        (Dane::Unusable, _) if wish == Wish::RequireTls => strict(Policy::Dane),
        (Dane::Unusable, _) if shown == Shown::Nothing => Refused(Policy::Dane, class),
        (Dane::Unusable, _) => accepted(Policy::Dane),
        (Dane::None | Dane::Unsigned, _) => {
            let policy = if sts == Sts::Testing { Policy::MtaSts } else { Policy::Opportunistic };
            match (shown, wish) {
                (_, Wish::RequireTls) => strict(policy),
                (Shown::Nothing, _) => Plain(policy),
                _ => accepted(policy),
            }
        }
    }
}

fn name(dane: Dane, sts: Sts) -> String {
    format!("{dane:?}-{sts:?}.test").to_lowercase()
}

fn mx(dane: Dane, sts: Sts) -> String {
    format!("mx.{}", name(dane, sts))
}

/// The certificates of an exchanger, in the order of [`SHOWN`].
fn certificates(ca: &TestCa, stranger: &TestCa, mx: &str) -> [Option<Issued>; 5] {
    [
        Some(ca.issue(&[mx]).unwrap()),
        Some(ca.issue(&["other.test"]).unwrap()),
        Some(ca.issue_expired(&[mx]).unwrap()),
        Some(stranger.issue(&[mx]).unwrap()),
        None,
    ]
}

fn zone(dane: Dane, sts: Sts, shown: &[Option<Issued>]) -> Zone {
    let domain = name(dane, sts);
    let zone = match dane {
        Dane::Unsigned => Zone::unsigned(&domain),
        _ => Zone::signed(&domain),
    };
    let policy_host = match sts {
        Sts::None | Sts::Testing => 1,
        Sts::Enforce => 2,
        Sts::Elsewhere => 3,
    };
    let mut zone = zone
        .mx("@", 10, &mx(dane, sts))
        .a("mx", Ipv4Addr::LOCALHOST)
        .a("mta-sts", Ipv4Addr::new(127, 77, 0, policy_host));
    if sts != Sts::None {
        zone = zone.txt("_mta-sts", "v=STSv1; id=1;");
    }
    let owner = "_25._tcp.mx";
    for issued in shown.iter().flatten() {
        zone = match dane {
            Dane::EndEntity | Dane::Unsigned => zone.tlsa(owner, 3, 1, 1, &issued.tlsa(3, 1, 1)),
            _ => zone,
        };
    }
    let valid = shown[0].as_ref().unwrap();
    match dane {
        Dane::Mismatch => zone.tlsa(owner, 3, 1, 1, &[9; 32]),
        Dane::Authority => zone.tlsa(owner, 2, 0, 1, &valid.tlsa(2, 0, 1)),
        Dane::Unusable => {
            zone.tlsa(owner, 1, 1, 1, &valid.tlsa(3, 1, 1)).tlsa(owner, 3, 1, 1, &[9; 20])
        }
        _ => zone,
    }
}

#[tokio::test]
async fn every_cell_of_the_matrix() {
    let stranger = TestCa::new().unwrap();
    let cells: Vec<(Dane, Sts)> =
        DANE.iter().flat_map(|dane| STS.map(|sts| (*dane, sts))).collect();
    let named: String =
        cells.iter().map(|(dane, sts)| format!("mx: {}\n", mx(*dane, *sts))).collect();
    let text = |mode: &str, mx: &str| {
        Answer::Text(format!("version: STSv1\nmode: {mode}\n{mx}max_age: 86400\n"))
    };
    let answers = [
        text("testing", &named),
        text("enforce", &named),
        text("enforce", "mx: mx.elsewhere.test\n"),
    ];
    // The world needs the port of the policies' hosts, and they its authority.
    let mut world = World::new(1).await;
    let hosts: Vec<String> =
        cells.iter().map(|(d, s)| format!("mta-sts.{}", name(*d, *s))).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let (port, _hosts) = policy_hosts(&world.ca.issue(&hosts).unwrap(), &answers);
    world.move_policies_to(port);

    let mut wrong = Vec::new();
    for (dane, sts) in cells {
        let domain = name(dane, sts);
        let shown = certificates(&world.ca, &stranger, &mx(dane, sts));
        world.dns.put(zone(dane, sts, &shown));
        if dane == Dane::Silent {
            world.dns.fail(&format!("_25._tcp.{}", mx(dane, sts)), Fault::ServFail);
        }
        for wish in [Wish::None, Wish::RequireTls, Wish::TlsNotRequired] {
            let (policy, choice) = world.choose(&domain, wish, at(0)).await;
            for (kind, certificate) in SHOWN.iter().zip(&shown) {
                let found = match &choice {
                    HostChoice::Skip(refusal) => Expected::Skipped(refusal.status.0),
                    HostChoice::Use(host) => {
                        let judgement =
                            world.judge(host, certificate.as_ref(), true, Duration::ZERO).await;
                        world.policies.note(&policy, host, &judgement, (None, None), at(0));
                        match judgement.verdict {
                            Verdict::Accept(decision) if decision.verified => {
                                Expected::Verified(decision.policy)
                            }
                            Verdict::Accept(decision) => Expected::Unverified(decision.policy),
                            Verdict::Plain(decision) => Expected::Plain(decision.policy),
                            Verdict::Refuse(refusal) => {
                                Expected::Refused(refusal.policy, refusal.status.0)
                            }
                        }
                    }
                };
                let wanted = expected(dane, sts, *kind, wish);
                if found != wanted {
                    wrong.push(format!(
                        "{dane:?} {sts:?} {kind:?} {wish:?}: {found:?}, not {wanted:?}"
                    ));
                }
            }
            // What was seen must not decide the next cell.
            world.state.forget_tls(&domain).await.unwrap();
        }
    }
    assert!(wrong.is_empty(), "{} cells: {wrong:#?}", wrong.len());
}

#[tokio::test]
async fn a_connection_whose_certificate_nobody_saw_proves_nothing() {
    let world = World::new(1).await;
    let dane = Zone::signed("dane.test")
        .mx("@", 10, "mx.dane.test")
        .a("mx", Ipv4Addr::LOCALHOST)
        .tlsa("_25._tcp.mx", 3, 1, 1, &[7; 32]);
    world.dns.put(dane);
    let (_, dane) = world.host("dane.test", Wish::None, at(0)).await;
    for host in [dane, HostPolicy::configured("mx.dane.test", Wish::RequireTls)] {
        // No handshake was made with it.
        let check = host.check(&world.tls);
        let outcome = Outcome::Established { requiretls_offered: true };
        let judgement = host.judge(&check, outcome, Duration::ZERO);
        assert!(matches!(judgement.verdict, Verdict::Refuse(_)), "{judgement:?}");
    }
    let judgement = {
        let host = HostPolicy::configured("mx.dane.test", Wish::None);
        let check = host.check(&world.tls);
        host.judge(&check, Outcome::Established { requiretls_offered: false }, Duration::ZERO)
    };
    assert!(matches!(judgement.verdict, Verdict::Accept(_)), "{judgement:?}");
    world.state.close().await.unwrap();
}
