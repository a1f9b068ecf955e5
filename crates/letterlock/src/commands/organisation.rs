//! `letterlock organisation-key`: needs neither server nor configuration.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use letterlock_vault::slot::OrganisationKey;

use crate::{Failure, render};

/// Makes a pair: the public half into a new file, the private half alone on a line of standard output.
pub(crate) fn make_key(file: &Path) -> Result<(), Failure> {
    let (private, public) = OrganisationKey::generate();
    let shown = file.display();
    // Another key in its place would shut out who holds the old one.
    let mut made = File::options()
        .write(true)
        .create_new(true)
        .open(file)
        .with_context(|| format!("cannot make {shown}"))?;
    let written = made.write_all(public.to_text().as_bytes()).and_then(|()| made.sync_all());
    written.with_context(|| format!("cannot write {shown}"))?;
    let mut line = zeroize::Zeroizing::new(String::with_capacity(private.len() + 1));
    line.push_str(&private);
    line.push('\n');
    render::print(&line)
}
