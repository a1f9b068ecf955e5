//! Commands and header sections, through the crate's public doors.

mod commands;
mod headers;
