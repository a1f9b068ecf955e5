//! Command lines.

use letterlock_address::{AddressError, Domain, ForwardPath, Mailbox, ReversePath};
use letterlock_smtp_wire::command::{
    Body, ClientName, Command, CommandError, Hold, InitialResponse, Mail, MailParams, Notify,
    OriginalRecipient, Rcpt, RcptParams, Ret, Submitter,
};
use letterlock_smtp_wire::ehlo::Extensions;
use proptest::prelude::*;

fn everything() -> Extensions {
    [
        Extensions::SIZE,
        Extensions::EIGHT_BIT_MIME,
        Extensions::BINARY_MIME,
        Extensions::SMTPUTF8,
        Extensions::DSN,
        Extensions::AUTH,
        Extensions::REQUIRETLS,
        Extensions::FUTURERELEASE,
    ]
    .into_iter()
    .fold(Extensions::NONE, Extensions::with)
}

fn parse(line: &str) -> Result<Command, CommandError> {
    Command::parse(line.as_bytes(), everything())
}

fn mail(line: &str) -> Mail {
    match parse(line) {
        Ok(Command::Mail(mail)) => mail,
        other => panic!("{line}: {other:?}"),
    }
}

fn rcpt(line: &str) -> Rcpt {
    match parse(line) {
        Ok(Command::Rcpt(rcpt)) => rcpt,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn verbs_in_any_case_with_stray_white_space() {
    assert_eq!(parse("quit"), Ok(Command::Quit));
    assert_eq!(parse("Rset \t"), Ok(Command::Rset));
    assert_eq!(parse(" DATA"), Ok(Command::Data));
    assert_eq!(parse("StartTLS"), Ok(Command::StartTls));
    assert_eq!(parse("NOOP whatever"), Ok(Command::Noop));
    assert_eq!(parse("HELP"), Ok(Command::Help(String::new())));
    assert_eq!(
        parse("vrfy  <a@example.org> SMTPUTF8 "),
        Ok(Command::Vrfy("<a@example.org> SMTPUTF8".into()))
    );
    assert_eq!(parse("EXPN staff"), Ok(Command::Expn("staff".into())));
}

#[test]
fn commands_without_argument_refuse_one() {
    for verb in ["DATA", "RSET", "QUIT", "STARTTLS"] {
        let error = parse(&format!("{verb} now")).unwrap_err();
        assert_eq!(error, CommandError::NoArgument(verb));
        assert_eq!(
            error.reply().to_bytes(),
            format!("501 5.5.4 {verb} takes no argument\r\n").into_bytes()
        );
    }
}

#[test]
fn what_is_no_command() {
    for (line, reply) in [
        ("", "500 5.5.2 Command not recognised"),
        ("MAILFROM:<a@b>", "500 5.5.2 Command not recognised"),
        ("XYZZY", "500 5.5.2 Command not recognised"),
        ("ETRN example.org", "502 5.5.1 Command not implemented"),
        ("EHLO", "501 5.5.4 Syntax: EHLO hostname"),
        ("VRFY ", "501 5.5.4 Syntax: VRFY address"),
        ("MAIL", "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"),
        ("MAIL TO:<a@b>", "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"),
        ("MAIL FROM:a@b", "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"),
        ("MAIL FROM:<a@b", "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"),
        ("RCPT TO:", "501 5.5.4 Syntax: RCPT TO:<address> [parameters]"),
        ("BDAT", "501 5.5.4 Syntax: BDAT size [LAST]"),
        ("AUTH", "501 5.5.4 Syntax: AUTH mechanism [initial-response]"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.reply().to_string(), reply, "{line}");
    }
    assert_eq!(Command::parse(b"\xff", everything()), Err(CommandError::NotUtf8));
    assert_eq!(Command::parse(b"MAIL FROM:<\xff@b>", everything()), Err(CommandError::NotUtf8));
}

#[test]
fn http_is_recognised() {
    for line in [
        "GET / HTTP/1.1",
        "POST / HTTP/1.0",
        "CONNECT mx:25 HTTP/1.1",
        "PRI * HTTP/2.0",
        "options *",
    ] {
        assert_eq!(parse(line), Ok(Command::Http), "{line}");
    }
}

#[test]
fn greetings_tell_whether_the_name_is_valid() {
    let Ok(Command::Ehlo(name)) = parse("ehlo MX.example.ORG ") else { panic!("no EHLO") };
    assert_eq!(name.domain(), Some(&Domain::parse("mx.example.org").unwrap()));
    let Ok(Command::Helo(name)) = parse("HELO my pc") else { panic!("no HELO") };
    assert_eq!((name.domain(), name.as_str()), (None, "my?pc"));
    assert!(matches!(Command::parse(b"EHLO caf\xe9", Extensions::NONE), Ok(Command::Ehlo(_))));
    assert_eq!(
        parse(&format!("EHLO {}", "a".repeat(256))),
        Err(CommandError::Syntax("EHLO hostname"))
    );
}

#[test]
fn mail_paths() {
    assert_eq!(mail("MAIL FROM:<>").path, ReversePath::Null);
    assert_eq!(mail("mail from: <A@Example.org>").path.to_string(), "A@example.org");
    assert_eq!(mail("MAIL  FROM:<@a,@b:user@c.example>").path.to_string(), "user@c.example");
    assert_eq!(
        mail(r#"MAIL FROM:<"a> b"@example.org> SIZE=5"#).path.to_string(),
        r#""a> b"@example.org"#
    );
    for (line, error) in [
        ("MAIL FROM:<a>", AddressError::MissingAt),
        ("MAIL FROM:<a@>", AddressError::DomainEmpty),
        ("MAIL FROM:< a@b>", AddressError::LocalPartSyntax),
        ("MAIL FROM:<a@b_c>", AddressError::DomainSyntax),
        ("MAIL FROM:<@a>", AddressError::LocalPartEmpty),
    ] {
        assert_eq!(parse(line), Err(CommandError::Sender(error)), "{line}");
    }
    assert_eq!(parse("MAIL FROM:<a>").unwrap_err().reply().to_string().get(..9), Some("501 5.1.7"));
}

#[test]
fn rcpt_paths() {
    assert_eq!(rcpt("RCPT TO:<PostMaster>").path, ForwardPath::Postmaster);
    assert_eq!(rcpt("rcpt to:<@a:u@example.org>").path.to_string(), "u@example.org");
    assert_eq!(parse("RCPT TO:<>"), Err(CommandError::Recipient(AddressError::LocalPartEmpty)));
    assert_eq!(
        parse("RCPT TO:<nobody>").unwrap_err().reply().to_string().get(..9),
        Some("501 5.1.3")
    );
}

#[test]
fn non_ascii_paths_need_smtputf8() {
    assert!(mail("MAIL FROM:<jö@example.org> SMTPUTF8").params.smtputf8);
    for line in ["MAIL FROM:<jö@example.org>", "MAIL FROM:<j@bücher.example>"] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.reply().to_string().get(..9), Some("553 5.6.7"), "{line}");
    }
    assert!(rcpt("RCPT TO:<j@bücher.example>").non_ascii);
    assert!(!rcpt("RCPT TO:<j@xn--bcher-kva.example>").non_ascii);
    let narrow = everything().without(Extensions::SMTPUTF8);
    assert_eq!(
        Command::parse("RCPT TO:<j@bücher.example>".as_bytes(), narrow),
        Err(CommandError::NonAscii)
    );
}

#[test]
fn mail_parameters() {
    let line = "MAIL FROM:<a@example.org> size=1000 BODY=8bitmime SMTPUTF8 RET=hdrs  ENVID=Q+2B1 AUTH=b+2Bc@example.org REQUIRETLS HOLDFOR=60";
    let expected = MailParams {
        size: Some(1_000),
        body: Body::EightBitMime,
        smtputf8: true,
        ret: Some(Ret::Hdrs),
        envid: Some("Q+1".into()),
        auth: Some(Submitter::Mailbox(Mailbox::parse("b+c@example.org").unwrap())),
        requiretls: true,
        hold: Some(Hold::For(60)),
    };
    assert_eq!(mail(line).params, expected);
    for value in ["<>", "", "somebody"] {
        let line = format!("MAIL FROM:<> AUTH={value}");
        assert_eq!(mail(&line).params.auth, Some(Submitter::Unknown), "{line}");
    }
    assert_eq!(mail("MAIL FROM:<> SIZE=99999999999999999999").params.size, Some(u64::MAX));
    let until = Hold::Until("2030-12-31T23:59:59.5+01:00".into());
    assert_eq!(mail("MAIL FROM:<> HOLDUNTIL=2030-12-31T23:59:59.5+01:00").params.hold, Some(until));
    assert_eq!(mail("MAIL FROM:<> BODY=BINARYMIME").params.body, Body::BinaryMime);
}

#[test]
fn bad_mail_parameters() {
    for (parameters, error) in [
        ("SIZE", CommandError::BadParameter("SIZE")),
        ("SIZE=", CommandError::BadParameter("SIZE")),
        ("SIZE=-1", CommandError::BadParameter("SIZE")),
        ("SIZE=1 SIZE=1", CommandError::Duplicate("SIZE")),
        ("BODY=9BIT", CommandError::BadParameter("BODY")),
        ("SMTPUTF8=1", CommandError::BadParameter("SMTPUTF8")),
        ("REQUIRETLS=1", CommandError::BadParameter("REQUIRETLS")),
        ("HOLDFOR", CommandError::BadParameter("HOLDFOR or HOLDUNTIL")),
        ("HOLDFOR=0", CommandError::BadParameter("HOLDFOR or HOLDUNTIL")),
        ("HOLDFOR=1234567890", CommandError::BadParameter("HOLDFOR or HOLDUNTIL")),
        ("HOLDUNTIL=tomorrow-at-noon-at-noon", CommandError::BadParameter("HOLDFOR or HOLDUNTIL")),
        (
            "HOLDFOR=1 HOLDUNTIL=2030-12-31T23:59:59Z",
            CommandError::Duplicate("HOLDFOR or HOLDUNTIL"),
        ),
        ("RET=ALL", CommandError::BadParameter("RET")),
        ("ENVID=", CommandError::BadParameter("ENVID")),
        ("ENVID=a+0D+0ABcc:", CommandError::BadParameter("ENVID")),
        ("ENVID=a+", CommandError::BadParameter("ENVID")),
        ("AUTH=a+zz", CommandError::BadParameter("AUTH")),
        ("NOTIFY=NEVER", CommandError::UnknownParameter("NOTIFY".into())),
        ("x-test=1", CommandError::UnknownParameter("X-TEST".into())),
        ("BY=120;R", CommandError::UnknownParameter("BY".into())),
        ("=1", CommandError::MalformedParameters),
        ("A_B=1", CommandError::MalformedParameters),
        ("ENVID=a=b", CommandError::MalformedParameters),
    ] {
        assert_eq!(parse(&format!("MAIL FROM:<> {parameters}")), Err(error), "{parameters}");
    }
    assert_eq!(parse("MAIL FROM:<>SIZE=1"), Err(CommandError::MalformedParameters));
    let long = format!("MAIL FROM:<> ENVID={}", "x".repeat(101));
    assert_eq!(parse(&long), Err(CommandError::BadParameter("ENVID")));
    let unknown = CommandError::UnknownParameter("X".into()).reply();
    assert_eq!(unknown.to_string(), "555 5.5.4 Parameter X not recognised or not offered");
}

#[test]
fn parameters_that_were_not_offered_do_not_exist() {
    for (parameter, name, needs) in [
        ("SIZE=1", "SIZE", Extensions::SIZE),
        ("BODY=7BIT", "BODY", Extensions::EIGHT_BIT_MIME),
        ("SMTPUTF8", "SMTPUTF8", Extensions::SMTPUTF8),
        ("RET=FULL", "RET", Extensions::DSN),
        ("ENVID=x", "ENVID", Extensions::DSN),
        ("AUTH=<>", "AUTH", Extensions::AUTH),
        ("REQUIRETLS", "REQUIRETLS", Extensions::REQUIRETLS),
        ("HOLDFOR=1", "HOLDFOR", Extensions::FUTURERELEASE),
    ] {
        let line = format!("MAIL FROM:<> {parameter}");
        assert!(Command::parse(line.as_bytes(), needs).is_ok(), "{line}");
        let refused = Command::parse(line.as_bytes(), everything().without(needs));
        assert_eq!(refused, Err(CommandError::UnknownParameter(name.into())), "{line}");
    }
    let binary = Command::parse(b"MAIL FROM:<> BODY=BINARYMIME", Extensions::EIGHT_BIT_MIME);
    assert_eq!(binary, Err(CommandError::BadParameter("BODY")));
    let notify = Command::parse(b"RCPT TO:<postmaster> NOTIFY=NEVER", Extensions::NONE);
    assert_eq!(notify, Err(CommandError::UnknownParameter("NOTIFY".into())));
}

#[test]
fn rcpt_parameters() {
    let Rcpt { params, .. } =
        rcpt("RCPT TO:<a@example.org> NOTIFY=success,DELAY ORCPT=RFC822;b+2Bc@example.org");
    assert_eq!(params.notify, Some(Notify { success: true, delay: true, ..Notify::default() }));
    let orcpt = params.orcpt.unwrap();
    assert_eq!((orcpt.kind(), orcpt.address()), ("rfc822", "b+c@example.org"));
    assert_eq!(orcpt.to_string().parse(), Ok(orcpt));
    for address in ["j\\x{F6}@example.org", "jö@example.org", "j+C3+B6@example.org"] {
        let params = rcpt(&format!("RCPT TO:<a@example.org> ORCPT=utf-8;{address}")).params;
        assert_eq!(params.orcpt.unwrap().address(), "jö@example.org");
    }
    for (parameter, name) in [
        ("NOTIFY=", "NOTIFY"),
        ("NOTIFY=NEVER,SUCCESS", "NOTIFY"),
        ("NOTIFY=SUCCESS,", "NOTIFY"),
        ("NOTIFY=ALWAYS", "NOTIFY"),
        ("ORCPT=a@example.org", "ORCPT"),
        ("ORCPT=;a", "ORCPT"),
        ("ORCPT=rfc822;", "ORCPT"),
        ("ORCPT=rfc822;a+0Ab", "ORCPT"),
        ("ORCPT=rfc822;j+F6", "ORCPT"),
        ("ORCPT=x400;j+C3+B6", "ORCPT"),
        ("ORCPT=rfc822;jö", "ORCPT"),
    ] {
        let line = format!("RCPT TO:<a@example.org> {parameter}");
        assert_eq!(parse(&line), Err(CommandError::BadParameter(name)), "{line}");
    }
    let long = format!("RCPT TO:<a@example.org> ORCPT=rfc822;{}", "x".repeat(500));
    assert_eq!(parse(&long), Err(CommandError::BadParameter("ORCPT")));
}

#[test]
fn bdat() {
    assert_eq!(parse("BDAT 0 last"), Ok(Command::Bdat { size: 0, last: true }));
    assert_eq!(parse("bdat  86"), Ok(Command::Bdat { size: 86, last: false }));
    for line in
        ["BDAT x", "BDAT -1", "BDAT +1", "BDAT 1 END", "BDAT 1 LAST x", "BDAT 99999999999999999999"]
    {
        assert_eq!(parse(line), Err(CommandError::Syntax("BDAT size [LAST]")), "{line}");
    }
}

#[test]
fn auth() {
    let Ok(Command::Auth { mechanism, initial }) = parse("auth plain AGEAYg==") else {
        panic!("no AUTH")
    };
    assert_eq!((mechanism.as_str(), initial.as_ref().unwrap().as_str()), ("PLAIN", "AGEAYg=="));
    assert!(!format!("{:?}", parse("AUTH PLAIN AGEAYg==")).contains("AGEA"));
    assert_eq!(
        parse("AUTH EXTERNAL ="),
        Ok(Command::Auth { mechanism: "EXTERNAL".into(), initial: InitialResponse::new("=") })
    );
    assert_eq!(parse("AUTH LOGIN"), Ok(Command::Auth { mechanism: "LOGIN".into(), initial: None }));
    for line in ["AUTH PLAIN a:b", "AUTH PL!", "AUTH PLAIN a b", "AUTH ABCDEFGHIJKLMNOPQRSTU"] {
        assert!(matches!(parse(line), Err(CommandError::Syntax(_))), "{line}");
    }
}

#[test]
fn text_cannot_end_a_line_that_is_sent() {
    let sent = Command::Vrfy("a\r\nRSET\u{e4}".into()).to_bytes();
    assert_eq!(sent, "VRFY a??RSETä\r\n".as_bytes());
    let params = MailParams { envid: Some("a\r\nb".into()), ..MailParams::default() };
    let sent = Command::Mail(Mail { path: ReversePath::Null, params }).to_bytes();
    assert_eq!(sent, b"MAIL FROM:<> ENVID=a+0D+0Ab\r\n");
    let auth = Command::Auth { mechanism: "PLAIN\n".into(), initial: InitialResponse::new("YQ==") };
    assert_eq!(auth.to_bytes(), b"AUTH PLAIN? YQ==\r\n");
    let rcpt = Rcpt {
        path: ForwardPath::Postmaster,
        params: RcptParams { notify: Some(Notify::default()), orcpt: None },
        non_ascii: false,
    };
    assert_eq!(Command::Rcpt(rcpt).to_bytes(), b"RCPT TO:<postmaster>\r\n");
}

fn mailboxes() -> impl Strategy<Value = Mailbox> {
    ("[a-z\"\\\\<> @+=ö]{1,12}", "[a-z]{1,8}\\.(example|bücher)").prop_map(|(local, domain)| {
        Mailbox {
            local: letterlock_address::LocalPart::from_decoded(&local).unwrap(),
            domain: Domain::parse(&domain).unwrap(),
        }
    })
}

prop_compose! {
    fn mails()(
        path in proptest::option::of(mailboxes()),
        size in proptest::option::of(any::<u64>()),
        body in prop_oneof![Just(Body::SevenBit), Just(Body::EightBitMime), Just(Body::BinaryMime)],
        ret in proptest::option::of(prop_oneof![Just(Ret::Full), Just(Ret::Hdrs)]),
        envid in proptest::option::of("[ -~]{1,30}"),
        auth in proptest::option::of(proptest::option::of(mailboxes())),
        utf8 in any::<bool>(),
        requiretls in any::<bool>(),
        hold in proptest::option::of(prop_oneof![
            (1_u32..=999_999_999).prop_map(Hold::For),
            Just(Hold::Until("2030-12-31T23:59:59Z".into())),
        ]),
    ) -> Mail {
        let path = path.map_or(ReversePath::Null, ReversePath::Mailbox);
        let auth = auth.map(|auth| auth.map_or(Submitter::Unknown, Submitter::Mailbox));
        let smtputf8 = utf8 || path.needs_smtputf8();
        let params =
            MailParams { size, body, smtputf8, ret, envid, auth, requiretls, hold };
        Mail { path, params }
    }
}

proptest! {
    #[test]
    fn mail_round_trips(mail in mails()) {
        let bytes = Command::Mail(mail.clone()).to_bytes();
        let line = bytes.strip_suffix(b"\r\n").unwrap();
        prop_assert_eq!(Command::parse(line, everything()), Ok(Command::Mail(mail)));
    }

    #[test]
    fn rcpt_round_trips(
        mailbox in mailboxes(),
        notify in proptest::option::of((any::<bool>(), any::<bool>())),
        orcpt in proptest::option::of("[ -~ö€]{1,40}"),
    ) {
        let rcpt = Rcpt {
            non_ascii: mailbox.needs_smtputf8(),
            path: ForwardPath::Mailbox(mailbox),
            params: RcptParams {
                notify: notify.map(|(never, delay)| match never {
                    true => Notify { never, ..Notify::default() },
                    false => Notify { failure: true, delay, ..Notify::default() },
                }),
                orcpt: orcpt.map(|address| OriginalRecipient::new("utf-8", &address).unwrap()),
            },
        };
        let bytes = Command::Rcpt(rcpt.clone()).to_bytes();
        let line = bytes.strip_suffix(b"\r\n").unwrap();
        prop_assert_eq!(Command::parse(line, everything()), Ok(Command::Rcpt(rcpt)));
    }

    #[test]
    fn what_parses_round_trips(
        line in "(EHLO|MAIL FROM:|RCPT TO:|BDAT|AUTH|NOOP|HELP|VRFY|DATA) ?(<?[a-z@.\"é]{0,8}>?|[0-9]{0,3}|PLAIN) ?(SIZE=[0-9]{1,2}|LAST|=|SMTPUTF8)?",
    ) {
        if let Ok(command) = Command::parse(line.as_bytes(), everything()) {
            let bytes = command.to_bytes();
            let again = Command::parse(bytes.strip_suffix(b"\r\n").unwrap(), everything());
            match (command, again.unwrap()) {
                // An odd name stays odd, and a domain is written in ASCII whatever it was read from.
                (Command::Rcpt(a), Command::Rcpt(b)) => prop_assert_eq!((a.path, a.params), (b.path, b.params)),
                (a, b) => prop_assert_eq!(a, b),
            }
        }
    }

    #[test]
    fn random_octets_never_panic(line in proptest::collection::vec(any::<u8>(), 0..120), verb in "(MAIL FROM:<|RCPT TO:<|EHLO |AUTH |)") {
        let mut whole = verb.into_bytes();
        whole.extend_from_slice(&line);
        if let Err(error) = Command::parse(&whole, everything()) {
            prop_assert!(error.reply().is_permanent());
        }
    }

    #[test]
    fn names_are_harmless(name in proptest::collection::vec(any::<u8>(), 1..60)) {
        let name = ClientName::new(&name).unwrap();
        prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_graphic() && !b"()<>\\\";,@".contains(&b)));
    }
}
