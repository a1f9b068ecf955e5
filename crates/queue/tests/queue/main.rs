//! The queue over a real encrypted database.

mod large;
mod local;
mod operate;
mod outbound;
mod thief;
mod world;
