//! MTA-STS (RFC 8461): the record that says that there is a policy, and the policy. Texts in, values out.

mod policy;
mod record;

pub use policy::{Mode, Policy, PolicyError};
pub use record::{Record, find};
