//! `letterlock account …`

use std::path::Path;

use letterlock_admin::{AccountRequest, Request, Secret};

use super::{carry_out, confirm, secret_line};
use crate::Failure;
use crate::cli::{AccountCommand, AppPasswordCommand, Unlock};
use crate::render::{self, Style};

/// Carries out a subcommand.
pub(crate) fn run(config: &Path, command: AccountCommand) -> Result<(), Failure> {
    let (request, style) = request(command)?;
    render::response(carry_out(config, Request::Account(request))?, style)
}

fn request(command: AccountCommand) -> Result<(AccountRequest, Style), Failure> {
    let plain = |request| Ok((request, Style::TEXT));
    match command {
        AccountCommand::Add {
            address,
            password_stdin,
            server_held,
            name,
            quota,
            quota_messages,
        } => {
            let password = read_if(password_stdin, "password")?;
            let (quota, quota_messages) =
                (quota.unwrap_or_default(), quota_messages.unwrap_or_default());
            plain(AccountRequest::Add {
                address,
                password,
                server_held,
                name,
                quota,
                quota_messages,
            })
        }
        AccountCommand::List { domain, format } => {
            Ok((AccountRequest::List { domain }, format.into()))
        }
        AccountCommand::Show { address, format } => {
            Ok((AccountRequest::Show { address }, format.into()))
        }
        AccountCommand::Set { address, settings } => {
            plain(AccountRequest::Set { address, change: settings.into() })
        }
        AccountCommand::Password {
            address,
            password_stdin,
            unlock,
            discard_mail,
            confirm: sure,
        } => {
            if discard_mail {
                confirm(&format!("all mail of {address} will be destroyed"), sure.yes)?;
            }
            let unlock = unlocking(unlock)?;
            let password = read_if(password_stdin, "new password")?;
            plain(AccountRequest::Password { address, password, unlock, discard_mail })
        }
        AccountCommand::Recovery { address, unlock } => {
            plain(AccountRequest::Recovery { address, unlock: unlocking(unlock)? })
        }
        AccountCommand::Rotate { address, new_account_key, password_stdin, unlock } => {
            let unlock = unlocking(unlock)?;
            let password = read_if(password_stdin, "new password")?;
            plain(AccountRequest::Rotate { address, password, unlock, new_account_key })
        }
        AccountCommand::Lock { address } => plain(AccountRequest::Lock { address }),
        AccountCommand::Disable { address, mail } => {
            plain(AccountRequest::Disable { address, mail: mail.into() })
        }
        AccountCommand::Offboard { address, confirm: sure } => {
            confirm(&format!("{address} will lose all access"), sure.yes)?;
            plain(AccountRequest::Offboard { address })
        }
        AccountCommand::Remove { address, confirm: sure } => {
            confirm(&format!("{address} and all its mail will be destroyed"), sure.yes)?;
            plain(AccountRequest::Remove { address })
        }
        AccountCommand::Sessions { address, format } => {
            Ok((AccountRequest::Sessions { address }, format.into()))
        }
        AccountCommand::AppPassword { address, command } => app_password(address, command),
    }
}

fn app_password(
    address: String,
    command: AppPasswordCommand,
) -> Result<(AccountRequest, Style), Failure> {
    Ok(match command {
        AppPasswordCommand::Add { name, unlock } => (
            AccountRequest::AppPasswordAdd { address, name, unlock: unlocking(unlock)? },
            Style::TEXT,
        ),
        AppPasswordCommand::List(format) => {
            (AccountRequest::AppPasswordList { address }, format.into())
        }
        AppPasswordCommand::Remove { id } => {
            (AccountRequest::AppPasswordRemove { address, id }, Style::TEXT)
        }
    })
}

fn unlocking(unlock: Unlock) -> Result<Option<Secret>, Failure> {
    read_if(
        unlock.unlock_stdin,
        "password, recovery key or organisation's private key to unlock with",
    )
}

fn read_if(wanted: bool, what: &str) -> Result<Option<Secret>, Failure> {
    wanted.then(|| secret_line(what)).transpose()
}
