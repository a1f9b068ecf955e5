//! The queue over a real encrypted database.

mod lanes;
mod large;
mod local;
mod many;
mod operate;
mod outbound;
mod pages;
mod survives;
mod thief;
mod world;
