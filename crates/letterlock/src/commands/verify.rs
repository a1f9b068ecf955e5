//! `letterlock verify`

use std::path::Path;

use letterlock_admin::Request;

use super::carry_out;
use crate::Failure;
use crate::cli::Format;
use crate::render;

/// Carries it out.
pub(crate) fn run(
    config: &Path,
    address: Option<String>,
    repair: bool,
    format: Format,
) -> Result<(), Failure> {
    render::response(carry_out(config, Request::Verify { address, repair })?, format.into())
}
