//! CATENATE (RFC 4469): what an IMAP URL names is copied into the message that is being made, a piece at a time.
//!
//! URLs relative to this session are what the RFC asks for. Absolute ones are taken where they name this server and this
//! user; what belongs to anybody else is never looked at.

use letterlock_imap_wire::Code;
use letterlock_imap_wire::section::{Section, chosen};
use letterlock_imap_wire::url::{MessageUrl, Server, UrlMailbox};
use letterlock_mailbox::{BodyReader, FolderId, Intake, MailboxError};

use crate::large::piece;
use crate::outcome::{Reply, Stop};
use crate::select::Selected;
use crate::session::User;

/// Copies what the URL names to the end of the message. `host` is this server's name.
///
/// # Errors
/// `[BADURL]` for what names nothing here, `[TOOBIG]` and `[OVERQUOTA]` before anything of it is copied, or what storage
/// reports.
pub(crate) async fn copy(
    user: &User,
    selected: Option<&Selected>,
    host: &str,
    url: &[u8],
    intake: &mut Intake,
) -> Result<(), Stop> {
    let bad = || Reply::no("This URL names nothing here").with(Code::BadUrl(url.to_vec()));
    let named = MessageUrl::parse(url).map_err(|_| bad())?;
    if !named.server.as_ref().is_none_or(|server| is_here(server, user, host)) {
        return Err(bad().into());
    }
    let folder = folder(user, selected, &named).await?.ok_or_else(bad)?;
    let reader = user.mailbox().reader(folder, named.uid).await?.ok_or_else(bad)?;
    let range = reader.section(&named.section).await?.ok_or_else(bad)?;
    if let Some(fields) = fields(&reader, range.clone(), &named.section).await? {
        let fields = named.partial.map_or(fields.as_slice(), |partial| partial.of(&fields));
        intake.announce(fields.len() as u64).await?;
        return Ok(intake.push(fields).await?);
    }
    let range = named.partial.map_or(range.clone(), |partial| partial.within(range));
    intake.announce(range.end - range.start).await?;
    let mut at = range.start;
    while at < range.end {
        let piece = piece(&reader, at, range.end).await?;
        intake.push(&piece).await?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Whether the URL's server and user are those of this session. Any port will do: which one clients reach from where
/// they are, this server does not know.
fn is_here(server: &Server, user: &User, host: &str) -> bool {
    let is_user = |name: &str| name.eq_ignore_ascii_case(user.name());
    server.host == host && server.user.as_deref().is_none_or(is_user)
}

/// The URL's mailbox, if there is one and it has that UIDVALIDITY.
async fn folder(
    user: &User,
    selected: Option<&Selected>,
    url: &MessageUrl,
) -> Result<Option<FolderId>, MailboxError> {
    let name = match &url.mailbox {
        UrlMailbox::Selected => return Ok(selected.map(|selected| selected.folder)),
        UrlMailbox::Named(name) => name.clone(),
        UrlMailbox::Beside(name) => match selected {
            Some(selected) => beside(user, selected.folder, name).await?,
            None => name.clone(),
        },
    };
    match user.mailbox().status(&name).await {
        Ok(status) if url.uid_validity.is_none_or(|wanted| wanted == status.uid_validity) => {
            Ok(Some(status.folder))
        }
        Ok(_) | Err(MailboxError::NoSuchFolder | MailboxError::BadName(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name in place of the last level of the folder's (RFC 3986 §5.2.3).
async fn beside(user: &User, folder: FolderId, name: &str) -> Result<String, MailboxError> {
    let folders = user.mailbox().folders().await?;
    let base = folders.into_iter().find(|known| known.id == Some(folder));
    let above = base.as_ref().and_then(|base| base.name.rsplit_once('/'));
    Ok(above.map_or(name.to_owned(), |(above, _)| format!("{above}/{name}")))
}

/// The chosen header fields, where the section is a choice.
async fn fields(
    reader: &BodyReader,
    header: std::ops::Range<u64>,
    section: &Section,
) -> Result<Option<Vec<u8>>, MailboxError> {
    if chosen(b"", &section.text).is_none() {
        return Ok(None);
    }
    Ok(chosen(&reader.read(header).await?, &section.text))
}
