//! The public suites for SPF and ARC, run against our own verifier. They are read where `LETTERLOCK_TESTDATA` says.
//!
//! Where we differ on purpose, the case stands in a list with the reason. The lists must match exactly, so that no
//! change goes unnoticed.

mod zone;

use letterlock_address::{Domain, LocalPart, Mailbox, ReversePath};
use letterlock_sender_auth::{ArcOutcome, Spf, Verifier};
use serde_json::Value;
use zone::Table;

/// Cases of the SPF suite whose reverse-path is no address. MAIL refuses it with 501, so no policy is ever asked for.
const NO_ADDRESS: [&str; 3] = ["toolonglabel", "emptylabel", "nolocalpart"];

/// Cases of the ARC suite that we judge otherwise.
const ARC_DIFFERENCES: [(&str, &str); 5] = [
    // The suite says "none" of a chain that a sealer found broken; by RFC 8617 §5.2 (step 2) it has failed. Neither counts.
    ("cv_fail_i1_as_cv_fail", "fail"),
    ("cv_fail_i2_as2_fail", "fail"),
    ("cv_fail_i2_as1_fail", "fail"),
    // The suite takes relaxed/relaxed for a missing `c=`; by RFC 8617 §4.1.2 the tag is DKIM's, where it is simple/simple
    // (RFC 6376 §3.5).
    ("ams_fields_c_na", "fail"),
    // A signature that covers no field at all; RFC 6376 §3.5 demands at least From.
    ("ams_fields_h_empty", "fail"),
];

fn suite(file: &str) -> Option<Vec<Value>> {
    let Some(folder) = std::env::var_os("LETTERLOCK_TESTDATA") else {
        eprintln!("skipped: LETTERLOCK_TESTDATA does not name the folder with auth/{file}");
        return None;
    };
    let path = std::path::Path::new(&folder).join("auth").join(file);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(serde_json::from_slice(&text).expect("a list of cases"))
}

fn text<'c>(case: &'c Value, key: &str) -> &'c str {
    case[key].as_str().unwrap_or_default()
}

fn wanted(case: &Value, got: &str) -> bool {
    case["want"].as_array().is_some_and(|wants| wants.iter().any(|want| want == got))
}

/// The sender of a case, its local part decoded; the null path if it has none. `None` if it is no address.
fn sender(text: &str) -> Option<ReversePath> {
    let Some((local, domain)) = text.rsplit_once('@') else { return Some(ReversePath::Null) };
    let local = LocalPart::from_decoded(local).ok()?;
    Some(ReversePath::Mailbox(Mailbox { local, domain: Domain::parse(domain).ok()? }))
}

#[tokio::test]
async fn spf() {
    let Some(cases) = suite("spf.json") else { return };
    let (mut refused, mut wrong) = (Vec::new(), Vec::new());
    for case in &cases {
        let name = text(case, "name");
        let Some(sender) = sender(text(case, "mailfrom")) else {
            refused.push(name);
            continue;
        };
        let server = Table::of_spf(&case["zone"]).serve().await;
        let verifier = Verifier::new(server.resolver());
        let client = text(case, "ip").parse().expect("an address");
        let spf: Spf = verifier.spf(client, text(case, "helo"), &sender).await;
        let got = spf.identity().map_or("none", |check| check.outcome.as_str());
        if !wanted(case, got) {
            wrong.push(format!("{name}: want {}, got {got}", case["want"]));
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "of {} cases", cases.len());
    assert_eq!(refused, NO_ADDRESS);
}

#[tokio::test]
async fn arc() {
    let Some(cases) = suite("arc.json") else { return };
    let mut wrong = Vec::new();
    for case in &cases {
        let server = Table::of_texts(&case["txt"]).serve().await;
        let verifier = Verifier::new(server.resolver());
        let message = text(case, "message").replace("\r\n", "\n").replace('\n', "\r\n");
        let report = verifier.verify(message.as_bytes(), Spf::default()).await;
        let got = match report.arc.outcome {
            ArcOutcome::None => "none",
            ArcOutcome::Pass => "pass",
            ArcOutcome::Fail | ArcOutcome::TempError => "fail",
        };
        if !wanted(case, got) {
            wrong.push((text(case, "name"), got));
        }
    }
    assert_eq!(wrong, ARC_DIFFERENCES, "of {} cases", cases.len());
}
