//! What addresses mean.

use letterlock_directory::{
    AccountState, AliasSource, DirectoryError, Disabled, ROLES, Resolution, Target,
};

use crate::world::{World, at, domain, mailbox};

impl World {
    fn resolve(&self, address: &str) -> Resolution {
        self.directory.snapshot().resolve(&mailbox(address))
    }

    async fn alias(&self, source: &str, targets: &[&str]) {
        let targets = targets.iter().map(|target| mailbox(target)).collect();
        self.directory.add_alias(mailbox(source), targets, at(1)).await.unwrap();
    }
}

fn remote(address: &str) -> Target {
    Target::Remote(mailbox(address))
}

#[tokio::test]
async fn own_addresses() {
    let world = World::with_domain("example.org").await;
    let jo = world.account("Jöran@example.org").await;
    let tagged = world.account("ann+list@example.org").await;
    let ann = world.account("ann@example.org").await;
    for address in [
        "Jöran@example.org",
        "JÖRAN@EXAMPLE.ORG",
        "jo\u{308}ran@example.org",
        "jöran+x+y@example.org",
    ] {
        assert_eq!(world.resolve(address), Resolution::Account(jo), "{address}");
    }
    assert_eq!(
        world.resolve("ann+list@example.org"),
        Resolution::Account(tagged),
        "the exact match wins"
    );
    assert_eq!(world.resolve("ann+other@example.org"), Resolution::Account(ann));
    for nobody in
        ["nobody@example.org", "+x@example.org", "joran@example.org", "postmasters@example.org"]
    {
        assert_eq!(world.resolve(nobody), Resolution::NoSuchUser, "{nobody}");
    }
    for elsewhere in
        ["ann@else.example", "ann@sub.example.org", "ann@[192.0.2.1]", "postmaster@[192.0.2.1]"]
    {
        assert_eq!(world.resolve(elsewhere), Resolution::NotLocal, "{elsewhere}");
    }
}

#[tokio::test]
async fn disabled_accounts() {
    let world = World::with_domain("example.org").await;
    let id = world.account("a@example.org").await;
    let b = world.account("b@example.org").await;
    world.alias("only@example.org", &["a@example.org"]).await;
    world.alias("both@example.org", &["a@example.org", "b@example.org"]).await;
    for how in [Disabled::Defer, Disabled::Refuse, Disabled::Discard] {
        world.directory.set_account_state(id, AccountState::Disabled(how)).await.unwrap();
        assert_eq!(world.resolve("a+x@example.org"), Resolution::Disabled(how));
        assert_eq!(world.resolve("only@example.org"), Resolution::Disabled(how));
        assert_eq!(
            world.resolve("both@example.org"),
            Resolution::Aliased(vec![Target::Account(b)])
        );
    }
    let world = world.crash().await;
    assert_eq!(world.resolve("a@example.org"), Resolution::Disabled(Disabled::Discard));
    world.directory.set_account_state(id, AccountState::Enabled).await.unwrap();
    assert_eq!(world.resolve("a@example.org"), Resolution::Account(id));
}

#[tokio::test]
async fn aliases_lead_on() {
    let world = World::with_domain("example.org").await;
    world.directory.add_domain(domain("two.example"), None, vec![], at(1)).await.unwrap();
    let a = world.account("a@example.org").await;
    let b = world.account("b@two.example").await;
    world
        .alias(
            "all@example.org",
            &["a+all@example.org", "inner@two.example", "X@else.example", "gone@example.org"],
        )
        .await;
    world
        .alias(
            "inner@two.example",
            &["b@two.example", "a@example.org", "X@else.example", "x@else.example"],
        )
        .await;
    let expected = [
        Target::Account(a),
        Target::Account(b),
        remote("X@else.example"),
        remote("x@else.example"),
    ];
    let Resolution::Aliased(targets) = world.resolve("All+tag@example.org") else {
        panic!("an alias")
    };
    assert_eq!(targets, expected);
    world.alias("dead@example.org", &["gone@example.org"]).await;
    assert_eq!(world.resolve("dead@example.org"), Resolution::NoSuchUser);
}

