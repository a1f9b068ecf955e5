//! What surrounds the mail: quota (RFC 9208), access rights (RFC 4314) and the language of texts (RFC 5255).

use letterlock_imap_wire::command::account::{AclCommand, QuotaCommand};
use letterlock_imap_wire::response::{
    QuotaResource, acl, language, list_rights, my_rights, quota, quota_root,
};
use letterlock_imap_wire::{Code, MailboxName};

use crate::outcome::{Outcome, Reply, Stop};
use crate::session::User;

/// The account has one quota, and its root has no name.
const ROOT: &str = "";
/// The unit of STORAGE, in octets (RFC 9208 §5.1).
const UNIT: u64 = 1024;

/// All rights, which the owner of a mailbox has; `c` and `d` are for clients of RFC 2086 (RFC 4314 §2.1.1).
pub(crate) const OWNER: &str = "lrswipkxtecda";

/// GETQUOTA, GETQUOTAROOT and SETQUOTA. An account without a limit has no root.
pub(crate) async fn run_quota(user: &User, command: QuotaCommand, out: &mut Vec<u8>) -> Outcome {
    match command {
        QuotaCommand::Set(_) => {
            Ok(Reply::no("Quotas are the administrator's to set").with(Code::NoPerm))
        }
        QuotaCommand::Get(root) => match resources(user).await? {
            Some(resources) if root == ROOT => {
                quota(out, ROOT, &resources);
                Ok(Reply::ok("This is the quota"))
            }
            _ => Ok(Reply::no("There is no such quota root").with(Code::NonExistent)),
        },
        QuotaCommand::GetRoot(mailbox) => {
            // RFC 9208 §4.1.2: the mailbox need not be there yet.
            let name = user.mailbox_name(&mailbox)?;
            match resources(user).await? {
                Some(resources) => {
                    quota_root(out, &name, user.form(), &[ROOT]);
                    quota(out, ROOT, &resources);
                }
                None => quota_root(out, &name, user.form(), &[]),
            }
            Ok(Reply::ok("These are the quota roots"))
        }
    }
}

/// What is limited (RFC 9208 §5); `None` without a limit.
async fn resources(user: &User) -> Result<Option<Vec<QuotaResource>>, Stop> {
    let (quota, offered) = (user.mailbox().quota(), user.capabilities());
    let used = user.mailbox().usage().await?;
    let storage = quota.octets.map(|limit| QuotaResource {
        name: "STORAGE",
        used: used.octets.div_ceil(UNIT),
        limit: limit / UNIT,
    });
    let messages =
        quota.messages.map(|limit| QuotaResource { name: "MESSAGE", used: used.messages, limit });
    let storage = storage.filter(|_| offered.offers("QUOTA=RES-STORAGE"));
    let messages = messages.filter(|_| offered.offers("QUOTA=RES-MESSAGE"));
    let limited: Vec<QuotaResource> = storage.into_iter().chain(messages).collect();
    Ok(Some(limited).filter(|limited| !limited.is_empty()))
}

/// The name of a mailbox that is there.
async fn existing(user: &User, mailbox: &MailboxName) -> Result<String, Stop> {
    let name = user.mailbox_name(mailbox)?;
    user.mailbox().status(&name).await?;
    Ok(name)
}

/// The commands on rights. Mailboxes belong to their owner alone, who has all rights and can give none away.
pub(crate) async fn run_acl(user: &User, command: AclCommand, out: &mut Vec<u8>) -> Outcome {
    let form = user.form();
    match command {
        AclCommand::Get(mailbox) => {
            let name = existing(user, &mailbox).await?;
            acl(out, &name, form, user.name(), OWNER);
            Ok(Reply::ok("These are the rights"))
        }
        AclCommand::Mine(mailbox) => {
            my_rights(out, &existing(user, &mailbox).await?, form, OWNER);
            Ok(Reply::ok("These are the rights"))
        }
        AclCommand::List { mailbox, identifier } => {
            let name = existing(user, &mailbox).await?;
            let required = if identifier == user.name() { OWNER } else { "" };
            list_rights(out, &name, form, &identifier, required);
            Ok(Reply::ok("These rights can be given"))
        }
        AclCommand::Set { mailbox, .. } | AclCommand::Delete { mailbox, .. } => {
            existing(user, &mailbox).await?;
            Ok(Reply::no("Mailboxes belong to their owner alone").with(Code::Cannot))
        }
    }
}

/// LANGUAGE: texts are in English (RFC 5255 §3.2). `wanted` is what the client likes, best first.
pub(crate) fn run_language(wanted: &[String], out: &mut Vec<u8>) -> Reply {
    if wanted.is_empty() {
        language(out, &["EN", "I-DEFAULT"]);
        return Reply::ok("These languages are there");
    }
    let chosen =
        wanted.iter().find_map(|range| match range.to_ascii_lowercase().split('-').next() {
            Some("en") => Some("EN"),
            Some("i") if range.eq_ignore_ascii_case("i-default") => Some("I-DEFAULT"),
            Some("default" | "*") => Some("I-DEFAULT"),
            _ => None,
        });
    match chosen {
        Some(tag) => {
            language(out, &[tag]);
            Reply::ok("Texts are in this language now")
        }
        None => Reply::no("None of these languages is there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_in_english() {
        let told = |wanted: &[&str]| {
            let mut out = Vec::new();
            let wanted: Vec<String> = wanted.iter().map(|&tag| tag.to_owned()).collect();
            let reply = run_language(&wanted, &mut out);
            (String::from_utf8(out).unwrap(), reply.status)
        };
        use letterlock_imap_wire::response::Status;
        assert_eq!(told(&[]), ("* LANGUAGE (EN I-DEFAULT)\r\n".into(), Status::Ok));
        assert_eq!(told(&["DE", "en-GB"]), ("* LANGUAGE (EN)\r\n".into(), Status::Ok));
        assert_eq!(told(&["default"]), ("* LANGUAGE (I-DEFAULT)\r\n".into(), Status::Ok));
        assert_eq!(told(&["de", "i-klingon"]), (String::new(), Status::No));
    }
}