#[tokio::test]
async fn roles_go_to_the_contact_or_the_first_account() {
    let world = World::with_domain("example.org").await;
    let resolves = |world: &World, expected: &Resolution| {
        for role in ROLES {
            assert_eq!(world.resolve(&format!("{role}@example.org")), *expected, "{role}");
            assert_eq!(
                world.resolve(&format!("{}+x@example.org", role.to_uppercase())),
                *expected,
                "{role}"
            );
        }
    };
    let name = domain("example.org");
    resolves(&world, &Resolution::Waiting);
    assert_eq!(world.directory.snapshot().default_contact(&name), None);
    world.alias("help@example.org", &["abuse@example.org"]).await;
    assert_eq!(world.resolve("help@example.org"), Resolution::Waiting);

    let first = world.account("first@example.org").await;
    let second = world.account("second@example.org").await;
    resolves(&world, &Resolution::Aliased(vec![Target::Account(first)]));
    assert_eq!(
        world.directory.snapshot().default_contact(&name),
        Some(mailbox("first@example.org"))
    );
    assert_eq!(
        world.resolve("help@example.org"),
        Resolution::Aliased(vec![Target::Account(first)])
    );

    let off = AccountState::Disabled(Disabled::Refuse);
    world.directory.set_account_state(first, off).await.unwrap();
    resolves(&world, &Resolution::Aliased(vec![Target::Account(second)]));
    world.directory.set_account_state(first, AccountState::Enabled).await.unwrap();

    world.directory.set_contact(&name, Some(mailbox("second+dmarc@example.org"))).await.unwrap();
    let world = world.crash().await;
    resolves(&world, &Resolution::Aliased(vec![Target::Account(second)]));
    world.directory.remove_account(second).await.unwrap();
    resolves(&world, &Resolution::Aliased(vec![Target::Account(first)]));
    world.directory.set_contact(&name, Some(mailbox("noc@else.example"))).await.unwrap();
    resolves(&world, &Resolution::Aliased(vec![remote("noc@else.example")]));
    world.directory.remove_account(first).await.unwrap();
    world.directory.set_contact(&name, None).await.unwrap();
    resolves(&world, &Resolution::Waiting);
}

#[tokio::test]
async fn who_takes_a_roles_name_has_it() {
    let world = World::with_domain("example.org").await;
    world.account("first@example.org").await;
    let real = world.account("Postmaster@example.org").await;
    world.alias("abuse@example.org", &["team@else.example"]).await;
    assert_eq!(world.resolve("postmaster@example.org"), Resolution::Account(real));
    assert_eq!(
        world.resolve("abuse@example.org"),
        Resolution::Aliased(vec![remote("team@else.example")])
    );
}

#[tokio::test]
async fn contacts_cannot_bite_their_tails() {
    let world = World::with_domain("example.org").await;
    let name = domain("example.org");
    let itself = world.directory.set_contact(&name, Some(mailbox("postmaster@example.org"))).await;
    assert!(matches!(itself, Err(DirectoryError::ContactLoop(_))));
    world.alias("team@example.org", &["abuse@example.org"]).await;
    let round = world.directory.set_contact(&name, Some(mailbox("team@example.org"))).await;
    assert!(matches!(round, Err(DirectoryError::ContactLoop(_))));

    // A loop can still come about when the account goes that had the role's name: the mail is accepted all the same.
    let holder = world.account("abuse@example.org").await;
    let first = world.account("first@example.org").await;
    world.directory.set_contact(&name, Some(mailbox("team@example.org"))).await.unwrap();
    assert_eq!(
        world.resolve("postmaster@example.org"),
        Resolution::Aliased(vec![Target::Account(holder)])
    );
    world.directory.remove_account(holder).await.unwrap();
    assert_eq!(
        world.resolve("postmaster@example.org"),
        Resolution::Aliased(vec![Target::Account(first)])
    );
    world.directory.remove_account(first).await.unwrap();
    assert_eq!(world.resolve("abuse@example.org"), Resolution::Waiting);
}

#[tokio::test]
async fn the_bare_postmaster_is_the_first_domains() {
    let world = World::new().await;
    assert_eq!(world.directory.snapshot().resolve_postmaster(), None);
    for name in ["zz.example", "aa.example"] {
        world.directory.add_domain(domain(name), None, vec![], at(1)).await.unwrap();
    }
    let a = world.account("a@zz.example").await;
    let expected =
        (mailbox("postmaster@zz.example"), Resolution::Aliased(vec![Target::Account(a)]));
    assert_eq!(world.directory.snapshot().resolve_postmaster(), Some(expected));
    world.directory.remove_account(a).await.unwrap();
    world.directory.remove_domain(&domain("zz.example")).await.unwrap();
    let world = world.crash().await;
    let expected = (mailbox("postmaster@aa.example"), Resolution::Waiting);
    assert_eq!(world.directory.snapshot().resolve_postmaster(), Some(expected));
}

#[tokio::test]
async fn who_may_send_as_whom() {
    let world = World::with_domain("example.org").await;
    let a = world.account("a@example.org").await;
    let b = world.account("b@example.org").await;
    world.alias("both@example.org", &["a@example.org", "b@example.org"]).await;
    world.alias("list@example.org", &["both@example.org"]).await;
    world.alias("out@example.org", &["a@else.example"]).await;
    let snapshot = world.directory.snapshot();
    for (address, by_a, by_b) in [
        ("A@example.org", true, false),
        ("a+tag@example.org", true, false),
        ("b@example.org", false, true),
        ("both@example.org", true, true),
        ("list+x@example.org", true, true),
        ("postmaster@example.org", true, false),
        ("out@example.org", false, false),
        ("a@else.example", false, false),
        ("nobody@example.org", false, false),
    ] {
        assert_eq!(snapshot.may_send_as(a, &mailbox(address)), by_a, "a as {address}");
        assert_eq!(snapshot.may_send_as(b, &mailbox(address)), by_b, "b as {address}");
    }
}

#[tokio::test]
async fn a_catch_all_gets_what_is_nobodys() {
    let world = World::with_domain("example.org").await;
    let ann = world.account("ann@example.org").await;
    let bob = world.account("bob@example.org").await;
    let all = AliasSource::parse("@Example.org").unwrap();
    assert_eq!(all.to_string(), "@example.org");
    let targets = vec![mailbox("ann@example.org"), mailbox("out@else.example")];
    world.directory.add_alias(all.clone(), targets, at(1)).await.unwrap();
    world.alias("sales@example.org", &["bob@example.org"]).await;

    let world = world.crash().await;
    let caught = Resolution::Aliased(vec![Target::Account(ann), remote("out@else.example")]);
    for unknown in ["x@example.org", "x+y@example.org", "\"@\"@example.org"] {
        assert_eq!(world.resolve(unknown), caught, "{unknown}");
    }
    for (known, id) in [("bob@example.org", bob), ("bob+list@example.org", bob)] {
        assert_eq!(world.resolve(known), Resolution::Account(id), "{known}");
    }
    let to_bob = Resolution::Aliased(vec![Target::Account(bob)]);
    assert_eq!(world.resolve("sales+x@example.org"), to_bob);
    // Role addresses keep their way: the domain's first account.
    assert_eq!(
        world.resolve("postmaster@example.org"),
        Resolution::Aliased(vec![Target::Account(ann)])
    );
    let disabled = AccountState::Disabled(Disabled::Refuse);
    world.directory.set_account_state(bob, disabled).await.unwrap();
    assert_eq!(world.resolve("bob@example.org"), Resolution::Disabled(Disabled::Refuse));
    let out = mailbox("out@else.example");
    world.directory.remove_alias(all.clone(), Some(&out)).await.unwrap();
    assert_eq!(world.resolve("x@example.org"), Resolution::Aliased(vec![Target::Account(ann)]));
    assert!(world.directory.snapshot().may_send_as(ann, &mailbox("x@example.org")));
    world.directory.remove_alias(all, None).await.unwrap();
    assert_eq!(world.resolve("x@example.org"), Resolution::NoSuchUser);
}

#[tokio::test]
async fn a_catch_all_does_not_catch_itself() {
    let world = World::with_domain("example.org").await;
    let all = AliasSource::parse("@example.org").unwrap();
    let add = |targets: &[&str]| {
        let targets = targets.iter().map(|target| mailbox(target)).collect();
        world.directory.add_alias(all.clone(), targets, at(1))
    };
    assert!(matches!(add(&["x@example.org"]).await, Err(DirectoryError::AliasLoop(_))));
    let ann = world.account("ann@example.org").await;
    world.alias("list@example.org", &["later@example.org", "ann@example.org"]).await;
    assert!(matches!(add(&["list@example.org"]).await, Err(DirectoryError::AliasLoop(_))));
    add(&["ann@example.org"]).await.unwrap();
    let caught = Resolution::Aliased(vec![Target::Account(ann)]);
    assert_eq!(world.resolve("later@example.org"), caught);
    // The target goes: what it was is now caught, and leads nowhere.
    world.directory.remove_account(ann).await.unwrap();
    assert_eq!(world.resolve("x@example.org"), Resolution::NoSuchUser);
    let elsewhere = AliasSource::parse("@else.example").unwrap();
    let refused = world.directory.add_alias(elsewhere, vec![mailbox("a@b.example")], at(1)).await;
    assert!(matches!(refused, Err(DirectoryError::NoSuchDomain(_))));
    let full = world.directory.remove_domain(&domain("example.org")).await;
    assert!(matches!(full, Err(DirectoryError::NotEmpty { aliases: 2, .. })));
}
